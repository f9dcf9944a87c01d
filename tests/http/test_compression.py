"""Compressed answers: whole however they are cut, kept up to a fault, and never larger than the memory."""

from __future__ import annotations

import gzip
import random
import socket
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core.contract.errors import IncompleteStreamError, LollmsError, ProtocolError
from lollms_core.http import _compression as compression
from lollms_core.http._compression import Decompressor
from tests.http.test_below_urllib3 import event, raw_server
from tests.http.test_faults import ask_async, ask_sync
from tests.support.results import known


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def members(data: bytes) -> bytes:
    return gzip.compress(data[:3]) + gzip.compress(data[3:])


PACKERS: dict[str, list[Callable[[bytes], bytes]]] = {
    "gzip": [gzip.compress, members],
    "deflate": [zlib.compress, raw_deflate],
    "br": [brotli.compress],
}
ENCODINGS = st.lists(
    st.sampled_from(list(PACKERS)).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(PACKERS[name]))),
    min_size=1,
    max_size=3,
)
TEXT = st.text(max_size=200).map(str.encode)


def packed(text: bytes, encodings) -> tuple[bytes, Decompressor]:
    for _, pack in encodings:
        text = pack(text)
    decompress = Decompressor.of({"content-encoding": ", ".join(name for name, _ in encodings)})
    assert decompress is not None
    return text, decompress


def read(decompress: Decompressor, data: bytes, size: int) -> tuple[bytes, LollmsError | None]:
    """As the drivers do: piece by piece, then the end."""
    text = bytearray()
    try:
        for start in range(0, len(data), size):
            text += decompress(data[start : start + size])
        text += decompress(b"")
    except LollmsError as error:
        return bytes(text), error
    return bytes(text), None


@given(TEXT, ENCODINGS, st.integers(1, 1000))
def test_whole_however_it_is_cut(text, encodings, size):
    data, decompress = packed(text, encodings)
    assert read(decompress, data, size) == (text, None)


# Where one member ends and no other begins, nothing shows that one is missing.
@given(
    TEXT, ENCODINGS.filter(lambda found: all(pack is not members for _, pack in found)), st.integers(1, 1000), st.data()
)
def test_what_is_cut_off_is_never_whole(text, encodings, size, data):
    packed_text, decompress = packed(text, encodings)
    cut = data.draw(st.integers(0, len(packed_text) - 1))
    got, error = read(decompress, packed_text[:cut], size)
    assert text.startswith(got)
    assert error is not None


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
@pytest.mark.parametrize("size", [1, 100, 65536])
def test_what_comes_before_a_fault_is_kept(pack, size):
    text = random.Random(0).randbytes(20_000)
    encoding = "gzip" if pack is gzip.compress else "deflate"
    data, decompress = packed(text, [(encoding, pack)])
    # A block of an unknown kind, on a byte's boundary behind a stored block.
    stored = zlib.compressobj(0, wbits=31 if pack is gzip.compress else 15 if pack is zlib.compress else -15)
    data = stored.compress(text) + stored.flush(zlib.Z_FULL_FLUSH) + b"\x07 rubbish"
    got, error = read(decompress, data, size)
    assert got == text
    assert isinstance(error, ProtocolError)


@pytest.mark.parametrize(
    ("names", "bomb"),
    [
        ("gzip", lambda zeros: gzip.compress(zeros)),
        ("gzip", lambda zeros: gzip.compress(zeros[: len(zeros) // 2]) * 3),
        ("deflate", lambda zeros: zlib.compress(zeros)),
        ("deflate", lambda zeros: raw_deflate(zeros)),
        ("br", lambda zeros: brotli.compress(zeros)),
        ("gzip, gzip", lambda zeros: gzip.compress(gzip.compress(zeros))),
    ],
)
def test_a_bomb_does_not_go_off(names, bomb, monkeypatch):
    monkeypatch.setattr(compression, "MAX_PIECE", 1_000_000)
    decompress = known(Decompressor.of({"content-encoding": names}))
    with pytest.raises(ProtocolError, match="too large"):
        decompress(bomb(bytes(2_000_000)))


def test_encodings_without_an_end():
    with pytest.raises(ProtocolError, match="4 times"):
        Decompressor.of({"content-encoding": "gzip, deflate, gzip, deflate"})


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
@pytest.mark.parametrize("fault", [b"\x07 rubbish", b""], ids=["broken", "cut"])
def test_text_before_a_fault_reaches_the_caller(ask, fault):
    packer = zlib.compressobj(0, wbits=31)
    body = packer.compress(event("so far")) + packer.flush(zlib.Z_FULL_FLUSH) + fault

    def answer(peer: socket.socket) -> None:
        head = (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n"
        )
        peer.sendall(head + body)
        peer.shutdown(socket.SHUT_RDWR)

    with raw_server(answer) as address:
        outcome = ask("openai", address, max_retries=0)
    assert outcome.text == "so far"
    assert isinstance(outcome.error, ProtocolError if fault else IncompleteStreamError)
