"""What docs/command.md shows is what the command does: every example that is not marked is run."""

from __future__ import annotations

import itertools
import shlex

import pytest

from lollms_core.cli.known_settings import SETTINGS
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "command.md"


EXAMPLES = [block for block in blocks(str(PAGE.relative_to(ROOT))) if block.kind != "python" and not block.not_run]


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"line {block.line}" for block in EXAMPLES])
def test_an_example_does_what_the_page_shows(lollms, example, monkeypatch):
    from lollms_core import registry

    # As where nothing but the core and two packages are installed.
    installed = tuple(e for e in registry._entry_points("lollms.backends") if e[0].name in ("ollama", "openai"))
    monkeypatch.setattr(registry, "_entry_points", lambda group: installed if group == "lollms.backends" else ())
    for command, output in example.commands():
        if command.endswith(".api_key"):
            output = ""  # the question is for terminals
        words = shlex.split(command)
        variables = list(itertools.takewhile(lambda word: "=" in word, words))
        assert words[len(variables)] == "lollms"
        given = dict(variable.split("=", 1) for variable in variables)
        assert lollms(*words[len(variables) + 1 :], env=given, input="sk-1\n").output == output, command


def test_there_are_examples():
    assert sum(len(list(example.commands())) for example in EXAMPLES) >= 15


def test_every_setting_is_named():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in SETTINGS if f"`{name}`" not in text] == []


def test_the_page_names_every_command():
    from lollms_core.cli.app import COMMANDS

    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"| `lollms {name}" not in text] == []
