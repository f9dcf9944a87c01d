"""What framings are made of. Pure: an answer in, byte strings out.

A *form* turns an answer into parts: the head, each piece of the body, an end. A *cut* decides which of them share a
send. An *encoding* compresses the pieces of a body.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.support.framing_server import Answer

__all__ = [
    "CONTINUE",
    "DEFLATE",
    "EARLY_HINTS",
    "GZIP",
    "PROCESSING",
    "ZLIB",
    "Cut",
    "Form",
    "after",
    "apart",
    "bytewise",
    "chunked",
    "encoded",
    "end_apart",
    "every",
    "flushed",
    "head",
    "head_apart",
    "length",
    "line_feeds",
    "members",
    "much_space",
    "no_reason",
    "no_space",
    "odd_case",
    "plain",
    "recut",
    "rewritten",
    "stored_brotli",
    "together",
    "until_close",
    "whole",
    "with_headers",
]

Parts = list[bytes]
Form = Callable[[Answer], Parts]
Cut = Callable[[Parts], Parts]
Encode = Callable[[tuple[bytes, ...]], tuple[bytes, ...]]


# --- cuts: which parts share a send -----------------------------------------------------------------------------------


def together(parts: Parts) -> Parts:
    """Everything in one send."""
    return [b"".join(parts)]


def apart(parts: Parts) -> Parts:
    """Each part in its own."""
    return parts


def head_apart(parts: Parts) -> Parts:
    """The head, then everything else."""
    return [parts[0], b"".join(parts[1:])]


def end_apart(parts: Parts) -> Parts:
    """Everything up to the end of the body, which comes alone."""
    return [b"".join(parts[:-1]), parts[-1]]


def every(size: int) -> Cut:
    """So many bytes at a time, whatever they belong to."""

    def cut(parts: Parts) -> Parts:
        whole = b"".join(parts)
        return [whole[start : start + size] for start in range(0, len(whole), size)]

    return cut


bytewise = every(1)


# --- forms: how the end of the body is told ---------------------------------------------------------------------------


def head(answer: Answer, *lines: str, version: str = "HTTP/1.1") -> bytes:
    every_line = [f"{version} {answer.status}", f"Content-Type: {answer.content_type}", *answer.headers, *lines, "", ""]
    return "\r\n".join(every_line).encode()


def length(*lines: str, version: str = "HTTP/1.1") -> Form:
    return lambda answer: [
        head(answer, f"Content-Length: {len(answer.body)}", *lines, version=version),
        *answer.pieces,
    ]


def until_close(*lines: str, version: str = "HTTP/1.1") -> Form:
    return lambda answer: [head(answer, *lines, version=version), *answer.pieces]


def chunked(
    *lines: str,
    size: str = "%x",
    last: str = "0",
    trailers: Iterable[str] = (),
    coding: str = "Transfer-Encoding: chunked",
) -> Form:
    """`size` and `last` are how the size lines are written (RFC 9112, section 7.1)."""
    end = "\r\n".join([last, *trailers, "", ""]).encode()
    return lambda answer: [
        head(answer, coding, *lines),
        *((size % len(piece)).encode() + b"\r\n" + piece + b"\r\n" for piece in answer.pieces),
        end,
    ]


# --- forms made from forms --------------------------------------------------------------------------------------------


def after(form: Form, *interim: bytes) -> Form:
    """`form`, with answers before it that are not the last word (RFC 9110, section 15.2)."""
    return lambda answer: [*interim, *form(answer)]


def with_headers(form: Form, *lines: str) -> Form:
    return lambda answer: form(replace(answer, headers=(*answer.headers, *lines)))


def rewritten(form: Form, rewrite: Callable[[bytes], bytes]) -> Form:
    """`form`, with its head written in another way."""

    def changed(answer: Answer) -> Parts:
        first, *rest = form(answer)
        return [rewrite(first), *rest]

    return changed


def recut(form: Form, *sizes: int) -> Form:
    """`form`, of the same body in pieces of these sizes, again and again."""

    def changed(answer: Answer) -> Parts:
        body, start = answer.body, 0
        pieces: list[bytes] = []
        while start < len(body):
            size = sizes[len(pieces) % len(sizes)]
            pieces.append(body[start : start + size])
            start += size
        return form(replace(answer, pieces=tuple(pieces)))

    return changed


def encoded(name: str, encode: Encode, form: Form) -> Form:
    """`form`, of the encoded body."""
    labelled = with_headers(form, f"Content-Encoding: {name}")
    return lambda answer: labelled(replace(answer, pieces=encode(answer.pieces)))


# --- heads ------------------------------------------------------------------------------------------------------------

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nLink: </script.js>; rel=preload\r\n\r\n"


def fields(first: bytes, write: Callable[[bytes, bytes], bytes]) -> bytes:
    """The head with each field written by `write`, which gets its name and its value."""
    status, *lines, empty, end = first.split(b"\r\n")
    pairs = (line.split(b":", 1) for line in lines)
    return b"\r\n".join([status, *(write(name, value.strip()) for name, value in pairs), empty, end])


def odd_case(first: bytes) -> bytes:
    return fields(first, lambda name, value: name.swapcase() + b": " + value)


def no_space(first: bytes) -> bytes:
    return fields(first, lambda name, value: name + b":" + value)


def much_space(first: bytes) -> bytes:
    """White space around a value is not part of it (RFC 9110, section 5.5)."""
    return fields(first, lambda name, value: name + b": \t  " + value + b"   ")


def line_feeds(first: bytes) -> bytes:
    """Lines that end as no line of HTTP should, and that everybody reads (RFC 9112, section 2.2)."""
    return first.replace(b"\r\n", b"\n")


def no_reason(first: bytes) -> bytes:
    """`HTTP/1.1 200 `."""
    return first.replace(b" 200 OK\r\n", b" 200 \r\n").replace(b" 404 Not Found\r\n", b" 404 \r\n")


# --- content encodings ------------------------------------------------------------------------------------------------

GZIP, ZLIB, DEFLATE = 31, 15, -15
"""`wbits` of the three wrappings of one format."""


def whole(wbits: int) -> Encode:
    """The body compressed at once."""

    def encode(pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
        compress = zlib.compressobj(wbits=wbits)
        return (compress.compress(b"".join(pieces)) + compress.flush(),)

    return encode


def flushed(wbits: int) -> Encode:
    """What a server does that streams: one compressed body, flushed after every piece."""

    def encode(pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
        compress = zlib.compressobj(wbits=wbits)
        return (*(compress.compress(piece) + compress.flush(zlib.Z_SYNC_FLUSH) for piece in pieces), compress.flush())

    return encode


def members(pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Each piece a gzip member of its own (RFC 1952, section 2.2), and one that is empty."""
    return tuple(gzip.compress(piece) for piece in (*pieces[:1], b"", *pieces[1:]))


def stored_brotli(pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Brotli that does not compress (RFC 7932, section 9.2): writing it takes no library."""
    body = b"".join(pieces)
    written = b""
    for start in range(0, len(body), 65536):
        piece = body[start : start + 65536]
        # Little-endian bits: in the first block a window size; not the last block, four nibbles of length, stored.
        first = not start
        bits = ((len(piece) - 1) << 3 | 1 << 19) << first
        written += bits.to_bytes(3, "little") + piece
    return (written + b"\x03",)


def plain(pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return pieces
