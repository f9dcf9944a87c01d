"""Breaking lines at spaces: texts that are there, and answers that arrive piece by piece."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

__all__ = ["WordWrap", "cells", "shortened", "wrap"]


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(text: str, width: int) -> str:
    """The beginning of a text that fits into `width` columns, with an ellipsis if something is missing."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return text + "…" if width > 0 else ""


def wrap(text: str, width: int | None, *, column: int = 0, hanging: str = "") -> str:
    """The text in lines of at most `width` columns, broken at spaces. A longer word has a line of its own.

    Args:
        text: one paragraph.
        width: `None` leaves it in one line.
        column: how much of the first line is taken already.
        hanging: what the other lines begin with.
    """
    if width is None:
        return text
    lines, begun = [""], False
    for word in text.split():
        if begun and column + 1 + cells(word) > width:
            lines.append("")
            column, begun = cells(hanging), False
        lines[-1] += f" {word}" if begun else word
        column += cells(word) + begun
        begun = True
    return f"\n{hanging}".join(lines)


_PARTS = re.compile(r"\n|[^\S\n]+|\S+")
_FENCE = re.compile(r"(`{3,}|~{3,})")


class WordWrap:
    """Breaks an answer at spaces while it arrives.

    Code is left alone: what stands in a fenced block, lines that begin with four spaces or a tab, rows of a table. A
    line break that the model did not make would do harm there.

    Args:
        width: asked for each word, since people change the sizes of their windows; `None` is no limit.
        eager: show the beginning of a word at once, and take it back with control sequences if the whole does not fit
            into the line. Otherwise a word is held back until it is known to be whole.
    """

    def __init__(self, width: Callable[[], int | None], *, eager: bool = False) -> None:
        self._width = width
        self._eager = eager
        self._column = 0
        self._space = ""
        self._word = ""
        self._shown = ""
        """What can be seen already of the last space and word."""
        self._fence = ""
        self._as_is = False

    def feed(self, piece: str) -> str:
        """What is to be shown, now that `piece` has arrived."""
        shown = ""
        for part in _PARTS.findall(piece):
            if part == "\n":
                shown += self.rest() + part
                self._column, self._as_is = 0, False
            elif part.isspace():
                shown += self._whole_word()
                self._space += part
            else:
                self._word += part
        return shown + self._placed() if self._eager and self._word else shown

    def rest(self) -> str:
        """What was held back."""
        shown = self._whole_word() + self._space
        self._column += cells(self._space)
        self._space = ""
        return shown

    def _whole_word(self) -> str:
        if not self._word:
            return ""
        if self._column == 0:
            self._look_at_beginning(self._space, self._word)
        shown = self._placed()
        self._column += cells(self._space + self._word)
        self._space = self._word = self._shown = ""
        return shown

    def _placed(self) -> str:
        """What makes the word seen as far as it goes: behind its space, or on a new line."""
        width = self._width()
        text = self._space + self._word
        room = None if width is None or self._as_is or self._fence or self._column == 0 else width - self._column
        if room is None or cells(text) <= room:
            shown, self._shown = text[len(self._shown) :], text
            return shown
        back = f"\x1b[{cells(self._shown)}D\x1b[K" if self._shown else ""
        self._column, self._space, self._shown = 0, "", self._word
        return f"{back}\n{self._word}"

    def _look_at_beginning(self, space: str, word: str) -> None:
        self._as_is = "\t" in space or len(space) >= 4 or word.startswith("|")
        mark = _FENCE.match(word)
        if mark is None:
            return
        self._as_is = True
        if not self._fence:
            self._fence = mark[1]
        elif word == mark[1] and word.startswith(self._fence):
            self._fence = ""
