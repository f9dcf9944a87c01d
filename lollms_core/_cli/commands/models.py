"""`lollms models`."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import cast

import click

from lollms_core import ModelInfo, PullProgress
from lollms_core._cli.messages import note, print_json, tell
from lollms_core._cli.options import Choices, connection_options, json_option
from lollms_core._cli.screen import printable
from lollms_core._cli.session import Session, open_session
from lollms_core._cli.status_line import Waiting, status_line
from lollms_core._cli.tables import print_table

__all__ = ["command"]


@click.command(
    epilog="""
\b
Examples:
  lollms models -f ollama
  lollms models -f ollama --pull llama3.2
  lollms models --json | jq -r '.[].name'
"""
)
@click.option("--pull", metavar="NAME", help="Make the server download a model, and show the progress.")
@json_option("Print all that is known about them as JSON.")
@connection_options
def command(pull: str | None, as_json: bool, choices: Choices) -> None:
    """List the models that --model may name, or download one."""
    if pull is not None and as_json:
        raise click.UsageError("--pull and --json exclude each other.")
    with open_session(choices) as session:
        if pull is not None:
            _pull(session, pull)
        else:
            _list(session, as_json)


def _list(session: Session, as_json: bool) -> None:
    with Waiting(f"Waiting for {session.subject}"):
        models = cast("list[ModelInfo]", session.client.list_models(details=True))
    if as_json:
        print_json([{**dataclasses.asdict(model), "metadata": dict(model.metadata)} for model in models])
        return
    if not models:
        hint = session.client.backend.no_models
        note(f"{session.subject} lists no models" + (f". {hint}" if hint else ""))
        return
    rows = [
        (
            model.name,
            model.context_window,
            _short(model.parameters),
            model.dtype,
            _short(model.size_bytes, "B"),
            model.device,
            ", ".join(model.capabilities),
        )
        for model in models
    ]
    print_table(("Name", "Window", "Parameters", "Type", "Size", "Device", "Can"), rows)


def _short(number: int | None, unit: str = "") -> str:
    """A number as people say it: 135 M, 4.7 GB."""
    if number is None:
        return ""
    value, prefixes = float(number), ["", "k", "M", "G", "T", "P"]
    prefix = prefixes.pop(0)
    while value >= 999.5 and prefixes:
        value, prefix = value / 1000, prefixes.pop(0)
    if not unit and prefix == "G":
        prefix = "B"  # parameters are counted in billions
    return f"{value:.3g} {prefix}{unit}".strip()


def _pull(session: Session, name: str) -> None:
    with contextlib.closing(session.client.pull_model(name)) as progress, Waiting(f"Asking for {name}"):
        for step in progress:
            status_line.progress(*_described(step))
    tell(f"{session.client.format} has {printable(name)} now.")


def _described(step: PullProgress) -> tuple[str, float | None]:
    if not step.total:
        return step.status, None
    return f"{step.status} ({_short(step.total, 'B')})", min(1.0, (step.completed or 0) / step.total)
