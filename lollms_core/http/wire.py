"""What both drivers put on the wire, and read off it, in the same way."""

from __future__ import annotations

import importlib
import json
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lollms_core.errors import ConfigurationError, IncompleteStreamError, InvalidRequestError, ProtocolError
from lollms_core.types import Timeouts

__all__ = [
    "BRIEF",
    "DRAIN_SECONDS",
    "DRAIN_SIZE",
    "MAX_BODY",
    "STOP_LIMIT",
    "UPLOAD_SIZE",
    "decompressor",
    "dump_json",
    "prepared_headers",
]

MAX_BODY = 256 * 1024 * 1024
"""Bytes of a whole, not streamed, response, after decompression."""
UPLOAD_SIZE = 65536
"""Bytes of a request that must leave within the idle limit."""
DRAIN_SIZE = 65536
"""Bytes that may follow an end mark before the connection is closed rather than used again."""
DRAIN_SECONDS = 0.5
"""The same in seconds, in all."""
STOP_LIMIT = 2.0
"""Seconds that a server has to end an answer when it is asked to; and before that, to give the first piece of it."""
BRIEF = Timeouts(connect=1.0, first_token=1.0, idle=1.0)
"""For a request whose answer is of no interest."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def dump_json(value: Any) -> bytes:
    """`value` as compact JSON.

    Raises:
        InvalidRequestError: it contains NaN, an infinity, or half of a surrogate pair.
    """
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:
        raise InvalidRequestError("the text contains half of a surrogate pair (U+D800 to U+DFFF)") from None
    except ValueError as error:
        raise InvalidRequestError(f"the request cannot be written as JSON: {error}") from None


def prepared_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """`headers` with those that every request has; of two spellings of one name the later wins.

    Raises:
        ConfigurationError: a name or a value cannot stand in HTTP. The value, which may be a key, is not shown.
    """
    prepared = {
        "Accept-Encoding": "identity",  # a compressed stream arrives late: the compressor waits for more text
        "User-Agent": _user_agent(),
    }
    spellings = {name.lower(): name for name in prepared}
    for name, value in headers.items():
        if not isinstance(value, str) or not _NAME.fullmatch(name):
            raise ConfigurationError(f"{name!r} cannot be an HTTP header: names are tokens, values are text")
        clean = value.strip()
        if not clean.isprintable() or not _latin(clean):
            raise ConfigurationError(
                f"the value of the header {name} contains a line break or a character that HTTP cannot carry",
                hint="Was the key copied with something around it?",
            )
        prepared.pop(spellings.get(name.lower(), ""), None)
        spellings[name.lower()] = name
        prepared[name] = clean
    return prepared


def _latin(value: str) -> bool:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _user_agent() -> str:
    from lollms_core import __version__

    return f"lollms-core/{__version__}"


def decompressor(headers: Mapping[str, str]) -> Callable[[bytes], bytes] | None:
    """What undoes the `Content-Encoding` of a response; `None` if there is none. Give it `b""` at the end of the body.

    Drivers ask for no compression; some gateways compress all the same.

    Raises:
        ProtocolError: an encoding other than gzip, deflate, and, where a package for it is installed, brotli.
    """
    names = [name.strip().lower() for name in headers.get("content-encoding", "").split(",")]
    encodings = [name for name in names if name not in ("", "identity")]
    if not encodings:
        return None
    # They were applied in the order in which they are named (RFC 9110, section 8.4).
    steps = [_step(encoding) for encoding in reversed(encodings)]

    def decompress(data: bytes) -> bytes:
        last = not data
        try:
            for step in steps:
                data = step.decompress(data) if data else b""
        except Exception as error:  # zlib's, or that of whichever package there is for brotli
            raise ProtocolError(f"the server's compressed answer is broken: {error}") from None
        if last and not all(step.is_complete for step in steps):
            raise IncompleteStreamError("the server's compressed answer was cut off")
        return data

    return decompress


class _Step(Protocol):
    @property
    def is_complete(self) -> bool: ...
    def decompress(self, data: bytes) -> bytes: ...


def _step(encoding: str) -> _Step:
    if encoding in ("gzip", "x-gzip"):
        return _Gzip()
    if encoding == "deflate":
        return _Deflate()
    if encoding == "br" and (brotli := _brotli()) is not None:
        return _Brotli(brotli.Decompressor())
    raise ProtocolError(f"the server compressed its answer with {encoding!r}, which was not asked for")


class _Gzip:
    """A series of members, each complete in itself (RFC 1952, section 2.2)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.is_complete = False

    def decompress(self, data: bytes) -> bytes:
        pieces = []
        while data:
            if self._member.eof:
                if not data.strip(b"\0"):
                    break  # padding
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            pieces.append(self._member.decompress(data))
            data = self._member.unused_data
            self.is_complete = self._member.eof
        return b"".join(pieces)


class _Deflate:
    """The zlib format, as the standard says, or what some servers send under its name: bare deflate (RFC 1951)."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj()
        self._begin: bytes | None = b""

    @property
    def is_complete(self) -> bool:
        return self._inner.eof

    def decompress(self, data: bytes) -> bytes:
        if self._begin is None:
            return self._inner.decompress(data)
        self._begin += data
        if len(self._begin) < 2:
            return b""
        begin, self._begin = self._begin, None
        # A header's two bytes are a multiple of 31, and its method is 8 (RFC 1950, section 2.2).
        if begin[0] & 15 != 8 or int.from_bytes(begin[:2], "big") % 31:
            self._inner = zlib.decompressobj(-zlib.MAX_WBITS)
        return self._inner.decompress(begin)


class _Brotli:
    """Brotli (RFC 7932), by either of the packages that urllib3 uses for it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def is_complete(self) -> bool:
        return bool(self._inner.is_finished())

    def decompress(self, data: bytes) -> bytes:
        method = getattr(self._inner, "decompress", None) or self._inner.process
        return bytes(method(data))


def _brotli() -> Any:
    for name in ("brotlicffi", "brotli"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None
