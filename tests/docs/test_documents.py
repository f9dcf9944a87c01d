"""The documents' Python examples run as printed, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def blocks(path: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / path).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("document", ["docs/library.md"])
def test_the_examples_run(document, capsys):
    namespace: dict = {}
    examples = blocks(document)
    assert len(examples) > 5
    for number, example in enumerate(examples, start=1):
        exec(compile(example, f"{document}, example {number}", "exec"), namespace)
    assert "capital of France" in capsys.readouterr().out
