"""What was typed into `lollms chat`, remembered from one day to the next.

One line for each prompt, with `\\n` for a line break in it: the file of earlier versions, which had one line each, is
read as it is.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from lollms_core._cli.messages import warn

__all__ = ["History", "history_path"]

_LENGTH = 1000
_ESCAPE = re.compile(r"\\(n|\\)")


def history_path() -> Path:
    """The file with what was typed: `chat_history` in the user's state directory."""
    import platformdirs

    return platformdirs.user_state_path("lollms", appauthor=False) / "chat_history"


class History:
    """The prompts of former times, and the place for new ones. A history that cannot be kept is no error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._can_be_kept = True
        self._last = ""

    def load(self) -> list[str]:
        """What was typed, the oldest first. Cuts the file when it has grown long."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").removesuffix("\n").split("\n")
        except OSError:
            return []
        if len(lines) > 2 * _LENGTH:
            with contextlib.suppress(OSError):
                self._path.write_text("".join(f"{line}\n" for line in lines[-_LENGTH:]), encoding="utf-8")
        self._last = lines[-1]
        return [_ESCAPE.sub(lambda found: "\n" if found[1] == "n" else "\\", line) for line in lines[-_LENGTH:]]

    def add(self, prompt: str) -> None:
        """Remember a prompt, at once: a chat may end in any way. The same one twice is one."""
        line = prompt.replace("\\", "\\\\").replace("\n", "\\n")
        if not self._can_be_kept or not prompt.strip() or line == self._last:
            return
        self._last = line
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Prompts are private: nobody else reads them, not even between making the file and writing it.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(descriptor, "a", encoding="utf-8", errors="replace", newline="\n") as file:
                file.write(f"{line}\n")
        except OSError as error:
            self._can_be_kept = False
            warn(f"this chat will not be remembered: {self._path} cannot be written ({error.strerror})")
