"""`lollms config`: `path`, `show`, `set`, `unset`."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from lollms_core import ConfigurationError
from lollms_core._cli import config_file, toml_edit, whole_files
from lollms_core._cli.completion import complete_keys, complete_values, in_time, options_of
from lollms_core._cli.config_check import sift
from lollms_core._cli.known_settings import NAMES_ELSEWHERE, SETTINGS
from lollms_core._cli.messages import note, print_json
from lollms_core._cli.options import Choices, connection_options, debug_option, json_option
from lollms_core._cli.session import resolved_settings
from lollms_core._cli.settings import DEFAULT_FORMAT, Resolved, Value
from lollms_core._cli.tables import print_table
from lollms_core._cli.value_kinds import TEXT, any_value, is_secret_name
from lollms_core._cli.workable import check_workable

__all__ = ["command"]

_MASK = "*** (hidden)"


_ELSEWHERE = {
    "edit": '`$EDITOR "$(lollms config path)"` opens the file',
    "get": "`lollms config show` shows what holds",
    "list": "`lollms config show` shows what holds",
}
"""What other programs call such commands."""


class _Group(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if meant := _ELSEWHERE.get(args[0]):
            ctx.fail(f"There is no command {args[0]!r}: {meant}.")
        if args[0] in SETTINGS or args[0].partition(".")[0] in ("formats", "extension"):
            ctx.fail(f"There is no command {args[0]!r}. Did you mean lollms config set {args[0]} …?")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Group,
    epilog="""
\b
Examples:
  lollms config set format ollama
  lollms config set formats.ollama.model llama3.2
  lollms config show
""",
)
def command() -> None:
    """Show or change the configuration.

    A value is taken from the command's options, else from the environment (LOLLMS_FORMAT, LOLLMS_MODEL,
    LOLLMS_HOST_ADDRESS, LOLLMS_API_KEY, …), else from the configuration file.
    """


@command.command(
    epilog="""
\b
Example:
  $EDITOR "$(lollms config path)"
"""
)
@debug_option
def path() -> None:
    """Print where the configuration file is, or would be."""
    click.echo(config_file.config_path())


@command.command(
    epilog="""
\b
Examples:
  lollms config show
  lollms config show -f openai --json
"""
)
@json_option("Print it as JSON.")
@connection_options
def show(as_json: bool, choices: Choices) -> None:
    """Show the settings in effect, and where each value comes from. Keys are not shown."""
    settings = resolved_settings(choices)
    rows = _rows(settings)
    if as_json:
        print_json({name: {"value": value, "source": source} for name, value, source in rows})
    else:
        print_table(("Setting", "Value", "From"), [(name, _in_words(value), source) for name, value, source in rows])
    for sentence in settings.ignored:
        note(f"{sentence}; it is not used for {settings.format.value}")


def _rows(settings: Resolved) -> list[tuple[str, Any, str]]:
    rows = [("format", settings.format.value, settings.format.source)]
    rows += [(name, _shown(name, found), found.source) for name, found in settings.values.items()]
    rows += [(f"options.{name}", _shown(name, found), found.source) for name, found in settings.options.items()]
    rows += [
        (f"extension.{name}.{option}", _MASK if is_secret_name(option) else value, f"file, [extension.{name}]")
        for name in settings.get("extensions") or ()
        for option, value in settings.extension_options.get(name, {}).items()
    ]
    rows += [
        (f"headers.{name}", _MASK, f"file, [formats.{settings.format.value}.headers]") for name in settings.headers
    ]
    return rows


def _shown(name: str, found: Value) -> Any:
    setting = SETTINGS.get(name)
    if (setting is not None and setting.secret) or is_secret_name(name):
        return _MASK
    if name == "host_address":
        return _without_password(str(found.value))
    return found.value


def _in_words(value: Any) -> Any:
    """A value as the file has it, but without quotes around text."""
    return value if isinstance(value, str) else toml_edit.to_toml(value)


def _without_password(address: str) -> str:
    try:
        password = urlsplit(address).password
    except ValueError:
        return address
    return address.replace(f":{password}@", ":***@") if password else address


class _WithNumbers(click.Command):
    """Takes -1 for a value, not for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        numbers = [arg for arg in args if _NEGATIVE.fullmatch(arg)]
        others = [arg for arg in args if not _NEGATIVE.fullmatch(arg)]
        return super().parse_args(ctx, [*others, "--", *numbers] if numbers else others)


