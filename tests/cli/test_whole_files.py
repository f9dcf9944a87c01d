"""Files are written whole or stay as they were."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lollms_core._cli import whole_files
from tests.cli.test_lists import script

if sys.platform == "win32":
    pytest.skip("there are no limits on the size of a file", allow_module_level=True)

import resource


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_half_of_a_new_file_stays(tmp_path: Path) -> None:
    with room_for(4), pytest.raises(OSError, match="File too large"):
        whole_files.create(tmp_path / "new", "a long text")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
    whole_files.create(tmp_path / "new", "a long text")
    with pytest.raises(FileExistsError):
        whole_files.create(tmp_path / "new", "other")
    assert (tmp_path / "new").read_text() == "a long text"


def test_what_a_file_held_stays_if_the_new_text_cannot_be_written(tmp_path: Path) -> None:
    held, link = tmp_path / "held", tmp_path / "link"
    held.write_text("old")
    held.chmod(0o640)
    link.symlink_to(held)
    with room_for(4), pytest.raises(OSError, match="File too large"):
        whole_files.replace(link, "a long text")
    assert held.read_text() == "old"
    whole_files.replace(link, "a long text")
    assert (held.read_text(), held.stat().st_mode & 0o777, link.is_symlink()) == ("a long text", 0o640, True)
    assert sorted(path for path in tmp_path.iterdir() if path.is_file()) == [held, link]


@pytest.mark.parametrize("held", [None, "print(0)\n"])
def test_code_on_a_full_disk(lollms, tmp_path, held):
    path = tmp_path / "code.py"
    if held is not None:
        path.write_text(held)
    answer = script("```python\nprint(1234567890)\n```\n")
    with room_for(4):
        result = lollms("code", *answer, "--force", "-o", str(path), "x")
    assert result.exit_code == 1
    assert "print(1234567890)" in result.stderr
    assert (path.read_text() if path.exists() else None) == held
    assert lollms("code", *answer, "--force", "-o", str(path), "x").exit_code == 0
    assert path.read_text() == "print(1234567890)\n"


def test_a_device_is_left_alone(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        whole_files.replace(pipe, "a text")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_file_without_an_end_is_not_read_to_it(lollms):
    result = lollms("config", "set", "seed", "3", env={"LOLLMS_CONFIG_FILE": "/dev/zero"})
    assert result.exit_code == 1
    assert "/dev/zero cannot be read: it is larger than a megabyte" in " ".join(result.stderr.split())
    result = lollms("generate", "-f", "echo", "--api-key-file", "/dev/zero", "hi")
    assert "cannot be read: it is larger than a megabyte" in " ".join(result.stderr.split())
