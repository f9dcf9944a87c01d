"""Every framing of HTTP that real servers use, as a table: what the answer looks like on the wire, and what goes out in
one send. Most of them end with a connection that can be used again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tests.framing.forms import (
    CONTINUE,
    DEFLATE,
    EARLY_HINTS,
    GZIP,
    PROCESSING,
    ZLIB,
    Cut,
    Form,
    after,
    apart,
    bytewise,
    chunked,
    encoded,
    end_apart,
    every,
    flushed,
    head_apart,
    length,
    line_feeds,
    members,
    much_space,
    no_reason,
    no_space,
    odd_case,
    plain,
    recut,
    rewritten,
    stored_brotli,
    together,
    until_close,
    whole,
    with_headers,
)
from tests.support.framing_server import Answer

__all__ = ["BROTLI", "FRAMINGS", "NamedFraming"]


@dataclass(frozen=True)
class NamedFraming:
    """One row of the table."""

    form: Form
    cut: Cut = together
    after: Literal["keeps", "closes", "waits"] = "keeps"

    def sends(self, answer: Answer) -> Iterable[bytes]:
        return self.cut(self.form(answer))


def row(form: Form, cut: Cut = together) -> NamedFraming:
    return NamedFraming(form, cut)


def closing(form: Form, cut: Cut = together) -> NamedFraming:
    return NamedFraming(form, cut, "closes")


LENGTHS = {
    "length": row(length()),
    "length-head-apart": row(length(), head_apart),
    "length-pieces-apart": row(length(), apart),
    "length-bytewise": row(length(), bytewise),
    "length-close": closing(length("Connection: close")),
    "length-close-capitals": closing(length("Connection: CLOSE")),
    "length-close-head-apart": closing(length("Connection: close"), head_apart),
    "length-close-pieces-apart": closing(length("Connection: close"), apart),
    "length-close-left-to-client": NamedFraming(length("Connection: close"), after="waits"),
    "length-1.0": closing(length(version="HTTP/1.0")),
    "length-1.0-pieces-apart": closing(length(version="HTTP/1.0"), apart),
    "length-1.0-keep-alive": row(length("Connection: Keep-Alive", "Keep-Alive: timeout=5", version="HTTP/1.0")),
    "length-1.0-keep-alive-pieces-apart": row(length("Connection: keep-alive", version="HTTP/1.0"), apart),
}

CLOSES = {
    "until-close-1.0": closing(until_close(version="HTTP/1.0")),
    "until-close-1.0-pieces-apart": closing(until_close(version="HTTP/1.0"), apart),
    "until-close-1.0-bytewise": closing(until_close(version="HTTP/1.0"), bytewise),
    "until-close-1.1": closing(until_close()),
    "until-close-1.1-announced": closing(until_close("Connection: close")),
    "until-close-1.1-announced-pieces-apart": closing(until_close("Connection: close"), apart),
}

CHUNKS = {
    "chunked": row(chunked()),
    "chunked-head-apart": row(chunked(), head_apart),
    "chunked-chunks-apart": row(chunked(), apart),
    "chunked-end-apart": row(chunked(), end_apart),
    "chunked-bytewise": row(chunked(), bytewise),
    "chunked-cut-anywhere": row(chunked(), every(7)),
    "chunked-tiny-chunks": row(recut(chunked(), 1, 2, 3)),
    "chunked-tiny-chunks-cut-anywhere": row(recut(chunked(), 1, 2, 3), every(5)),
    "chunked-hex-lower": row(recut(chunked(), 10, 15, 171)),
    "chunked-hex-upper": row(recut(chunked(size="%X"), 10, 15, 171)),
    "chunked-leading-zeros": row(chunked(size="%08x", last="00000000")),
    "chunked-leading-zeros-cut-anywhere": row(chunked(size="%08x", last="00000000"), every(5)),
    "chunked-extensions": row(chunked(size='%x;name=value;quoted="a;b"', last="0;last"), apart),
    "chunked-extensions-bytewise": row(chunked(size="%x;name=value"), bytewise),
    "chunked-padded-sizes": row(chunked(size="%x  ", last="0  ")),
    "chunked-trailers": row(chunked("Trailer: X-Checksum", trailers=["X-Checksum: 1", "Server-Timing: total;dur=1"])),
    "chunked-trailers-apart": row(chunked(trailers=["X-Checksum: 1", "X-More: 2"]), end_apart),
    "chunked-trailers-bytewise": row(chunked(trailers=["X-Checksum: 1"]), bytewise),
    "chunked-name-in-capitals": row(chunked(coding="TRANSFER-ENCODING: Chunked")),
    "chunked-close": closing(chunked("Connection: close")),
    "chunked-close-chunks-apart": closing(chunked("Connection: close"), apart),
    "chunked-close-left-to-client": NamedFraming(chunked("Connection: close"), after="waits"),
}

INTERIMS = {
    "100": row(after(chunked(), CONTINUE)),
    "100-apart": row(after(chunked(), CONTINUE), apart),
    "100-bytewise": row(after(length(), CONTINUE), bytewise),
    "100-twice": row(after(length(), CONTINUE, CONTINUE)),
    "102": row(after(length(), PROCESSING)),
    "102-three-apart": row(after(chunked(), PROCESSING, PROCESSING, PROCESSING), apart),
    "103": row(after(length(), EARLY_HINTS)),
    "103-apart": row(after(chunked(), EARLY_HINTS), apart),
    "103-twice": row(after(chunked(), EARLY_HINTS, EARLY_HINTS)),
    "100-102-103": row(after(chunked(), CONTINUE, PROCESSING, EARLY_HINTS)),
    "100-102-103-apart": row(after(length(), CONTINUE, PROCESSING, EARLY_HINTS), apart),
    "103-close": closing(after(length("Connection: close"), EARLY_HINTS)),
}

ENCODINGS = {
    "gzip": row(encoded("gzip", whole(GZIP), length())),
    "gzip-flushed": row(encoded("gzip", flushed(GZIP), chunked()), apart),
    "gzip-cut-anywhere": row(encoded("gzip", whole(GZIP), recut(chunked(), 7)), apart),
    "gzip-bytewise": row(encoded("gzip", flushed(GZIP), length()), bytewise),
    "gzip-until-close": closing(encoded("gzip", flushed(GZIP), until_close(version="HTTP/1.0")), apart),
    "gzip-close": closing(encoded("gzip", whole(GZIP), length("Connection: close"))),
    "gzip-members": row(encoded("gzip", members, length())),
    "gzip-members-apart": row(encoded("gzip", members, chunked()), apart),
    "gzip-members-cut-anywhere": row(encoded("gzip", members, recut(chunked(), 7)), apart),
    "deflate-zlib": row(encoded("deflate", whole(ZLIB), length())),
    "deflate-zlib-flushed": row(encoded("deflate", flushed(ZLIB), chunked()), apart),
    "deflate-zlib-bytewise": row(encoded("deflate", whole(ZLIB), length()), bytewise),
    "deflate-raw": row(encoded("deflate", whole(DEFLATE), length())),
    "deflate-raw-flushed": row(encoded("deflate", flushed(DEFLATE), chunked()), apart),
    "deflate-raw-bytewise": row(encoded("deflate", whole(DEFLATE), length()), bytewise),
    "named-x-gzip": row(encoded("x-gzip", whole(GZIP), length())),
    "named-in-capitals": row(encoded("GZIP", whole(GZIP), chunked())),
    "named-identity": row(encoded("identity", plain, chunked())),
    "named-identity-in-capitals": row(encoded("Identity", plain, length())),
    "named-gzip-and-identity": row(encoded("gzip, identity", whole(GZIP), chunked())),
    "named-identity-and-gzip": row(encoded("identity,gzip", whole(GZIP), length())),
}

HEADERS = {
    "header-of-60-kb": row(with_headers(chunked(), f"X-Large: {'x' * 60_000}")),
    "header-of-60-kb-in-pieces": row(with_headers(length(), f"X-Large: {'x' * 60_000}"), every(5000)),
    "90-headers": row(with_headers(chunked(), *(f"X-Number-{n}: {n}" for n in range(90)))),
    "odd-case": row(rewritten(length(), odd_case)),
    "odd-case-chunked": row(rewritten(chunked("Connection: keep-alive"), odd_case)),
    "no-space-after-colon": row(rewritten(length(), no_space)),
    "much-space-around-values": row(rewritten(chunked(), much_space)),
    "line-feeds": row(rewritten(length(), line_feeds)),
    "line-feeds-in-pieces": row(rewritten(chunked(), line_feeds), every(9)),
    "folded": row(with_headers(length(), "X-Folded: one\r\n two\r\n\tthree")),
    "folded-in-pieces": row(with_headers(chunked(), "X-Folded: one\r\n two\r\n\tthree"), every(9)),
    "repeated": row(with_headers(chunked(), "Set-Cookie: a=1", "Set-Cookie: b=2", "Vary: Accept", "Vary: Origin")),
    "empty-value": row(with_headers(length(), "X-Empty:", "X-Blank:  ")),
    "not-ascii": row(with_headers(length(), "X-Title: Wörter 😀")),
    "no-reason": row(rewritten(length(), no_reason)),
    "no-reason-chunked": row(rewritten(chunked(), no_reason)),
}

FRAMINGS: dict[str, NamedFraming] = {**LENGTHS, **CLOSES, **CHUNKS, **INTERIMS, **ENCODINGS, **HEADERS}

BROTLI = {
    "brotli": row(encoded("br", stored_brotli, length())),
    "brotli-cut-anywhere": row(encoded("br", stored_brotli, recut(chunked(), 7)), apart),
}
"""Apart from the rest, for it needs a package. Nobody asks for it; a gateway may use it all the same."""
