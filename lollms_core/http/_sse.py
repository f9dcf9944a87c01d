"""Server-sent events: bytes in, the `data` of each event out.

The format is the one of the WHATWG HTML standard, section 9.2 ("Server-sent events"). One deviation: when the body
ends without the last blank line, the event that it would have closed is still given, because servers are seen that
omit it after their end mark. Ids and retry times are read and dropped: no protocol here uses them.
"""

from __future__ import annotations

from lollms_core.contract.errors import ProtocolError

__all__ = ["MAX_SIZE", "NamedEvent", "SSEDecoder"]

MAX_SIZE = 64 * 1024 * 1024
"""Bytes that one unfinished event or line may hold before it is refused."""


class NamedEvent(str):
    """The data of an event with a name. One that is named `message`, as all are by default, is a plain `str`."""

    __slots__ = ("name",)

    name: str

    def __new__(cls, data: str, name: str) -> NamedEvent:
        event = super().__new__(cls, data)
        event.name = name
        return event


class SSEDecoder:
    """Decodes one stream. The same events come out however the bytes are split; time is linear in their number.

    Events are texts; where one is JSON, `parse_json` reads it.

    Args:
        max_size: how many bytes an unfinished event may hold; beyond it, the next `feed` raises `ProtocolError`.
    """

    __slots__ = ("_data", "_data_size", "_held", "_max_size", "_name", "_skip_newline", "_start", "_tail")

    def __init__(self, max_size: int = MAX_SIZE) -> None:
        self._max_size = max_size
        self._tail: list[bytes] = []
        self._data: list[str] = []
        self._data_size = 0
        self._held = 0
        self._name = ""
        self._skip_newline = False
        self._start = True

    def feed(self, data: bytes) -> list[str]:
        """The data of each event that these bytes complete; a `NamedEvent` where it has a name."""
        if self._held > self._max_size:
            raise ProtocolError(f"the server sent an event larger than {self._max_size} bytes")
        if self._skip_newline and data:
            # The line that a carriage return ended has been handled; this may be the second half of its line end.
            self._skip_newline = False
            if data[0] == 0x0A:
                data = data[1:]
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end:
            if data:
                self._tail.append(data)
                self._held += len(data)
            return []
        self._skip_newline = end == len(data) and data[end - 1] == 0x0D
        lines = data[:end]
        if self._tail:
            self._tail.append(lines)
            lines = b"".join(self._tail)
            self._tail.clear()
        if end < len(data):
            self._tail.append(data[end:])
        events = self._read(lines.decode("utf-8", "replace"))
        self._held = len(data) - end + self._data_size
        return events

    def close(self) -> list[str]:
        """The body has ended: the data of an event that lacks its blank line, if there is one."""
        rest = b"".join(self._tail)
        self._tail.clear()
        return self._read(f"{rest.decode('utf-8', 'replace')}\n\n")

    def _read(self, text: str) -> list[str]:
        if self._start:
            self._start = False
            text = text.removeprefix("\ufeff")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        del lines[-1]
        events: list[str] = []
        data = self._data
        size = self._data_size
        name = self._name
        for line in lines:
            if not line:
                if data:
                    event = data[0] if len(data) == 1 else "\n".join(data)
                    events.append(NamedEvent(event, name) if name else event)
                    data.clear()
                    size = 0
                name = ""
            elif line.startswith("data:"):
                size += len(line)
                data.append(line[6:] if line.startswith(" ", 5) else line[5:])
            elif line == "data":
                data.append("")
                size += len(line)
            elif line.startswith("event:"):
                name = line[7:] if line.startswith(" ", 6) else line[6:]
                if name == "message":
                    name = ""
            elif line == "event":
                name = ""
            elif line.startswith("error:"):  # of llama.cpp's server until 2025: an event that is all error
                size += len(line)
                data.append(line[6:])
                name = "error"
        self._data_size = size
        self._name = name
        return events
