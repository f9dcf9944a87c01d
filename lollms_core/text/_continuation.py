"""Joining code that was cut off with what the model wrote when asked to go on."""

from __future__ import annotations

import re

from lollms_core.text._commonmark import FenceScanner, with_plain_line_ends

__all__ = ["behind_continuation", "join_continuation", "read_continuation"]


def join_continuation(first: str, continuation: str) -> str:
    """The code of an incomplete block, `first`, with the code of the model's next answer behind it.

    `continuation` is the whole answer: the code in it is what `read_continuation` finds. Lines at the end of `first`
    with which that code begins again are taken once, the last of them even where `first` breaks off inside it. A
    repetition counts if there is a letter or digit in it: a lone `}` may well be the next line. Otherwise the code
    goes on exactly where `first` ends; if `first` breaks off inside a line and the code begins indented by two
    columns or more, it is a new line. Code that begins indented when `first` breaks off inside an indentation has the
    whole of it.
    """
    code = read_continuation(continuation)[0]
    first = with_plain_line_ends(first)
    if not code or not first:
        return first + code
    *whole, cut = first.split("\n")
    lines = code.split("\n")
    for count in _repeated_counts(whole, lines):
        repeated = lines[:count]
        if not cut:
            if count and _says_something(repeated):
                return "\n".join([*whole, *lines[count:]])
        elif count < len(lines):
            completed = _completed(cut, lines[count], alone=count == 0)
            if completed is not None and (count == 0 or _says_something([*repeated, cut])):
                return "\n".join([*whole, completed, *lines[count + 1 :]])
    if cut and cut.strip() and re.match(r"\t| [ \t]", code):
        return f"{first}\n{code}"
    return first + code


def read_continuation(continuation: str) -> tuple[str, bool]:
    """The code in an answer that continues a code block, and whether the answer closes the block.

    The answer may open a fence again, with or without an introduction before it, or go on with the code at once, and
    it may close the block and go on with prose. A fence with an info string opens; so does a bare one with nothing
    before it, or with a sentence before it. Any other bare fence closes.
    """
    code, closes, _ = _read(with_plain_line_ends(continuation))
    return code, closes


def behind_continuation(continuation: str) -> str:
    """What an answer that continues a code block goes on with after closing it; empty if it does not close it."""
    text = with_plain_line_ends(continuation)
    return text[_read(text)[2] :]


def _read(text: str) -> tuple[str, bool, int]:
    """The code, whether the block is closed, and where the first line behind the block begins."""
    fence = FenceScanner(text).next()
    if fence is None:
        return text, False, len(text)
    before = text[: fence.start]
    if fence.info or not before.strip() or _is_introduction(before):
        return fence.content.removesuffix("\n") if fence.complete else fence.content, fence.complete, fence.end
    closing_line_end = text.find("\n", fence.start)
    return before.removesuffix("\n"), True, len(text) if closing_line_end < 0 else closing_line_end + 1


def _is_introduction(text: str) -> bool:
    """Whether the last line is a sentence: it has more than one word, begins like one and ends like one."""
    last = text.rstrip().rpartition("\n")[2].rstrip("*_` ")
    begins = last[:1] in "`*" or (last[0].isalpha() and not last[0].islower())
    return begins and (" " in last or not last.isascii()) and last.endswith((":", ".", "!", "…", "。", "：", "！"))


def _says_something(lines: list[str]) -> bool:
    return any(character.isalnum() for line in lines for character in line)


def _completed(cut: str, line: str, *, alone: bool) -> str | None:
    """`line` if it repeats and goes on with the broken-off line `cut`, with the indentation of `cut`."""
    if line.startswith(cut):
        return line
    bare = cut.lstrip()
    # Without other repeated lines beside it, a few characters may be alike by chance.
    if len(bare) >= (3 if alone else 1) and line.startswith(bare):
        return cut[: len(cut) - len(bare)] + line
    return None


def _repeated_counts(whole: list[str], lines: list[str]) -> list[int]:
    """Each n, descending, for which the last n of `whole` are the first n of `lines`; 0 is always one. Linear time."""
    # The borders of lines + [a wall] + whole, by the prefix function of Knuth, Morris and Pratt.
    sequence: list[str | None] = [*lines, None, *whole[-len(lines) :]]
    borders = [0] * len(sequence)
    length = 0
    for index in range(1, len(sequence)):
        while length and sequence[index] != sequence[length]:
            length = borders[length - 1]
        if sequence[index] == sequence[length]:
            length += 1
        borders[index] = length
    counts = []
    count = borders[-1] if len(lines) < len(sequence) - 1 else 0
    while count:
        counts.append(count)
        count = borders[count - 1]
    return [*counts, 0]
