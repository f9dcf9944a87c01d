"""Standard streams that are closed, full, or otherwise not what a program expects."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="closing a descriptor is a shell's job")


@pytest.fixture
def sh(shell):
    """Runs the command in a shell, with redirections behind its arguments."""

    def run(arguments: str, redirections: str) -> subprocess.CompletedProcess[str]:
        line = f"{shlex.join(shell.command)} {arguments} {redirections}"
        return subprocess.run(
            ["sh", "-c", line], env=shell.environment, capture_output=True, text=True, timeout=60, cwd=shell.tmp_path
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "redirections", "code", "out", "err"),
    [
        ("generate -f echo hi", "<&-", 0, "hi\n", ""),
        ("generate -f echo hi", "2>&-", 0, "hi\n", ""),
        ("generate -f echo hi", "<&- 2>&-", 0, "hi\n", ""),
        ("generate -f echo --top-k 1 hi", "2>/dev/full", 0, "hi\n", ""),
        ("generate -f echo", "<&-", 2, "", "Usage: lollms generate"),
        ("chat -f echo", "<&-", 0, "", ""),
        ("generate -f ecco hi", "2>&-", 1, "", ""),
        ("generate -f ecco hi", "2>/dev/full", 1, "", ""),
        ("generate -f echo hi", ">&-", 1, "", "Error: the output cannot be written: it is closed\n"),
        ("generate -f echo hi", "<&- >&- 2>&-", 1, "", ""),
        ("generate -f echo hi", ">/dev/full", 1, "", "Error: the output cannot be written: No space left on device\n"),
        ("generate -f echo --json hi", ">/dev/full", 1, "", "Error: the output cannot be written: "),
        ("formats", ">/dev/full", 1, "", "Error: the output cannot be written: "),
        ("doctor -f echo", ">/dev/full", 1, "", "Error: the output cannot be written: "),
        ("--help", ">/dev/full", 1, "", "Error: the output cannot be written: "),
        ("--help", ">&-", 1, "", "Error: the output cannot be written: it is closed\n"),
        ("models --help", ">/dev/full", 1, "", "Error: the output cannot be written: "),
    ],
)
def test_every_stream_may_fail(sh, arguments, redirections, code, out, err):
    if "/dev/full" in redirections and not Path("/dev/full").exists():
        pytest.skip("Linux alone has a disk that is always full")
    result = sh(arguments, redirections)
    assert (result.returncode, result.stdout) == (code, out)
    assert result.stderr.startswith(err)
    assert len(result.stderr.splitlines()) <= (4 if code == 2 else 2)
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_a_closed_descriptor_is_given_to_no_other_file(sh, tmp_path):
    """With stdout closed, the next file that is opened would be it."""
    (tmp_path / "key").write_text("sk-123456")
    result = sh("generate -f echo --api-key-file key hi", ">&-")
    assert result.returncode == 1
    assert (tmp_path / "key").read_text() == "sk-123456"


def test_the_configuration_is_written_without_any_stream(sh, home):
    assert sh("config set format echo", "<&- >&- 2>&-").returncode == 0
    assert (home / "config" / "lollms" / "config.toml").read_text() == 'format = "echo"\n'
