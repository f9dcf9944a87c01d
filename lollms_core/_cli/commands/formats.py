"""`lollms formats`."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import click

from lollms_core import Capabilities, LollmsError, installed_formats
from lollms_core._cli.messages import print_json, report
from lollms_core._cli.options import debug_option, json_option
from lollms_core._cli.packages import look_at
from lollms_core._cli.screen import columns
from lollms_core._cli.tables import print_table
from lollms_core._cli.wrapping import wrap
from lollms_core._client.registry import OFFICIAL_PACKAGES, FormatInfo, load_format

__all__ = ["command"]


@click.command(
    epilog="""
\b
Examples:
  lollms formats
  lollms formats --capabilities
"""
)
@click.option("--capabilities", is_flag=True, help="Load every format and show what it can do.")
@json_option("Print them as JSON.")
@debug_option
def command(capabilities: bool, as_json: bool) -> None:
    """List the installed formats: their packages and versions, and those that could be installed.

    This reads what pip has recorded and imports nothing. With --capabilities every format is loaded, and one that
    cannot be is shown with its error; `lollms doctor` looks deeper.
    """
    formats = installed_formats()
    loaded = {name: _load(name) for name in formats} if capabilities else {}
    if as_json:
        print_json([_as_json(info, loaded.get(info.name)) for info in formats.values()])
        return
    if capabilities:
        _print_capabilities(formats, loaded)
    else:
        rows = [(info.name, info.distribution, info.version, _problem(info)) for info in formats.values()]
        print_table(("Format", "Package", "Version", "Problem"), rows)
    absent = [name for name in OFFICIAL_PACKAGES if name not in formats]
    if absent:
        advice = f"Not installed: {', '.join(absent)}. Add one with `lollms install FORMAT`."
        click.echo(f"\n{wrap(advice, columns(sys.stdout))}")


def _load(name: str) -> Capabilities | LollmsError | None:
    """What a format can do; `None` where only an instance knows."""
    try:
        capabilities: object = load_format(name).capabilities
    except LollmsError as error:
        return error
    return capabilities if isinstance(capabilities, Capabilities) else None


def _problem(info: FormatInfo) -> str:
    found = look_at(info)
    return found.detail if found.status == "broken" else ""


def _as_json(info: FormatInfo, loaded: Capabilities | LollmsError | None) -> dict[str, Any]:
    record: dict[str, Any] = dataclasses.asdict(info)
    if isinstance(loaded, LollmsError):
        record["error"] = loaded.message
    elif loaded is not None:
        record["capabilities"] = {
            **dataclasses.asdict(loaded),
            "options": sorted(loaded.options),
            "parts": sorted(loaded.parts),
        }
    elif problem := _problem(info):
        record["error"] = problem
    return record


def _print_capabilities(formats: dict[str, FormatInfo], loaded: dict[str, Capabilities | LollmsError | None]) -> None:
    for name, info in formats.items():
        found = loaded[name]
        click.secho(f"{name}", bold=True, nl=False)
        click.echo(f"  {info.distribution} {info.version}")
        if isinstance(found, LollmsError):
            click.echo("  cannot be loaded; see the errors below")
            continue
        if found is None:
            click.echo("  says what it can do only once a client is made")
            continue
        flags = [field.name for field in dataclasses.fields(found) if getattr(found, field.name) is True]
        _print_list("can", [flag.replace("_", " ") for flag in flags] or ["generate"])
        _print_list("honours", sorted(found.options) or ["no options"])
        if found.parts:
            _print_list("sends back", [part.replace("_", " ") for part in sorted(found.parts)])
    for found in loaded.values():
        if isinstance(found, LollmsError):
            report(found)


def _print_list(label: str, words: list[str]) -> None:
    head = f"  {label}: "
    click.echo(head + wrap(", ".join(words), columns(sys.stdout), column=len(head), hanging=" " * len(head)))
