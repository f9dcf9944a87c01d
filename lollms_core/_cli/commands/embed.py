"""`lollms embed`."""

from __future__ import annotations

import json
from typing import cast

import click

from lollms_core._cli.options import Choices, connection_options
from lollms_core._cli.prompts import read_stdin
from lollms_core._cli.session import open_session
from lollms_core._cli.status_line import Waiting

__all__ = ["command"]


@click.command(
    epilog="""
\b
Examples:
  lollms embed -m nomic-embed-text "a text" "another"
  lollms embed < sentences.txt > vectors.jsonl
"""
)
@click.argument("texts", nargs=-1)
@connection_options
def command(texts: tuple[str, ...], choices: Choices) -> None:
    """Show the embedding of every one of TEXTS, or of every line of standard input.

    One line for each, in order: a JSON list of numbers. All texts go in one request.
    """
    wanted = list(texts) or read_stdin().rstrip().split("\n")
    if wanted == [""]:
        raise click.UsageError("There is no text: give it as an argument or on standard input.")
    for number, text in enumerate(wanted, 1):
        if not text.strip():
            raise click.UsageError(
                f"{'Text' if texts else 'Line'} {number} is empty, and has no embedding: leave it out."
            )
    with open_session(choices) as session, Waiting(f"Waiting for {session.subject}"):
        vectors = cast("list[list[float]]", session.client.embed(wanted))
    for vector in vectors:
        click.echo(json.dumps(vector))
