"""`lollms install`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys

import click

from lollms_core import ConfigurationError, installed_formats
from lollms_core._cli.completion import complete_packages
from lollms_core._cli.messages import note, tell
from lollms_core._cli.options import debug_option
from lollms_core._cli.providers import suggestion
from lollms_core._cli.questions import confirm
from lollms_core._client.registry import OFFICIAL_PACKAGES, refresh_installed

__all__ = ["command"]

# A name and perhaps extras, nothing else: neither an option of pip's nor an address may hide in it.
_NAME = re.compile(r"([a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)(\[[a-z0-9._,-]+\])?", re.IGNORECASE)

_EXTRAS = {
    "vllm": "lollms-vllm alone talks to a vLLM server. To run the engine in this process, which takes several "
    "gigabytes, install it with `lollms install 'vllm[engine]'`.",
}


@click.command(
    epilog="""
\b
Examples:
  lollms install ollama
  lollms install 'vllm[engine]' --yes
"""
)
@click.argument("format", shell_complete=complete_packages)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-U", "--upgrade", is_flag=True, help="Upgrade it if it is installed.")
@debug_option
def command(format: str, yes: bool, upgrade: bool) -> None:
    """Install the package of FORMAT with pip, into the Python that runs this command.

    The official packages are known by the names of their formats. For any other name it is lollms-NAME, whoever may
    have published that: you are told so and asked.
    """
    name, package = _package(format)
    present = installed_formats().get(name)
    if present is not None and present.distribution == "lollms-core":
        note(f"{name} is part of lollms-core: there is nothing to install")
        return
    if present is not None and not upgrade and "[" not in package:
        note(f"{name} is there already, from {present.distribution} {present.version}; --upgrade looks for a newer one")
        return
    if importlib.util.find_spec("pip") is None:
        raise ConfigurationError(
            f"pip is not installed for {sys.executable}",
            hint=f"Install it with `python -m ensurepip`, or run `uv pip install {shlex.quote(package)}`.",
        )
    arguments = [sys.executable, "-m", "pip", "install", *(["--upgrade"] if upgrade else []), package]
    tell(shlex.join(arguments))
    if name in _EXTRAS and "[" not in package:
        note(_EXTRAS[name])
    if not yes:
        _confirm(name, package)
    _run(arguments, name)
    _verify(name, package)


def _package(format: str) -> tuple[str, str]:
    """The format's name and the requirement to give to pip."""
    match = _NAME.fullmatch(format.strip())
    if match is None:
        raise click.UsageError(f"{format!r} is not the name of a format.")
    name, extras = match[1].lower().removeprefix("lollms-"), match[2] or ""
    return name, OFFICIAL_PACKAGES.get(name, f"lollms-{name}") + extras


def _confirm(name: str, package: str) -> None:
    if name not in OFFICIAL_PACKAGES:
        import difflib

        close = difflib.get_close_matches(name, OFFICIAL_PACKAGES, n=1)
        meant = f"Did you mean {close[0]}?" if close else suggestion(name)
        note(f"{package} is not an official package; its author's code will run with your rights. {meant}".strip())
    confirm(f"Install {package}", refused="Nothing was installed.", otherwise="--yes installs without asking.")


def _run(arguments: list[str], name: str) -> None:
    status = subprocess.run(arguments, check=False).returncode  # noqa: S603 - the name was checked, no shell
    if status != 0:
        hint = "Its own message above says why."
        if name in OFFICIAL_PACKAGES:
            hint += f" If it finds no such package, install it from a clone: `pip install . plugins/lollms-{name}`."
        raise ConfigurationError(f"pip failed with status {status}", hint=hint)


def _verify(name: str, package: str) -> None:
    importlib.invalidate_caches()
    refresh_installed()
    info = installed_formats().get(name)
    if info is None:
        raise ConfigurationError(
            f"{package} is installed, but it provides no format {name!r}", hint="`lollms formats` lists what there is."
        )
    note(f"{info.distribution} {info.version} is installed; `lollms doctor {name}` checks it")
