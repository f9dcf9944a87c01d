"""The guide's Python examples, taken out of the guide word for word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

GUIDE = Path(__file__).with_name("user-guide.md")


def python_examples() -> list[str]:
    """Every fenced Python block of the guide, in order."""
    return re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run_examples(namespace: dict[str, Any], examples: list[str]) -> None:
    """Run examples one after another in one namespace, as a reader would type them."""
    for number, example in enumerate(examples, start=1):
        exec(compile(example, f"guide example {number}", "exec"), namespace)
