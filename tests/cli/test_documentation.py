"""What docs/command.md shows is what the command does: every example with a `console` fence is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lollms_core.cli.known_settings import SETTINGS

PAGE = Path(__file__).parents[2] / "docs" / "command.md"


def examples() -> list[tuple[str, str]]:
    """Each command with the output that is shown for it."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ lollms ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def test_there_are_examples():
    assert len(examples()) >= 9


@pytest.mark.parametrize(("command", "output"), examples(), ids=[command for command, _ in examples()])
def test_an_example_does_what_the_page_shows(lollms, command, output, monkeypatch):
    from lollms_core import registry

    # As where nothing but the core is installed.
    monkeypatch.setattr(registry, "_entry_points", lambda group: ())
    assert lollms(*shlex.split(command)).output == output


def test_every_setting_is_named():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in SETTINGS if f"`{name}`" not in text] == []


def test_the_page_names_every_command():
    from lollms_core.cli.app import COMMANDS

    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"| `lollms {name}" not in text] == []
