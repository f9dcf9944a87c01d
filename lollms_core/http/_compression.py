"""What undoes the `Content-Encoding` of a response. Drivers ask for none; some gateways compress all the same."""

from __future__ import annotations

import contextlib
import importlib
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

from lollms_core.contract.errors import IncompleteStreamError, ProtocolError

__all__ = ["Decompressor"]

MAX_PIECE = 64 * 1024 * 1024
"""Bytes to which one piece of a body, 64 KiB at most, may grow."""
_MAX_ENCODINGS = 3
_REGISTERED = frozenset(
    {
        "aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip", "x-compress", "x-gzip",
        "zstd",
    }
)  # fmt: skip
"""IANA's registry of content codings, without `identity`."""


class Decompressor:
    """Give it the pieces of a body as they come, and `b""` at the end.

    What is good before a fault is given out first; the next call raises:

        IncompleteStreamError: the body ended before the compressed data did.
        ProtocolError: it is broken, or grows beyond all reason.
    """

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Decompressor | None:
        """The one for a response with these headers; `None` if it is not compressed.

        Raises:
            ProtocolError: an encoding other than gzip, deflate, and, where a package for it is installed, brotli.
        """
        names = [name.strip().lower() for name in headers.get("content-encoding", "").split(",")]
        # Servers say `none` or `utf-8` here as well, the former to keep proxies from compressing.
        encodings = [name for name in names if name in _REGISTERED]
        if len(encodings) > _MAX_ENCODINGS:
            raise ProtocolError(f"the server compressed its answer {len(encodings)} times, which was not asked for")
        # They were applied in the order in which they are named (RFC 9110, section 8.4).
        return cls([_step(encoding) for encoding in reversed(encodings)]) if encodings else None

    def __init__(self, steps: list[_Step]) -> None:
        self._steps = steps
        self._error: ProtocolError | None = None

    def __call__(self, data: bytes) -> bytes:
        if self._error is not None:
            raise self._error
        last = not data
        for step in self._steps:
            if not data:
                break
            before = step.copy()
            try:
                data = step.decompress(data)
            except _TooMuch:
                raise ProtocolError(
                    f"the server's compressed answer is too large: a piece of it grows to more than {MAX_PIECE} bytes"
                ) from None
            except Exception as error:  # zlib's, or that of whichever package there is for brotli
                self._error = ProtocolError(f"the server's compressed answer is broken: {error}")
                data = b"" if before is None else _good_part(before, data)
        if not data and self._error is not None:
            raise self._error
        if last and not all(step.is_complete for step in self._steps):
            raise IncompleteStreamError("the server's compressed answer was cut off")
        return data


class _TooMuch(Exception):
    pass


class _Step(Protocol):
    @property
    def is_complete(self) -> bool: ...
    def decompress(self, data: bytes) -> bytes: ...
    def copy(self) -> _Step | None: ...


def _good_part(step: _Step, data: bytes) -> bytes:
    """What `data` gives before its fault. Byte by byte: zlib throws away what it has of a piece that is not good."""
    good = bytearray()
    with contextlib.suppress(Exception):  # the fault that is known
        for position in range(len(data)):
            good += step.decompress(data[position : position + 1])
    return bytes(good)


def _step(encoding: str) -> _Step:
    if encoding in ("gzip", "x-gzip"):
        return _Gzip()
    if encoding == "deflate":
        return _Deflate()
    if encoding == "br" and (brotli := _brotli()) is not None:
        return _Brotli(brotli.Decompressor())
    raise ProtocolError(f"the server compressed its answer with {encoding!r}, which was not asked for")


def _limited(inner: Any, data: bytes) -> bytes:
    text: bytes = inner.decompress(data, MAX_PIECE)
    if len(text) >= MAX_PIECE:
        raise _TooMuch
    return text


class _Gzip:
    """A series of members, each complete in itself (RFC 1952, section 2.2)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.is_complete = False

    def copy(self) -> _Gzip:
        copy = _Gzip()
        copy._member = self._member.copy()
        return copy

    def decompress(self, data: bytes) -> bytes:
        pieces, size = [], 0
        while data:
            if self._member.eof:
                if not data.strip(b"\0"):
                    break  # padding
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            text = _limited(self._member, data)
            pieces.append(text)
            size += len(text)
            if size > MAX_PIECE:
                raise _TooMuch
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

    def copy(self) -> _Deflate:
        copy = _Deflate()
        copy._inner, copy._begin = self._inner.copy(), self._begin
        return copy

    def decompress(self, data: bytes) -> bytes:
        if self._begin is None:
            return _limited(self._inner, data)
        self._begin += data
        if len(self._begin) < 2:
            return b""
        begin, self._begin = self._begin, None
        # A header's two bytes are a multiple of 31, and its method is 8 (RFC 1950, section 2.2).
        if begin[0] & 15 != 8 or int.from_bytes(begin[:2], "big") % 31:
            self._inner = zlib.decompressobj(-zlib.MAX_WBITS)
        return _limited(self._inner, begin)


class _Brotli:
    """Brotli (RFC 7932), by either of the packages that urllib3 uses for it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def is_complete(self) -> bool:
        return bool(self._inner.is_finished())

    def copy(self) -> None:
        """It cannot be copied."""

    def decompress(self, data: bytes) -> bytes:
        method = getattr(self._inner, "decompress", None) or self._inner.process
        text = bytes(method(data, output_buffer_limit=MAX_PIECE))
        if len(text) >= MAX_PIECE or not self._inner.can_accept_more_data():
            raise _TooMuch
        return text


def _brotli() -> Any:
    """A package for brotli that can limit what comes of a piece, as those from version 1.2 on can."""
    for name in ("brotlicffi", "brotli"):
        try:
            package = importlib.import_module(name)
        except ImportError:
            continue
        if hasattr(package.Decompressor, "can_accept_more_data"):
            return package
    return None
