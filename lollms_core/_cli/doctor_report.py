"""What `lollms doctor` looks at: the configuration, the formats, the extensions, and what of it is a problem."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import platform
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from lollms_core import LollmsError, Timeouts, __version__, installed_formats
from lollms_core._cli import config_file
from lollms_core._cli.clients import client_arguments
from lollms_core._cli.config_file import ConfigFile
from lollms_core._cli.doctor_checks import Finding, check_extension, check_format, run_checks
from lollms_core._cli.options import Choices
from lollms_core._cli.packages import look_at
from lollms_core._cli.settings import Resolved, resolve, without_bound, wrong_variables
from lollms_core._cli.state import current_state, redacted
from lollms_core._cli.status_line import Waiting
from lollms_core._cli.surroundings import remarks
from lollms_core._client.registry import installed_extensions

__all__ = ["Report", "examine"]


@dataclass
class Report:
    """All that was found."""

    config: ConfigFile
    chosen: str
    source: str
    asked: frozenset[str] = frozenset()
    """The formats that the user wants to know about: the chosen one, and those that were named."""
    config_problems: list[LollmsError] = field(default_factory=list)
    wrong_variables: Mapping[str, LollmsError] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    """The distribution and its version of each installed format."""
    findings: dict[str, Finding] = field(default_factory=dict)
    extensions: dict[str, str] = field(default_factory=dict)
    """The error of each extension, empty if it loads."""
    extension_hints: dict[str, str] = field(default_factory=dict)
    """What to do about each of these errors."""
    failures: dict[str, BaseException] = field(default_factory=dict)
    """The exceptions behind the findings, for their tracebacks."""
    nobody_chose: bool = False
    """Whether the chosen format is the default, and only that one was asked."""
    remarks: list[str] = field(default_factory=list)
    again: str = ""
    """The options with which a call reaches what was checked."""
    reached: str = ""
    """The format that `again` names in place of the chosen one."""

    @property
    def problems(self) -> list[str]:
        """What keeps this installation from working, in words."""
        found = ["the configuration file"] if self.config_problems else []
        found += [f"the variable {name}" for name in self.wrong_variables]
        found += [name for name, finding in self.findings.items() if self.is_problem(name, finding)]
        return found + [_extension(name) for name, error in self.extensions.items() if error]

    def is_problem(self, name: str, finding: Finding) -> bool:
        """Whether a finding counts: what is broken always, what does not answer only where it was asked for."""
        return finding.status == "broken" or (name in self.asked and finding.status not in ("ready", "not asked"))

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        errors = [redacted(error.message) for error in self.config_problems]
        return {
            "version": __version__,
            "python": platform.python_version(),
            "config": {"path": str(self.config.path), "error": errors[0] if errors else None, "errors": errors},
            "variables": {name: redacted(error.message) for name, error in self.wrong_variables.items()},
            "format": {"name": self.chosen, "source": self.source},
            "formats": {
                name: {
                    "status": each.status,
                    "detail": redacted(each.detail),
                    "hint": redacted(each.hint),
                }
                for name, each in self.findings.items()
            },
            "extensions": {name: redacted(error) or None for name, error in self.extensions.items()},
            "remarks": [redacted(remark) for remark in self.remarks],
            "problems": self.problems,
        }


def examine(names: tuple[str, ...], everything: bool, timeout: float, choices: Choices) -> Report:
    """Check formats and extensions.

    The chosen format and those that were named are loaded and asked. Of the others only the metadata are read, unless
    `everything` is wanted.

    Args:
        names: the formats to check; empty for the chosen one and a look at the others.
        everything: ask all that are installed.
        timeout: seconds that each check may take.
        choices: what the command line says.
    """
    with _without_log():
        return _examine(names, everything, timeout, choices)


def _examine(names: tuple[str, ...], everything: bool, timeout: float, choices: Choices) -> Report:
    config, problems = config_file.load_what_is_right()
    wrong = wrong_variables(os.environ)
    environ = {name: value for name, value in os.environ.items() if name not in wrong}
    given = {name for name, value in choices.items() if name != "format" and value not in (None, (), {})}
    if given and len(names) > 1:
        raise click.UsageError("Options such as --model are for one format: name one.")
    # What the command line says beside a name is for that format, and not for the chosen one.
    only = names[0] if given and names else None
    chosen = resolve({"format": choices.get("format")} if only else choices, environ, config)
    report = Report(config, chosen.format.value, chosen.format.source, config_problems=list(problems))
    report.wrong_variables = wrong
    report.remarks = [*chosen.ignored, *remarks(config)]
    one = names[0] if len(names) == 1 and chosen.format_is_default else None
    alone = only or one or (names and chosen.nobody_chose)
    report.asked = frozenset(names) if alone else frozenset({*names, chosen.format.value})
    report.nobody_chose = chosen.nobody_chose and not names and not everything
    report.again = _again(choices, names)
    if len(names) == 1 and not choices.get("format"):
        report.reached = names[0]
    formats = installed_formats()
    report.packages = {name: f"{info.distribution} {info.version}" for name, info in formats.items()}
    # A server that is silent is found out before the check is given up.
    patience = 0.9 * timeout
    to_ask = [name for name in (chosen.format.value, *names) if name in report.asked] + list(
        formats if everything else ()
    )
    checks = {}
    for name in dict.fromkeys(to_ask):
        if name == only:
            settings = resolve({**choices, "format": name}, environ, config)
        elif name == chosen.format.value:
            settings = chosen
        elif name == one:  # as `-f` has it
            settings = resolve({"format": name}, environ, config)
        else:
            settings = _other(name, environ, config)
        # What a format needs only when it answers, such as torch, is not missed when it is asked for its models.
        if name in formats and (found := look_at(formats[name], versions=False)).status == "broken":
            report.findings[name] = found
            continue
        try:
            arguments = client_arguments(settings, Timeouts(connect=patience, first_token=patience, idle=patience))
        except LollmsError as error:
            report.findings[name] = Finding("broken", error.message, error.hint, error)
        else:
            arguments.pop("extensions", None)  # they are looked at by themselves
            origins = dataclasses.replace(
                current_state().origins, only_named=name not in (only, one, chosen.format.value)
            )
            checks[name] = functools.partial(check_format, arguments | {"max_retries": 0}, origins)
    used = resolve({**choices, "format": chosen.format.value}, environ, config)  # extensions are of every format
    extensions = dict.fromkeys((*(used.get("extensions") or ()), *installed_extensions()))
    looks = {_extension(name): functools.partial(check_extension, name, used) for name in extensions}
    with Waiting(f"Asking {', '.join(checks)}"):
        results = run_checks({**checks, **looks}, timeout)
        others = {} if names else {name: look_at(info) for name, info in formats.items() if name not in to_ask}
    report.findings = {name: results.get(name) or report.findings[name] for name in dict.fromkeys(to_ask)} | others
    report.failures |= {name: each.error for name, each in report.findings.items() if each.error is not None}
    for name in extensions:
        found = results[_extension(name)]
        report.extensions[name] = "" if found.status == "ready" else found.detail
        report.extension_hints[name] = found.hint
        if found.error is not None:
            report.failures[_extension(name)] = found.error
    return report


def _extension(name: str) -> str:
    """What an extension is called among the formats."""
    return f"the extension {name}"


def _other(name: str, environ: Mapping[str, str], config: ConfigFile) -> Resolved:
    """The settings of a format that was not chosen: addresses and keys of the chosen one are not for it."""
    belongs = environ.get("LOLLMS_FORMAT", "").strip().lower() == name
    return resolve({"format": name}, environ if belongs else without_bound(environ), config)


def _again(choices: Choices, names: tuple[str, ...]) -> str:
    """What of this command line a call needs too, so that it reaches what was checked."""
    options = {"-f": choices.get("format") or (names[0] if len(names) == 1 else None), "-m": choices.get("model")}
    options["--host-address"] = choices.get("host_address")
    options["--api-key-file"] = choices.get("api_key_file")
    return "".join(f" {option} {shlex.quote(value)}" for option, value in options.items() if value)


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    """The findings say what the log would, once and in their place."""
    logger = logging.getLogger("lollms")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
