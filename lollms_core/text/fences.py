"""Finding fenced code blocks fast: jump from fence to fence, and read line by line only where that decides something.

A fence in the first column is outside of every list and quote, so nothing before it matters but the beginnings of HTML
blocks. A fence directly inside a list item needs a look at the item's lines. Everything else goes through `LineParser`,
from the last line before it that is surely outside of any block to the first one behind it.
"""

from __future__ import annotations

import re
from collections import deque
from functools import cache

from lollms_core.text.commonmark import OPENER, Fence, LineParser, other_than_code

__all__ = ["FenceScanner", "with_plain_line_ends"]

_MARKER_CHARACTERS = " \t>-+*.)0123456789"
"""What can stand before a fence in its line: indentation, quote and list markers."""


def with_plain_line_ends(text: str) -> str:
    r"""`text` with CommonMark's other two line ends, `\r\n` and `\r`, replaced by `\n`."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


class FenceScanner:
    r"""Finds the fenced code blocks of a text whose line ends are `\n`, in order, in linear time."""

    def __init__(self, text: str, position: int = 0) -> None:
        """`position`: where to begin; it is taken for the first line of a document."""
        self._text = text
        self._outside = position  # a line that is outside of any block
        self._searched = position  # no fence begins between the two
        self._looked_for_html = position
        self._fence_end = position  # of the last one found without reading lines
        self._found: deque[Fence] = deque()
        self._last_end = position
        self._backticks = _Finder(text, "```")
        self._tildes = _Finder(text, "~~~")

    def next(self, limit: int | None = None) -> Fence | None:
        """The next block, if it begins before `limit`. A later call with a higher limit goes on from there."""
        text = self._text
        if limit is None:
            limit = len(text)
        while True:
            if self._found:
                return self._found.popleft() if self._found[0].start < limit else None
            begin = self._searched
            candidate = min(self._backticks.find(begin, limit), self._tildes.find(begin, limit))
            if candidate >= limit:
                return None
            html = self._html_before(candidate)
            if html is not None:
                self._parse_lines(html, self._outside_before(html))
                continue
            line = text.rfind("\n", begin, candidate) + 1 or begin
            if candidate == line:
                fence = self._in_first_column(line)
                if fence is not None:
                    return fence
            elif text[line:candidate].strip(_MARKER_CHARACTERS):
                self._searched = _next_line(text, candidate)
            else:
                outside = self._outside_before(line)
                fence = self._in_list_item(outside, line, candidate)
                if fence is not None:
                    return fence
                self._parse_lines(line, outside)

    def end_of_fence_around(self, position: int) -> int | None:
        """The end of the block around `position`; `None` outside. Ask for ascending positions, and not for `next`."""
        while self._last_end <= position and (fence := self.next(position)):
            self._last_end = fence.end
        return self._last_end if self._last_end > position else None

    def _in_first_column(self, line: int) -> Fence | None:
        text = self._text
        opener = OPENER.match(text, line)
        if opener is None:
            self._searched = _next_line(text, line)
            return None
        run = opener[1] or opener[3]
        info = (opener[2] or opener[4] or "").strip()
        begin = opener.end() + 1
        closing = _closing_fence(text, begin, run)
        if closing is None:
            self._go_on_from(len(text))
            return Fence(line, len(text), info, text[begin:], False)
        end = _next_line(text, closing)
        self._go_on_from(end)
        return Fence(line, end, info, text[begin:closing], True)

    def _go_on_from(self, outside: int) -> None:
        self._outside = self._searched = self._looked_for_html = self._fence_end = outside

    def _html_before(self, end: int) -> int | None:
        """The first line not looked at yet, and before `end`, that may begin an HTML block outside of containers."""
        text = self._text
        position = self._looked_for_html
        while position < end:
            bracket = text.find("<", position, end)
            if bracket < 0:
                break
            line = text.rfind("\n", position, bracket) + 1 or position
            if bracket - line <= 3 and not text[line:bracket].strip(" "):
                return line
            position = _next_line(text, bracket)
        self._looked_for_html = max(end, self._looked_for_html)
        return None

    def _in_list_item(self, item: int, line: int, run_at: int) -> Fence | None:
        """The block that begins in `line`, if that is plainly a direct part of the list item that begins at `item`.

        `item` is outside of any block and the last such line known. The item is plain if its first line holds text
        and all others up to the block are empty or indented by as much, so that none is a lazy continuation.
        """
        text = self._text
        marker = _PLAIN_ITEM.match(text, item)
        if marker is None or item < self._fence_end or text.find("<", item, line) >= 0:
            return None
        offset = marker.end() - item
        indent = run_at - line
        # A list inside of the item would have its content indented by at least two columns more.
        if not offset <= indent <= offset + 1 or text[line:run_at].strip(" "):
            return None
        if _other_than_indented(offset).search(text, text.find("\n", item), line + offset):
            return None
        opener = OPENER.match(text, run_at)
        if opener is None:
            return None
        begin = opener.end() + 1
        closing = _closing_fence_in_item(text, begin, opener[1] or opener[3], offset, indent)
        if closing is None:
            return None
        end = _next_line(text, closing)
        self._outside = item
        self._searched = self._looked_for_html = self._fence_end = end
        # Each line is taken with the line end before it, the first one's then dropped.
        content = text[begin - 1 : closing].replace("\n" + " " * indent, "\n")[1:]
        return Fence(line, end, (opener[2] or opener[4] or "").strip(), content, True)

    def _outside_before(self, line: int) -> int:
        """The last line up to `line` that is known, without reading what is before it, to be outside of any block."""
        text = self._text
        blank = line
        while (blank := text.rfind("\n\n", self._outside, blank + 1)) >= 0:
            # After a blank line, an unindented one closes every container and continues none.
            if text[blank + 2 : blank + 3] not in (" ", "\t", "\n", ""):
                return blank + 2
        return self._outside

    def _parse_lines(self, line: int, outside: int) -> None:
        """Go through the text around `line` line by line, from `outside` on."""
        parser = LineParser(self._text, outside)
        end = parser.parse_until_outside(line)
        self._found.extend(fence for fence in parser.fences if fence.start >= self._searched)
        self._go_on_from(end)


class _Finder:
    """`str.find` for ascending positions, which does not search any part twice."""

    def __init__(self, text: str, what: str) -> None:
        self._text = text
        self._what = what
        self._searched = 0
        self._found = -1

    def find(self, begin: int, limit: int) -> int:
        """The first occurrence that begins in `begin`..`limit`, or `limit`."""
        if self._found < begin:
            begin = max(begin, self._searched)
            if begin >= limit:
                return limit
            found = self._text.find(self._what, begin, limit + len(self._what) - 1)
            if found < 0:
                self._searched = limit
                return limit
            self._found = found
            self._searched = found + 1
        return min(self._found, limit)


def _next_line(text: str, position: int) -> int:
    newline = text.find("\n", position)
    return len(text) if newline < 0 else newline + 1


def _closing_fence(text: str, begin: int, run: str) -> int | None:
    """Where the line begins that closes a fence outside of containers; it was opened with `run`, then came `begin`."""
    tail = _TAILS[run[0]]
    while True:
        found = text.find(run, begin)
        if found < 0:
            return None
        line = text.rfind("\n", begin, found) + 1 or begin
        if found - line <= 3 and not text[line:found].strip(" ") and tail.match(text, found + len(run)):
            return line
        begin = _next_line(text, found)


def _closing_fence_in_item(text: str, begin: int, run: str, offset: int, indent: int) -> int | None:
    """The same in a list item whose content is indented by `offset` and its fence by `indent`, both in spaces.

    `None` also if not all lines up to there are empty or indented by as much as the fence.
    """
    while stop := other_than_code(indent).search(text, begin - 1):
        line = stop.start() + 1
        closing = _CLOSING_LINE.match(text, line)
        if closing and closing[2].startswith(run) and offset <= len(closing[1]) <= offset + 3:
            return line
        if line >= len(text) or not text.startswith(" " * indent, line):
            return None
        begin = _next_line(text, line)
    return None


_PLAIN_ITEM = re.compile(r"(?:[-+*]|[0-9]{1,9}[.)]) {1,4}(?=[^\W\d_]|\*\*?[^\s*]|__?[^\s_]|`[^`]|[\"'(\[!])")
"""The beginning of a list item up to its content, which is text: nothing else can begin with these characters."""

_CLOSING_LINE = re.compile(r"( *)(`+|~+)[ \t]*(?:\n|\Z)")


@cache
def _other_than_indented(columns: int) -> re.Pattern[str]:
    """A line, after its predecessor's line end, that is neither empty nor indented by so many spaces."""
    return re.compile(rf"\n(?! {{{columns}}}|\n)")


_TAILS = {"`": re.compile(r"`*[ \t]*(?:\n|\Z)"), "~": re.compile(r"~*[ \t]*(?:\n|\Z)")}
