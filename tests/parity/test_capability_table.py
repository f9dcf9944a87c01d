"""The table of formats in the documentation comes from what the backends declare."""

from __future__ import annotations

from typing import Any

import pytest

from lollms_core import Capabilities
from tools.capability_table import main, table

DOCUMENT = "# Formats\n\n<!-- capabilities:begin -->\nold\n<!-- capabilities:end -->\nmore\n"


def test_table_says_what_is_declared_and_what_happens_otherwise():
    lines = table(
        {
            "one": Capabilities(options=frozenset({"stop", "seed"}), vision=True),
            "two": Capabilities(options=frozenset({"messages"})),
        }
    ).splitlines()
    assert lines[0] == "|  | `one` | `two` |"
    assert "| `seed` | yes | – |" in lines
    assert "| `stop` | yes | core |" in lines
    assert "| `messages` | prompt | yes |" in lines
    assert "| images | yes | – |" in lines


def test_a_misspelt_declaration_is_an_error():
    with pytest.raises(ValueError, match="temprature"):
        table({"one": Capabilities(options=frozenset({"temprature"}))})


def test_every_option_of_a_request_has_a_row():
    from dataclasses import fields

    from lollms_core import SamplingParams

    text = table({"echo": Capabilities()})
    for field in fields(SamplingParams):
        assert field.name == "chosen" or f"| `{field.name}` |" in text
    for field in fields(Capabilities):
        if field.name == "parts":
            for part in ("reasoning", "tool_call", "tool_result", "provider"):
                assert table({"x": Capabilities(parts=frozenset({part}))}) != table({"x": Capabilities()})
        elif field.name != "options":
            declared: dict[str, Any] = {field.name: True}
            assert table({"x": Capabilities(**declared)}) != table({"x": Capabilities()})


def test_write_then_check(tmp_path, capsys):
    document = tmp_path / "formats.md"
    document.write_text(DOCUMENT, encoding="utf-8")
    assert main(["echo", "lollms", "--check", str(document)]) == 1
    assert f"--write {document}" in capsys.readouterr().err
    assert main(["echo", "lollms", "--write", str(document)]) == 0
    assert main(["echo", "lollms", "--check", str(document)]) == 0
    text = document.read_text(encoding="utf-8")
    assert text.startswith("# Formats\n")
    assert text.endswith("more\n")
    assert "| `n_predict` | yes | yes |" in text
    assert main(["echo", "--check", str(document)]) == 1


def test_print(capsys):
    assert main(["echo"]) == 0
    assert "| `n_predict` | yes |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["ehco"], "ehco"),
        (["echo", "--check", "{none}"], "none"),
        (["echo", "--check", "{unmarked}"], "capabilities:begin"),
    ],
)
def test_mistakes_are_said(arguments, complaint, tmp_path, capsys):
    (tmp_path / "unmarked").write_text("nothing here")
    filled = [a.format(none=tmp_path / "none", unmarked=tmp_path / "unmarked") for a in arguments]
    assert main(filled) == 2
    assert complaint in capsys.readouterr().err