_NEGATIVE = re.compile(r"-\d+(\.\d*)?")


@command.command(
    "set",
    cls=_WithNumbers,
    epilog="""
\b
Examples:
  lollms config set temperature 0.7
  lollms config set formats.vllm.host_address URL
  lollms config set formats.ollama.options.keep_alive 10m
  lollms config set formats.openai.api_key   (asks for it)
""",
)
@click.argument("key", shell_complete=complete_keys)
@click.argument("value", required=False, shell_complete=complete_values)
@debug_option
def set_(key: str, value: str | None) -> None:
    """Write KEY into the configuration file.

    KEY is a setting, formats.NAME.SETTING for one format, formats.NAME.options.OPTION for an option of its backend,
    formats.NAME.headers.HEADER, or extension.NAME.OPTION. Without VALUE it is asked for, or read from standard input;
    that is the only way for keys, because every user of a machine can read the arguments of a process. What cannot work
    is refused.
    """
    name, equals, given = key.partition("=")
    if equals and value is None:
        shown = "" if _target(name)[2] else f" {shlex.quote(given)}"
        raise click.UsageError(f"Put a blank where the = is: lollms config set {name}{shown}")
    path, from_text, secret = _target(key)
    if value is not None and secret:
        raise click.UsageError(f"{key} is a secret: leave the value out, and you will be asked for it.")
    text = _ask(key, secret) if value is None else value
    try:
        parsed = from_text(text)
    except ValueError:
        raise click.UsageError(f"{key} must be {SETTINGS[path[-1]].kind.name}, not {text!r}.") from None
    if isinstance(parsed, str) and not parsed.strip():
        raise click.UsageError(f"There is no value for {key}. `lollms config unset {key}` takes it out.")
    check_workable(path, parsed)
    if path[-1] in ("api_key_file", "verify_ssl_certificate") and isinstance(parsed, str):
        parsed = _whole(parsed)
    remarks: list[str] = []
    _change(lambda before: toml_edit.set_value(_kept_apart(before, path, parsed, remarks), path, parsed))
    for remark in remarks:
        note(remark)


def _kept_apart(text: str, path: tuple[str, ...], value: Any, remarks: list[str]) -> str:
    """The file's text, in which nothing that was for its former format is left for another one, least of all a key.

    Where no format stood in the file, what is no key may have been written with the new one in mind: it stays.
    """
    table = config_file.parse(text, config_file.config_path())
    former, new = (str(each).strip().lower() for each in (table.get("format", DEFAULT_FORMAT), value))
    if path != ("format",) or former == new:
        return text
    formats = table.get("formats")
    known = formats.get(former, {}) if isinstance(formats, dict) else {}
    bound = [name for name, setting in SETTINGS.items() if setting.bound and name in table]
    moved = [name for name in bound if "format" in table or name.startswith("api_key")]
    if moved:
        remarks.append(f"moved to [formats.{former}] of the file, whose it was: {', '.join(moved)}")
    own = formats.get(new, {}) if isinstance(formats, dict) else {}
    if stays := [name for name in bound if name not in moved and name not in own]:
        remarks.append(f"{' and '.join(stays)} at the top of the file: from now on for {new}")
    for name in moved:
        text = toml_edit.unset_value(text, (name,))
        if name not in known:
            text = toml_edit.set_value(text, ("formats", former, name), table[name])
    return text


def _whole(name: str) -> str:
    """The path of a file, which later calls find from any folder."""
    file = Path(name).expanduser()
    if not file.exists():
        note(f"{file} is not there yet")
    return name if name.startswith("~") else os.path.abspath(name)


@command.command(
    epilog="""
\b
Example:
  lollms config unset formats.ollama.model
"""
)
@click.argument("key", shell_complete=complete_keys)
@debug_option
def unset(key: str) -> None:
    """Take KEY out of the configuration file."""
    path = _path_of(key)  # of any kind: what should not be there must be easy to take out
    table = config_file.parse(config_file.read(config_file.config_path()) or "", config_file.config_path())
    for name in path:
        table = table.get(name, {}) if isinstance(table, dict) else {}
    if isinstance(table, dict) and table:
        keys = ", ".join(f"{key}.{name}" for name in table)
        raise click.UsageError(f"{key} is a table. Take its keys out one by one: {keys}.")
    try:
        _change(lambda before: toml_edit.unset_value(before, path))
    except (KeyError, TypeError):
        raise click.UsageError(f"{key} is not set in {config_file.config_path()}.") from None


