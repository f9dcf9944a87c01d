"""As much of CommonMark's block structure as decides where fenced code is (https://spec.commonmark.org/0.31.2/).

Agrees with the specification's algorithm line by line, and takes time that is linear in the text, whatever the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from functools import cache
from typing import NamedTuple

__all__ = ["Fence", "FenceScanner", "with_plain_line_ends"]

_OPENER = re.compile(r"(`{3,})([^`\n]*)(?=\n|\Z)|(~{3,})([^\n]*)")
"""An opening fence: a run of backticks and the info string, or a run of tildes and the info string."""


def with_plain_line_ends(text: str) -> str:
    r"""`text` with CommonMark's other two line ends, `\r\n` and `\r`, replaced by `\n`."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


class Fence(NamedTuple):
    """A fenced code block."""

    start: int
    """Where the line of the opening fence begins."""
    end: int
    """Where the first line behind the block begins."""
    info: str
    """The info string, without the white space around it."""
    content: str
    """The lines with their line ends, without the indentation and the markers of the containers."""
    complete: bool
    """False if the text ended inside the block."""


_QUOTE = 0
"""A block quote among the containers; list items are the number of columns by which their content is indented."""

_NOTHING, _PARAGRAPH, _FENCE, _HTML = range(4)


class FenceScanner:
    r"""Finds the fenced code blocks of a text whose line ends are `\n`, in order.

    CommonMark's first phase, less the kinds of blocks that make no difference to fences. Tracks the open containers and
    what kind of leaf block is open: a paragraph (which can be continued lazily and may not be interrupted by
    everything), a fence, an HTML block, or none of them.
    """

    def __init__(self, text: str, position: int = 0) -> None:
        """`position`: where to begin; it is taken for the first line of a document."""
        self._text = text
        self._next = position  # the next line
        self._found: deque[Fence] = deque()
        self._last_end = position  # of the last fence that `end_of_fence_around` has seen
        self._containers: list[int] = []
        self._indents = 0  # the columns of all list items together
        self._quotes: list[int] = []  # the indices of the block quotes among them
        self._item_is_empty = False  # the last container is a list item in which nothing stands yet
        self._leaf = _NOTHING
        # the open fence
        self._fence_start = 0
        self._fence_run = ""
        self._fence_info = ""
        self._fence_indent = 0
        self._fence_lines: list[str] = []
        self._html_end: re.Pattern[str] | None = None  # None: the open HTML block ends at a blank line
        # the current line: where we are, and where the next character is that is not white space
        self._end = 0
        self._at = 0
        self._column = 0
        self._inside_tab = False
        self._solid = 0
        self._solid_column = 0
        self._breaks: dict[str, int] = {}  # for each character, from where on the line is a thematic break of it

    def next(self, limit: int | None = None) -> Fence | None:
        """The next block, if it begins before `limit`. A later call with a higher limit goes on from there."""
        text, length = self._text, len(self._text)
        limit = length if limit is None else limit
        while not self._found and self._next < length and (self._next < limit or self._leaf == _FENCE):
            if self._leaf == _FENCE and not self._quotes and self._skip_fence_lines():
                continue
            line = self._next
            newline = text.find("\n", line)
            self._end = length if newline < 0 else newline
            self._next = min(self._end + 1, length)
            self._at, self._column, self._inside_tab = line, 0, False
            self._breaks.clear()
            self._find_solid()
            self._read_line(line)
        if self._leaf == _FENCE and self._next >= length and not self._found:
            ending = "\n" if self._fence_lines and text.endswith("\n") else ""
            self._add_fence(length, ending, complete=False)
        return self._found.popleft() if self._found and self._found[0].start < limit else None

    def end_of_fence_around(self, position: int) -> int | None:
        """The end of the block around `position`; `None` outside. Ask for ascending positions, and not for `next`."""
        while self._last_end <= position and (fence := self.next(position)):
            self._last_end = fence.end
        return self._last_end if self._last_end > position else None

    # --- one line ---

    def _read_line(self, line: int) -> None:
        matched = self._match_containers()
        all_matched = matched == len(self._containers)
        if all_matched:
            if self._leaf == _FENCE:
                self._continue_fence()
                return
            if self._leaf == _HTML and self._continue_html():
                return
        elif self._leaf == _FENCE:
            self._add_fence(line, "\n", complete=True)
        elif self._leaf == _HTML:
            self._leaf = _NOTHING
        if self._solid == self._end:
            self._close_containers(matched)
            self._leaf = _NOTHING
            return
        self._open_blocks(line, matched)

    def _match_containers(self) -> int:
        """How many of the open containers this line continues. Moves behind their markers."""
        containers = self._containers
        index = 0
        while index < len(containers):
            offset = containers[index]
            if offset == _QUOTE:
                if self._indent() > 3 or self._peek() != ">":
                    break
                self._consume_quote_marker()
            elif self._solid == self._end and self._item_is_empty and index == len(containers) - 1:
                break  # a list item can begin with one blank line, not two
            elif self._indent() >= offset:
                self._advance(offset)
            elif self._solid == self._end:
                # A blank line continues all list items up to the next quote.
                self._move_to(self._solid, self._solid_column)
                following = bisect_left(self._quotes, index)
                index = self._quotes[following] if following < len(self._quotes) else len(containers)
                if index == len(containers) and self._item_is_empty:
                    return index - 1
                continue
            else:
                break
            index += 1
        return index

    def _open_blocks(self, line: int, matched: int) -> None:
        """Open what begins in this line, or continue the paragraph, in what is left of the line (not blank)."""
        in_paragraph = self._leaf == _PARAGRAPH and matched == len(self._containers)
        lazy = self._leaf == _PARAGRAPH and not in_paragraph
        text, end = self._text, self._end
        while self._solid < end and self._indent() < 4:
            character = text[self._solid]
            leaf: int | None = None
            if character == ">":
                self._close_containers(matched)
                self._consume_quote_marker()
                self._open_container(_QUOTE)
            elif character not in _STARTS:
                break
            elif (leaf := self._leaf_that_begins(line, character, in_paragraph, lazy)) is not None:
                self._close_containers(matched)
                self._item_is_empty = False
                self._leaf = leaf
                return
            else:
                offset = self._consume_list_marker(in_paragraph)
                if offset is None:
                    break
                self._close_containers(matched)
                self._open_container(offset)
            matched = len(self._containers)
            in_paragraph = lazy = False
        if in_paragraph or lazy:
            return
        self._close_containers(matched)
        if self._solid == end:
            self._leaf = _NOTHING
        else:
            self._item_is_empty = False
            self._leaf = _PARAGRAPH if self._indent() < 4 else _NOTHING

    def _leaf_that_begins(self, line: int, character: str, in_paragraph: bool, lazy: bool) -> int | None:
        """The leaf that is open after this line, if a block other than a paragraph or container begins in it."""
        text, solid, end = self._text, self._solid, self._end
        if character in "`~":
            opener = _OPENER.match(text, solid, end)
            if opener is None:
                return None
            self._fence_start = line
            self._fence_run = opener[1] or opener[3]
            self._fence_info = (opener[2] or opener[4] or "").strip()
            self._fence_indent = self._indent()
            self._fence_lines = []
            return _FENCE
        if character == "<":
            return self._html_that_begins(may_be_any_tag=not (in_paragraph or lazy))
        patterns = _patterns()
        if character == "#":
            return _NOTHING if patterns.heading.match(text, solid, end) else None
        if in_paragraph and character in "=-" and patterns.underline.match(text, solid, end):
            return _NOTHING
        if character in "*-_" and self._is_thematic_break(character):
            return _NOTHING
        return None

    def _is_thematic_break(self, character: str) -> bool:
        """Whether the rest of the line is three or more of this character, and white space.

        How far back that holds is found once for a line: in a line of ten thousand list markers, each begins with one.
        """
        begin = self._breaks.get(character)
        if begin is None:
            line = self._text[self._solid : self._end]
            begin = self._breaks[character] = self._solid + len(line.rstrip(character + " \t"))
        return self._solid >= begin and self._text.count(character, self._solid, self._end) >= 3

    def _html_that_begins(self, *, may_be_any_tag: bool) -> int | None:
        patterns = _patterns()
        for begin, ending in patterns.html:
            if begin.match(self._text, self._solid, self._end):
                if ending.search(self._text, self._solid, self._end):
                    return _NOTHING
                self._html_end = ending
                return _HTML
        block = patterns.html_block_tag.match(self._text, self._solid, self._end)
        if block or (may_be_any_tag and patterns.html_tag.match(self._text, self._solid, self._end)):
            self._html_end = None
            return _HTML
        return None

    def _continue_html(self) -> bool:
        """Whether this line belongs to the open HTML block."""
        if self._html_end is None:
            if self._solid == self._end:
                self._leaf = _NOTHING
                return False
        elif self._html_end.search(self._text, self._at, self._end):
            self._leaf = _NOTHING
        return True

    # --- fences ---

    def _continue_fence(self) -> None:
        text, solid, end, run = self._text, self._solid, self._end, self._fence_run
        if text.startswith(run, solid) and self._indent() <= 3 and not text[solid:end].lstrip(run[0]).strip(" \t"):
            self._add_fence(self._next, "\n", complete=True)
            return
        self._advance(min(self._fence_indent, self._indent()))
        if self._inside_tab:
            spaces = 4 - self._column % 4
            self._fence_lines.append(" " * spaces + text[self._at + 1 : end])
        else:
            self._fence_lines.append(text[self._at : end])

    def _skip_fence_lines(self) -> bool:
        """Take the lines at once that are indented by spaces, enough for the list items and the fence, or empty.

        False if the next line is none of them, or may close the fence: that is for `_read_line`.
        """
        text, begin = self._text, self._next
        indent = self._indents + self._fence_indent
        if indent > _MOST_INDENT:
            return False
        stop = _other_than_code(indent).search(text, begin - 1)
        end = stop.start() if stop else len(text) - text.endswith("\n")
        if end < begin:
            return False
        # Each line is taken with the line end before it, the first one's then dropped.
        self._fence_lines.append(text[begin - 1 : end].replace("\n" + " " * indent, "\n")[1:])
        self._next = min(end + 1, len(text))
        return True

    def _add_fence(self, end: int, ending: str, *, complete: bool) -> None:
        content = "\n".join(self._fence_lines) + (ending if self._fence_lines else "")
        self._found.append(Fence(self._fence_start, end, self._fence_info, content, complete))
        self._leaf = _NOTHING
        self._fence_lines = []

    # --- containers ---

    def _open_container(self, offset: int) -> None:
        if offset == _QUOTE:
            self._quotes.append(len(self._containers))
        self._containers.append(offset)
        self._indents += offset
        self._item_is_empty = offset != _QUOTE
        self._leaf = _NOTHING

    def _close_containers(self, count: int) -> None:
        """Close all but the first `count`."""
        if count < len(self._containers):
            self._indents -= sum(self._containers[count:])
            del self._containers[count:]
            while self._quotes and self._quotes[-1] >= count:
                self._quotes.pop()
            self._item_is_empty = False

    def _consume_quote_marker(self) -> None:
        self._move_to(self._solid + 1, self._solid_column + 1)
        if self._indent():
            self._advance(1)

    def _consume_list_marker(self, in_paragraph: bool) -> int | None:
        """The columns by which the item's content is indented, or `None` if no list item begins here."""
        marker = _patterns().list_marker.match(self._text, self._solid, self._end)
        if marker is None:
            return None
        if in_paragraph:
            # Only what is surely meant as a list interrupts a paragraph.
            starts_with_one = marker[1] is None or int(marker[1]) == 1
            if not starts_with_one or not self._text[marker.end() : self._end].strip(" \t"):
                return None
        before = self._indent()
        width = marker.end() - marker.start()
        self._move_to(marker.end(), self._solid_column + width)
        spaces = self._indent()
        if self._solid == self._end or spaces > 4:
            spaces = 1
        self._advance(min(spaces, self._indent()))
        return before + width + spaces

    # --- moving along the line ---

    def _find_solid(self) -> None:
        text, position, end, column = self._text, self._at, self._end, self._column
        while position < end:
            character = text[position]
            if character == " ":
                column += 1
            elif character == "\t":
                column += 4 - column % 4
            else:
                break
            position += 1
        self._solid, self._solid_column = position, column

    def _indent(self) -> int:
        return self._solid_column - self._column

    def _peek(self) -> str:
        return self._text[self._solid] if self._solid < self._end else ""

    def _move_to(self, position: int, column: int) -> None:
        self._at, self._column, self._inside_tab = position, column, False
        self._find_solid()

    def _advance(self, columns: int) -> None:
        """Move over that many columns of white space; a tab may be consumed in part."""
        text = self._text
        while columns > 0:
            width = 4 - self._column % 4 if text[self._at] == "\t" else 1
            if width > columns:
                self._column += columns
                self._inside_tab = True
                return
            self._column += width
            self._at += 1
            self._inside_tab = False
            columns -= width


