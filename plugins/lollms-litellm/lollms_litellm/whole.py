"""JSON that stands where the events of a stream are due.

Asked for a stream, some servers answer with one JSON object, an answer or an error, and write an error between two
events without `data:`. OpenAI's library passes over it, and LiteLLM over whatever has more than one line.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

from lollms_core.http import html_error
from lollms_litellm.loading import module

__all__ = ["Joiner", "understand_whole"]

_OBJECT = re.compile(rb"(?:^|[\r\n])[ \t]*\{")
_END = re.compile(rb"[\r\n]")
_FIELD = re.compile(rb"(?:data|event|id|retry)?:")
"""The beginning of a line of a stream, which is none of JSON's."""


class Joiner:
    """Writes each JSON object that begins a line as one line; all else passes as it is.

    Args:
        before: what is written before an object.
        after: what is written after it.
    """

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after
        self._unfinished: list[bytes] = []
        """The pieces of a line that has no end yet."""
        self._held: list[bytes] = []
        """The lines of an object that has no end yet."""

    def feed(self, data: bytes) -> bytes:
        """What is to be read in the place of these bytes, as far as it is known."""
        if not (self._held or self._unfinished or _OBJECT.search(data)) and data[-1:] == b"\n":
            return data  # as nearly everything does
        lines = (b"".join(self._unfinished) + data).splitlines(keepends=True) if _END.search(data) else []
        if not lines:
            self._unfinished.append(data)
        elif _END.search(lines[-1]):
            self._unfinished = []
        else:
            self._unfinished = [lines.pop()]
        return b"".join(part for line in lines for part in self._read(line))

    def close(self) -> bytes:
        """What is left at the end."""
        said = b"".join(self._read(b"".join(self._unfinished)))
        return said + b"".join(self._held)

    def _read(self, line: bytes) -> Iterator[bytes]:
        if self._held and _FIELD.match(line):  # it was no JSON
            yield b"".join(self._held)
            self._held.clear()
        if not self._held and not _OBJECT.match(line):
            yield line
            return
        self._held.append(line)
        # An indented object ends where a line begins with its brace: to try each line would take time squared.
        if len(self._held) == 1 or line[:1] == b"}":
            value = b"".join(self._held)
            if _is_json(value):
                yield self._before + b"".join(value.splitlines()) + self._after
                self._held.clear()


def understand_whole(stream: Any) -> None:
    """Let a stream that has not been read from be understood where it is JSON in place of events."""
    response = getattr(stream, "http_response", None)  # of LiteLLM's iterators, some of which want bare JSON
    before, after = b"", b"\n"
    if isinstance(stream, module("openai").AsyncStream):
        response, before, after = stream.response, b"\ndata: ", b"\n\n"
    if response is None:
        return
    itself = weakref.ref(response)  # a response that holds itself would not be closed with its last reader
    read = type(response).aiter_bytes

    page = "text/html" in response.headers.get("content-type", "")

    def joined(*given: Any) -> AsyncIterator[bytes]:
        data = read(itself(), *given)
        return _refused(data) if page else _joined(data, Joiner(before, after))

    response.aiter_bytes = joined


async def _refused(page: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A web page is no stream; without a word said of it, it would be one that was cut."""
    async for begin in page:
        raise html_error(begin, "the server")
    yield b""


async def _joined(data: AsyncIterator[bytes], joiner: Joiner) -> AsyncIterator[bytes]:
    async for piece in data:
        if said := joiner.feed(piece):
            yield said
    if said := joiner.close():
        yield said


def _is_json(value: bytes) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True
