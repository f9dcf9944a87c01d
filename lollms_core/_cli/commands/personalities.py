"""`lollms personalities`."""

from __future__ import annotations

import dataclasses
from typing import cast

import click

from lollms_core import Personality
from lollms_core._cli.messages import print_json
from lollms_core._cli.options import Choices, connection_options, json_option
from lollms_core._cli.session import open_session
from lollms_core._cli.status_line import Waiting
from lollms_core._cli.tables import print_table

__all__ = ["command"]


@click.command(
    epilog="""
\b
Examples:
  lollms personalities
  lollms generate --personality 2 "Good morning!"
"""
)
@json_option("Print them as JSON.")
@connection_options
def command(as_json: bool, choices: Choices) -> None:
    """List the personalities that the server has mounted. The ID is what --personality takes."""
    with open_session(choices) as session, Waiting(f"Waiting for {session.subject}"):
        found = cast("list[Personality]", session.client.list_personalities(details=True))
    if as_json:
        print_json([dataclasses.asdict(personality) for personality in found])
        return
    rows = [(each.id, each.name, each.category, "yes" if each.active else "") for each in found]
    print_table(("ID", "Name", "Category", "Active"), rows)