_MOST_INDENT = 40
"""In columns; deeper code is read line by line, so that the number of patterns is limited."""


@cache
def _other_than_code(indent: int) -> re.Pattern[str]:
    """A line, after its predecessor's line end, that is neither empty nor code with such an indentation in spaces."""
    return re.compile(rf"\n(?! {{{indent}}}(?! {{0,3}}(?:```|~~~))|\n)")


_STARTS = frozenset("`~<#=-*_+0123456789")


class _Patterns(NamedTuple):
    heading: re.Pattern[str]
    underline: re.Pattern[str]
    list_marker: re.Pattern[str]
    html: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]
    html_block_tag: re.Pattern[str]
    html_tag: re.Pattern[str]


_HTML_BLOCK_NAMES = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|"
    "fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|"
    "menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|"
    "track|ul"
)


@cache
def _patterns() -> _Patterns:
    """Compiled when first needed: most answers need none of them."""
    flags = re.IGNORECASE | re.ASCII
    attribute = r"""\s+[a-z_:][a-z0-9_.:-]*(?:\s*=\s*(?:[^\s"'=<>`]+|'[^']*'|"[^"]*"))?"""
    return _Patterns(
        heading=re.compile(r"#{1,6}(?:[ \t]|\Z)"),
        underline=re.compile(r"(?:=+|-+)[ \t]*\Z"),
        list_marker=re.compile(r"(?:[-+*]|([0-9]{1,9})[.)])(?=[ \t]|\Z)"),
        html=(
            (
                re.compile(r"<(?:script|pre|style|textarea)(?:[ \t>]|\Z)", flags),
                re.compile(r"</(?:script|pre|style|textarea)>", flags),
            ),
            (re.compile(r"<!--"), re.compile(r"-->")),
            (re.compile(r"<\?"), re.compile(r"\?>")),
            (re.compile(r"<![A-Za-z]"), re.compile(r">")),
            (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
        ),
        html_block_tag=re.compile(rf"</?(?:{_HTML_BLOCK_NAMES})(?:[ \t]|/?>|\Z)", flags),
        html_tag=re.compile(rf"(?:<[a-z][a-z0-9-]*(?:{attribute})*\s*/?>|</[a-z][a-z0-9-]*\s*>)[ \t]*\Z", flags),
    )
