"""What `lollms doctor` looks at: the configuration, the formats, the extensions, and what of it is a problem."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lollms_core import LollmsError, Timeouts, __version__, installed_formats
from lollms_core.cli import config_file
from lollms_core.cli.checks import Finding, check_extensions, check_format, run_checks
from lollms_core.cli.config_file import ConfigFile
from lollms_core.cli.guard import redacted
from lollms_core.cli.options import Choices
from lollms_core.cli.session import client_arguments
from lollms_core.cli.settings import Resolved, resolve, without_bound
from lollms_core.cli.terminal import Waiting
from lollms_core.registry import installed_extensions

__all__ = ["Report", "examine"]

_EXTENSIONS = "extensions"


@dataclass
class Report:
    """All that was found."""

    config: ConfigFile | LollmsError
    chosen: str
    source: str
    findings: dict[str, Finding] = field(default_factory=dict)
    extensions: dict[str, str] = field(default_factory=dict)
    """The error of each extension, empty if it loads."""
    failures: dict[str, BaseException] = field(default_factory=dict)
    """The exceptions behind the findings, for their tracebacks."""
    remarks: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What keeps this installation from working, in words."""
        found = ["the configuration file"] if isinstance(self.config, LollmsError) else []
        found += [name for name, finding in self.findings.items() if self.is_problem(name, finding)]
        return found + [f"the extension {name}" for name, error in self.extensions.items() if error]

    def is_problem(self, name: str, finding: Finding) -> bool:
        """Whether a finding counts: what is broken always, what does not answer only where it was chosen."""
        return finding.status == "broken" or (name == self.chosen and finding.status != "ready")

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        broken = isinstance(self.config, LollmsError)
        return {
            "version": __version__,
            "python": platform.python_version(),
            "config": {"path": str(config_file.config_path()), "error": self.config.message if broken else None},  # type: ignore[union-attr]
            "format": {"name": self.chosen, "source": self.source},
            "formats": {
                name: {"status": each.status, "detail": redacted(each.detail), "hint": redacted(each.hint)}
                for name, each in self.findings.items()
            },
            "extensions": {name: redacted(error) or None for name, error in self.extensions.items()},
            "remarks": self.remarks,
            "problems": self.problems,
        }


def examine(names: tuple[str, ...], timeout: float, choices: Choices) -> Report:
    """Check formats and extensions.

    Args:
        names: the formats to check; empty for all that are installed, and the chosen one.
        timeout: seconds that all checks together may take.
        choices: what the command line says.
    """
    config: ConfigFile | LollmsError
    try:
        config = config_file.load()
    except LollmsError as error:
        config = error
    usable = ConfigFile(config_file.config_path()) if isinstance(config, LollmsError) else config
    environ: Mapping[str, str] = os.environ
    try:
        chosen = resolve(choices, environ, usable)
    except LollmsError as error:  # a variable whose value is wrong: go on without any
        environ = {}
        chosen = resolve(choices, environ, usable)
        report = Report(config, chosen.format.value, chosen.format.source, remarks=[error.message])
    else:
        report = Report(config, chosen.format.value, chosen.format.source)
    report.remarks += [*chosen.ignored, *_remarks(config)]
    checks = {}
    for name in names or dict.fromkeys([chosen.format.value, *installed_formats()]):
        settings = chosen if name == chosen.format.value else _other(name, environ, usable)
        try:
            arguments = client_arguments(settings, Timeouts(connect=timeout, first_token=timeout, idle=timeout))
        except LollmsError as error:
            report.findings[name] = Finding("broken", error.message, error.hint, error)
        else:
            checks[name] = functools.partial(check_format, arguments | {"max_retries": 0})
    extensions = installed_extensions()
    everything: dict[str, Any] = {**checks, _EXTENSIONS: check_extensions} if extensions else checks
    with Waiting(f"Checking {len(checks)} formats"), _without_log():
        results = run_checks(everything, timeout)
    report.findings |= {name: results[name] for name in checks}
    report.failures |= {name: each.error for name, each in report.findings.items() if each.error is not None}
    _add_extensions(report, [extension.name for extension in extensions], results.get(_EXTENSIONS, {}))
    return report


def _other(name: str, environ: Mapping[str, str], config: ConfigFile) -> Resolved:
    """The settings of a format that was not chosen: addresses and keys of the chosen one are not for it."""
    belongs = environ.get("LOLLMS_FORMAT", "").lower() == name
    return resolve({"format": name}, environ if belongs else without_bound(environ), config)


def _add_extensions(report: Report, names: list[str], failures: Mapping[str, LollmsError] | Finding) -> None:
    for name in names:
        if isinstance(failures, Finding):
            report.extensions[name] = failures.detail
        elif name in failures:
            report.extensions[name] = failures[name].message
            report.failures[f"the extension {name}"] = failures[name]
        else:
            report.extensions[name] = ""


def _remarks(config: ConfigFile | LollmsError) -> list[str]:
    """What is worth saying about the surroundings."""
    import difflib

    known = {setting.variable for setting in config_file.SETTINGS.values()} | {"LOLLMS_CONFIG_FILE", "LOLLMS_DEBUG"}
    remarks = [
        f"the variable {name} is not known; did you mean {close[0]}?"
        for name in os.environ
        if name.startswith("LOLLMS_")
        and name not in known
        and (close := difflib.get_close_matches(name, known, 1, 0.8))
    ]
    if not isinstance(config, LollmsError) and os.name == "posix" and _holds_key(config):
        with contextlib.suppress(OSError):
            if config.path.stat().st_mode & 0o077:
                remarks.append(f"{config.path} holds a key and others can read it: chmod 600 {config.path}")
    return remarks


def _holds_key(config: ConfigFile) -> bool:
    tables = [config.values, *config.formats.values()]
    return any("api_key" in table or "headers" in table for table in tables)


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
