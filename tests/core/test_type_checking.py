"""What a type checker says of a program that uses the guide's import name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from lollms_client import ELF_GENERATION_FORMAT, LollmsClient, LollmsError{more_names}

client = LollmsClient(default_generation_mode=ELF_GENERATION_FORMAT.OLLAMA, model_name="m")
answer = client.generate("hi", {option})
if isinstance(answer, str):
    print(answer.upper())
else:
    print(answer["error"])
try:
    client.complete("hi")
except LollmsError as error:
    print(error.hint)
"""


@pytest.mark.parametrize(
    ("option", "more_names", "wrong"),
    [
        ("temperature=0.5, seed=1", "", None),
        ("temprature=0.5", "", "temprature"),
        ("temperature='hot'", "", "str"),
        ("seed=1", ", LolmsClient", "LolmsClient"),
    ],
)
def test_a_mistake_is_seen(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, option: str, more_names: str, wrong: str | None
) -> None:
    pytest.importorskip("mypy", reason="a development tool, which the environment of old versions has not")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(option=option, more_names=more_names))
    cache = tmp_path_factory.getbasetemp() / "mypy-cache"  # what they all import is looked at once
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), str(program)]
    # From outside of the repository: its settings are none of this program's.
    checked = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    if wrong is None:
        assert checked.returncode == 0, checked.stdout
    else:
        assert checked.returncode == 1
        assert f"program.py:{5 if not more_names else 2}: error" in checked.stdout
        assert wrong in checked.stdout
