"""Reasoning that a model writes into its answer between tags such as `<think>` and `</think>`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Literal, NamedTuple

__all__ = ["ReasoningSplitter", "extract_thinking_blocks", "remove_thinking_blocks"]

_NAMES = ("think", "thinking", "thought", "reasoning")
_OPENING_TAGS = tuple(f"<{name}>" for name in _NAMES)
_OPENING = re.compile(f"<({'|'.join(_NAMES)})>", re.IGNORECASE | re.ASCII)


@cache
def _closing_pattern(name: str) -> re.Pattern[str]:
    return re.compile(f"</{name}>", re.IGNORECASE | re.ASCII)


class ReasoningSplitter:
    """Tells reasoning from answer in a stream of text, however the stream is cut into pieces.

    Reasoning is recognised only if the answer begins with one of `<think>`, `<thinking>`, `<thought>`, `<reasoning>`
    (any case, white space before it), so an answer that mentions a tag later is left alone. The pieces together
    are the text without the two tags, the white space before the first and the white space directly after the second.
    Reasoning that is never closed stays reasoning. For a model whose prompt template already ends with the opening
    tag, feed that tag first.
    """

    __slots__ = ("_closing", "_closing_pattern", "_held", "_spaces", "_state", "active")

    active: bool
    """False once every further piece would be returned as it is, so that a caller can stop asking."""

    def __init__(self) -> None:
        self._state: Literal["start", "inside", "after"] = "start"
        self._spaces: list[str] = []  # white space before anything else
        self._held = ""  # what may be the beginning of a tag
        self.active = True

    def feed(self, text: str) -> list[tuple[bool, str]]:
        """What is now certain, as `(is_reasoning, piece)` with no empty pieces."""
        if not self.active:
            return [(False, text)] if text else []
        if self._state == "start":
            return self._start(text)
        if self._state == "inside":
            return self._inside(text)
        return self._after(text)

    def flush(self) -> list[tuple[bool, str]]:
        """What was held back, when the stream has ended."""
        held = "".join(self._spaces) + self._held
        self._spaces, self._held = [], ""
        self.active = False
        return [(self._state == "inside", held)] if held else []

    def _start(self, text: str) -> list[tuple[bool, str]]:
        if not self._held:
            begin = text.lstrip()
            self._spaces.append(text[: len(text) - len(begin)])
            if not begin:
                return []
            text = begin
        self._held += text
        opening = _OPENING.match(self._held)
        if opening:
            text = self._held[opening.end() :]
            self._state = "inside"
            self._closing = f"</{opening[1].lower()}>"
            self._closing_pattern = _closing_pattern(opening[1].lower())
            self._spaces, self._held = [], ""
            return self._inside(text)
        if _begins_tag(self._held, _OPENING_TAGS):
            return []
        return self.flush()

    def _inside(self, text: str) -> list[tuple[bool, str]]:
        text = self._held + text
        closing = self._closing_pattern.search(text)
        if closing:
            self._state, self._held = "after", ""
            pieces = [(True, text[: closing.start()])] if closing.start() else []
            return pieces + self._after(text[closing.end() :])
        # A tag has `<` only at its beginning, so the last one is the only place where one can have begun.
        bracket = text.rfind("<", max(0, len(text) - len(self._closing) + 1))
        if bracket < 0 or not _begins_tag(text[bracket:], (self._closing,)):
            bracket = len(text)
        self._held = text[bracket:]
        return [(True, text[:bracket])] if bracket else []

    def _after(self, text: str) -> list[tuple[bool, str]]:
        text = text.lstrip()
        if not text:
            return []
        self.active = False
        return [(False, text)]


def _begins_tag(text: str, tags: tuple[str, ...]) -> bool:
    """Whether more text could make a tag of `text`."""
    return text.isascii() and any(tag.startswith(text.lower()) for tag in tags)


def extract_thinking_blocks(text: str) -> list[str]:
    """The reasoning in `text`: what stands between the tags, in order, without the white space around it.

    Blocks are found as `remove_thinking_blocks` finds them.
    """
    return [text[block.inner_start : block.inner_end].strip() for block in _blocks(text)]


def remove_thinking_blocks(text: str) -> str:
    """`text` without its reasoning blocks and the white space directly after each; nothing else is touched.

    A block is `<think>…</think>`, or `<thinking>`, `<thought>`, `<reasoning>` with its own closing tag, in any case,
    anywhere but inside a code fence or directly behind a backtick. Whatever is inside a block, fences included, belongs
    to it. A tag that is never closed is a block only if the text begins with it: an answer cut off while thinking.
    """
    kept = []
    position = 0
    for block in _blocks(text):
        kept.append(text[position : block.start])
        position = block.end
    kept.append(text[position:])
    return "".join(kept)


class _Block(NamedTuple):
    start: int
    inner_start: int
    inner_end: int
    end: int


def _blocks(text: str) -> Iterator[_Block]:
    from lollms_core.text._commonmark import FenceScanner  # not needed for streams

    # For finding fences only: every index must stay what it is.
    plain = text.replace("\r\n", " \n").replace("\r", "\n")
    scanner = FenceScanner(plain)
    begin = len(text) - len(text.lstrip())
    never_closed: set[str] = set()
    position = 0
    while opening := _OPENING.search(text, position):
        position = opening.end()
        at_start = opening.start() == begin
        if not at_start:
            if text[opening.start() - 1] == "`":
                continue
            fence_end = scanner.end_of_fence_around(opening.start())
            if fence_end is not None:
                position = fence_end
                continue
        name = opening[1].lower()
        closing = None if name in never_closed else _closing_pattern(name).search(text, position)
        if closing:
            position = closing.end()
            while text[position : position + 1].isspace():
                position += 1
            yield _Block(0 if at_start else opening.start(), opening.end(), closing.start(), position)
            scanner = FenceScanner(plain, position)
        elif at_start:
            yield _Block(0, opening.end(), len(text), len(text))
            return
        else:
            never_closed.add(name)
