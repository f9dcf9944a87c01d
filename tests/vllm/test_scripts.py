"""Whole programs that use the engine: one that forgets to close it, and one without the guard that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import PATIENCE, program

pytestmark = pytest.mark.vllm

PROGRAM = """
from lollms_core import LollmsClient

def ask(prompt):
    client = LollmsClient(
        model_name={model!r}, ctx_size=256, default_generation_mode="vllm",
        raise_errors=True, dtype="float32", enforce_eager=True,
    )
    print(client.generate(prompt, 20, temperature=0))
    stream = iter(client.stream("Tell a story.", 200))
    next(stream)

"""


def run(folder: Path, text: str) -> tuple[subprocess.CompletedProcess[str], list[psutil.Process]]:
    """Run a program; returns how it ended and the processes that it left behind."""
    script = folder / "program.py"
    script.write_text(text)
    with program(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"},
        start_new_session=True,
    ) as process:
        output, errors = process.communicate(timeout=3 * PATIENCE)  # it loads an engine
    left = [other for other in psutil.process_iter() if _session(other) == process.pid]
    _, alive = psutil.wait_procs(left, timeout=PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors), alive


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def test_a_program_that_closes_nothing_ends_and_leaves_nothing(tmp_path: Path, small_model: Path) -> None:
    main = 'if __name__ == "__main__":\n    ask("What is the capital of France?")\n'
    ended, left = run(tmp_path, PROGRAM.format(model=str(small_model)) + main)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "The capital of France is Paris.\n"
    assert left == []


def test_a_program_without_the_guard_is_told_of_it(tmp_path: Path, small_model: Path) -> None:
    ended, left = run(tmp_path, PROGRAM.format(model=str(small_model)) + 'ask("Hi?")\n')
    assert ended.returncode != 0
    assert ended.stdout == ""
    assert "put what the script does under `if __name__ == '__main__':`" in ended.stderr
    assert "ModelLoadError" in ended.stderr
    assert left == []
