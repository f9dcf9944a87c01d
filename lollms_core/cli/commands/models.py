"""`lollms models`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable
from typing import cast

import click

from lollms_core import ModelInfo, PullProgress
from lollms_core.cli.guard import note, printable
from lollms_core.cli.options import Choices, connection_options
from lollms_core.cli.session import Session, open_session
from lollms_core.cli.terminal import Waiting, print_json, print_table, progress_console

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
@click.option("--json", "as_json", is_flag=True, help="Print all that is known about them as JSON.")
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
        note(f"{session.subject} has no models")
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
    with contextlib.closing(session.client.pull_model(name)) as progress:
        if progress_console() is None:
            _tell_steps(progress)
        else:
            _draw_bars(progress)
    click.echo(f"{session.client.format} has {printable(name)} now.", err=True)


def _tell_steps(progress: Iterable[PullProgress]) -> None:
    last = None
    for step in progress:
        if step.status != last:
            click.echo(step.status, err=True)
            last = step.status


def _draw_bars(progress: Iterable[PullProgress]) -> None:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    last = None
    with Progress(*columns, console=progress_console()) as bars:
        for step in progress:
            status = printable(step.status)
            if step.total is None:  # nothing to measure: a line above the bars
                if status != last:
                    bars.console.print(status)
            elif status not in tasks:
                tasks[status] = bars.add_task(status, total=step.total, completed=step.completed or 0)
            else:
                bars.update(tasks[status], completed=step.completed or 0, total=step.total)
            last = status
