"""Newline-delimited JSON: bytes in, one object for each line out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lollms_core.contract.errors import IncompleteStreamError, ProtocolError
from lollms_core.http._exchange import excerpt, parse_json
from lollms_core.http._sse import MAX_SIZE

__all__ = ["NDJSONDecoder"]


class NDJSONDecoder:
    """Decodes one stream. The same objects come out however the bytes are split; time is linear in their number.

    The JSON is parsed already, unlike that of an `SSEDecoder`.

    Args:
        max_size: how many bytes an unfinished line may hold; beyond it, the next `feed` raises `ProtocolError`.
    """

    __slots__ = ("_held", "_max_size", "_tail")

    def __init__(self, max_size: int = MAX_SIZE) -> None:
        self._max_size = max_size
        self._tail: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The objects that these bytes complete. Raises `ProtocolError` at a line that is not a JSON object."""
        if self._held > self._max_size:
            raise ProtocolError(f"the server sent a line larger than {self._max_size} bytes")
        end = data.rfind(b"\n") + 1
        if not end:
            if data:
                self._tail.append(data)
                self._held += len(data)
            return
        lines = data[:end]
        if self._tail:
            self._tail.append(lines)
            lines = b"".join(self._tail)
            self._tail.clear()
        if end < len(data):
            self._tail.append(data[end:])
        self._held = len(data) - end
        for line in lines.split(b"\n"):
            if line and (stripped := line.strip()):
                yield _object(stripped)

    def close(self) -> Iterator[dict[str, Any]]:
        """The body has ended: the object of a last line that lacks its newline.

        Raises:
            IncompleteStreamError: that line is only the beginning of an object.
        """
        rest = b"".join(self._tail).strip()
        self._tail.clear()
        if not rest:
            return
        try:
            last = _object(rest)
        except ProtocolError:
            raise IncompleteStreamError("the server's answer was cut off in the middle of a line") from None
        yield last


def _object(line: bytes) -> dict[str, Any]:
    value = parse_json(line)
    if not isinstance(value, dict):
        raise ProtocolError(f"the server sent a line that is not a JSON object: {excerpt(line)}")
    return value