def _path_of(key: str) -> tuple[str, ...]:
    """Where a key belongs in the file. The name of a format is written as the file has it, or small."""
    first, *rest = key.split(".")
    if first == "formats" and rest:
        content = config_file.parse(config_file.read(config_file.config_path()) or "", config_file.config_path())
        formats = content.get("formats")
        known = list(formats) if isinstance(formats, dict) else []
        alike = [name for name in known if name.lower() == rest[0].lower()]
        rest[0] = rest[0] if rest[0] in alike else next(iter(alike), rest[0].lower())
    return (first, *rest)


def _target(key: str) -> tuple[tuple[str, ...], Callable[[str], Any], bool]:
    """Where a key belongs in the file, how its value is read, and whether it is a secret."""
    import difflib

    path = _path_of(key)
    if path[0] == "formats" and len(path) == 3 and path[2] in SETTINGS and path[2] != "format":
        return path, SETTINGS[path[2]].kind.from_text, SETTINGS[path[2]].secret
    if path[0] == "formats" and len(path) == 4 and path[2] == "options":
        return path, any_value, is_secret_name(path[3])
    if path[0] == "formats" and len(path) == 4 and path[2] == "headers":
        return path, TEXT.from_text, True
    if path[0] == "extension" and len(path) == 3:
        return path, any_value, is_secret_name(path[2])
    if len(path) == 1 and key in SETTINGS:
        return path, SETTINGS[key].kind.from_text, SETTINGS[key].secret
    if path[0] == "formats" and len(path) == 3 and path[2] not in ("headers", "options"):
        options = in_time(lambda: options_of(path[1]))
        if option := difflib.get_close_matches(path[2], options, n=1, cutoff=0.7):
            raise click.UsageError(f"{key!r} is not a key. Did you mean 'formats.{path[1]}.options.{option[0]}'?")
    *place, name = key.lower().split(".")
    if place and place[0] in ("format", "formats"):
        place = ["formats", *(place[1:] or ["NAME"])]
    elif len(place) == 1:
        place.insert(0, "formats")
    known = SETTINGS.keys() - ({"format"} if place else set())
    # What is meant by a table without a key stands at the end of the message.
    close = [] if name in ("headers", "options") else difflib.get_close_matches(name, known, n=1)
    close = [elsewhere] if (elsewhere := NAMES_ELSEWHERE.get(name, "")) in known else close
    meant = f" Did you mean {'.'.join([*place, close[0]])!r}?" if close else ""
    raise click.UsageError(
        f"{key!r} is not a key.{meant} Keys are {', '.join(SETTINGS)}; formats.NAME.KEY for one format, "
        "formats.NAME.options.OPTION and formats.NAME.headers.HEADER; extension.NAME.OPTION for an extension."
    )


def _ask(key: str, secret: bool) -> str:
    if sys.stdin.isatty():
        import getpass

        try:
            text = getpass.getpass(f"{key}: ") if secret else input(f"{key}: ")
        except EOFError:  # Ctrl-D
            click.echo()
            text = ""
    else:
        text = sys.stdin.readline()
    text = text.strip()
    if not text:
        raise click.UsageError(f"There is no value for {key}.")
    return text


def _change(edit: Callable[[str], str]) -> None:
    """Change the file's text. It is checked first and replaced as a whole; nobody else may read it.

    What was wrong before is no hindrance: this may be the first of several steps that put it right.
    """
    path = config_file.config_path()
    before = config_file.read(path) or ""
    _, known = sift(config_file.parse(before, path), path)
    try:
        after = edit(before)
    except toml_edit.EditError as error:
        raise ConfigurationError(f"{path} cannot be changed: {error}", hint="Change it with an editor.") from None
    _, problems = sift(config_file.parse(after, path), path)
    for problem in problems:
        if problem.message not in {each.message for each in known}:
            raise problem
    try:
        _replace(path, after)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}", hint="LOLLMS_CONFIG_FILE can name a file elsewhere."
        ) from error


def _replace(path: Path, text: str) -> None:
    target = path.resolve()  # a link stays a link
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    newline = None
    if target.exists():
        newline = "\r\n" if b"\r\n" in target.read_bytes() else "\n"
    whole_files.replace(target, text, newline=newline, private=True)
