"""Files that hold a whole text or what they held before: a full disk or Ctrl-C leaves no half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["create", "read", "replace"]

_LARGEST = 1_000_000


def read(path: Path) -> str:
    """The text of a small file in UTF-8, without a byte order mark, which editors on Windows put in front.

    Raises `OSError`, also for more than a megabyte, as devices without an end give it, and `UnicodeDecodeError`.
    """
    with path.open(encoding="utf-8-sig") as file:
        text = file.read(_LARGEST)
        if file.read(1):
            raise OSError(errno.EFBIG, "it is larger than a megabyte")
    return text


def create(path: Path, text: str) -> None:
    """Write a new file. Raises `FileExistsError` if there is one, `OSError` if it cannot be written."""
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise


def replace(path: Path, text: str, *, newline: str | None = None, private: bool = False) -> None:
    """Put `text` in the place of what a file holds. A link stays a link.

    Who may read it stays the same; with `private`, and of a new file, only its owner may. Raises `OSError`, also
    where there is something else than a file, such as a device.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with open(handle, "w", encoding="utf-8", newline=newline) as new:
            new.write(text)
        if target.exists() and not private:
            shutil.copymode(target, name)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
