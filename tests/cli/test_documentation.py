"""docs/command.md leaves nothing out. Its examples are run by tests/docs/test_pages.py."""

from __future__ import annotations

from lollms_core._cli.known_settings import SETTINGS
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "command.md"


EXAMPLES = [block for block in blocks(str(PAGE.relative_to(ROOT))) if block.kind != "python" and not block.not_run]


def test_there_are_examples():
    assert sum(len(list(example.commands())) for example in EXAMPLES) >= 15


def test_every_setting_is_named():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in SETTINGS if f"`{name}`" not in text] == []


def test_the_page_names_every_command():
    from lollms_core._cli.app import COMMANDS

    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"| `lollms {name}" not in text] == []
