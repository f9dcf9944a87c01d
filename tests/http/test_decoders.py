"""SSE, NDJSON, raw text and chunked bodies: the same events however they are split, no surprise for any bytes."""

from __future__ import annotations

import errno
import io
import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core.contract.errors import IncompleteStreamError, ProtocolError
from lollms_core.http import NDJSONDecoder, SSEDecoder, TextDecoder
from lollms_core.http._connection import BulkResponse
from lollms_core.http._exchange import Headers
from lollms_core.http._failures import connection_error, error_text, retry_after


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


cuts = st.lists(st.integers(min_value=0, max_value=10_000), max_size=12)
bytes_like_sse = st.lists(
    st.sampled_from([b"data:", b"data: ", b"data", b"\n", b"\r", b"\r\n", b":", b" ", b"x", b"id: 1", b"event: e",
                     b"\xef\xbb\xbf", "é😀".encode(), b"\xff", b"[DONE]", b"{}"]),
    max_size=40,
).map(b"".join)  # fmt: skip


def sse(pieces: list[bytes]) -> list[str]:
    decoder = SSEDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a\n\n", [" a"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b": keep-alive\n\ndata: a\n\n", ["a"]),
        (b"event: e\nid: 1\nretry: 5\ndata: a\n\n", ["a"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data\n\n", [""]),
        (b"data: a\ndata\n\n", ["a\n"]),
        (b"\n\n\n", []),
        (b"data: a\n\ndata: [DONE]", ["a", "[DONE]"]),
        (b"data: a\n\ndata: b\n", ["a", "b"]),
        (b"dataset: a\n\n", []),
        (b"data: \xe2\x80\xa8\n\n", ["\u2028"]),
        (b"", []),
    ],
)
def test_sse(data: bytes, events: list[str]) -> None:
    assert sse([data]) == events
    assert sse([bytes([byte]) for byte in data]) == events


@given(bytes_like_sse, cuts)
def test_sse_however_it_is_split(data: bytes, where: list[int]) -> None:
    assert sse(split(data, where)) == sse([data])


@given(st.binary(max_size=200), cuts)
def test_sse_takes_any_bytes(data: bytes, where: list[int]) -> None:
    assert sse(split(data, where)) == sse([data])


def test_sse_events_come_as_soon_as_they_are_whole() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r\n\r") == ["a"]
    assert decoder.feed(b"\ndata: b\r\n\r\n") == ["b"]


@pytest.mark.parametrize("line", [b"data: ", b"data: x\n"])
def test_an_sse_event_without_an_end_is_refused(line: bytes) -> None:
    decoder = SSEDecoder(max_size=1000)
    with pytest.raises(ProtocolError, match="1000"):
        for _ in range(1000):
            decoder.feed(line)


def ndjson(pieces: list[bytes]) -> list[object]:
    decoder = NDJSONDecoder()
    return [value for piece in pieces for value in decoder.feed(piece)] + list(decoder.close())


objects = st.dictionaries(st.text(max_size=5), st.text(max_size=8) | st.integers() | st.none(), max_size=3)


@given(st.lists(objects, max_size=6), st.sampled_from([b"\n", b"\r\n", b"\n\n"]), st.booleans(), cuts)
def test_ndjson_however_it_is_split(values: list[object], end: bytes, last_end: bool, where: list[int]) -> None:
    data = end.join(json.dumps(value, ensure_ascii=False).encode() for value in values) + (end if last_end else b"")
    assert ndjson(split(data, where)) == values


@given(st.binary(max_size=100), cuts)
def test_ndjson_takes_any_bytes(data: bytes, where: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> object:
        try:
            return ndjson(pieces)
        except (ProtocolError, IncompleteStreamError) as error:
            return type(error)

    assert outcome(split(data, where)) == outcome([data])


def test_ndjson_gives_what_comes_before_a_fault() -> None:
    values = NDJSONDecoder().feed(b'{"a": 1}\nnonsense\n{"b": 2}\n')
    assert next(values) == {"a": 1}
    with pytest.raises(ProtocolError, match="nonsense"):
        next(values)


@pytest.mark.parametrize("line", [b"null\n", b"[1]\n", b'"x"\n', b"[" * 100_000 + b"\n", b"1" * 10_000 + b"\n"])
def test_ndjson_takes_objects_only(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        ndjson([line])


def test_ndjson_cut_in_a_line() -> None:
    decoder = NDJSONDecoder()
    assert list(decoder.feed(b'{"a": 1}\n{"b"')) == [{"a": 1}]
    with pytest.raises(IncompleteStreamError):
        list(decoder.close())


def test_an_ndjson_line_without_an_end_is_refused() -> None:
    decoder = NDJSONDecoder(max_size=1000)
    with pytest.raises(ProtocolError, match="1000"):
        for _ in range(1000):
            list(decoder.feed(b"xxxxxxxx"))


@given(st.binary(max_size=60), cuts)
def test_text_however_it_is_split(data: bytes, where: list[int]) -> None:
    decoder = TextDecoder()
    assert "".join([decoder.feed(piece) for piece in split(data, where)]) + decoder.close() == data.decode(
        errors="replace"
    )


def test_text_holds_back_nothing_but_half_a_character() -> None:
    decoder = TextDecoder()
    assert [decoder.feed(piece) for piece in (b"a ", b"\xf0\x9f", b"\x98\x80b", b"\n")] == ["a ", "", "😀b", "\n"]


@pytest.mark.parametrize("kind", [SSEDecoder, NDJSONDecoder])
def test_many_tiny_pieces_take_linear_time(kind: type) -> None:
    """Joining what is held at each piece would take minutes for this."""
    decoder = kind()
    for byte in b'data: "' if kind is SSEDecoder else b'{"a": "':
        assert list(decoder.feed(bytes([byte]))) == []
    for _ in range(400_000):
        list(decoder.feed(b"x"))
    (last,) = decoder.feed(b'"\n\n' if kind is SSEDecoder else b'"}\n')
    assert len(last if kind is SSEDecoder else last["a"]) >= 400_000


# --- chunked bodies -----------------------------------------------------------------------------------------------


class FakeSocket:
    """Gives an HTTP response in the pieces that it was given."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(Pieces(self._pieces))

    def gettimeout(self) -> None:
        return None


class Pieces(io.RawIOBase):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._pieces:
            return 0
        piece = self._pieces.pop(0)
        taken = piece[: len(buffer)]
        if len(piece) > len(taken):
            self._pieces.insert(0, piece[len(taken) :])
        buffer[: len(taken)] = taken
        return len(taken)


HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def body(pieces: list[bytes]) -> bytes | type[Exception]:
    import http.client

    response = BulkResponse(FakeSocket([HEAD, *pieces]))
    response.begin()
    got = b""
    try:
        while data := response.read1():
            got += data
    except http.client.HTTPException as error:
        return type(error)
    finally:
        response.close()
    return got


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=8), st.booleans(), cuts)
def test_a_chunked_body_however_it_is_split(chunks: list[bytes], trailer: bool, where: list[int]) -> None:
    coded = b"".join(b"%X;ext=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n"
    coded += b"x-sum: 1\r\n\r\n" if trailer else b"\r\n"
    assert body(split(coded, where)) == b"".join(chunks)


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=8), cuts, st.integers(min_value=0, max_value=10_000))
def test_a_chunked_body_that_is_cut_is_never_whole(chunks: list[bytes], where: list[int], end: int) -> None:
    import http.client

    coded = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    assert body(split(coded[: end % len(coded)], where)) is http.client.IncompleteRead


@given(st.binary(max_size=60), cuts)
def test_a_chunked_body_of_any_bytes(data: bytes, where: list[int]) -> None:
    assert body(split(data, where)) == body([data])


@pytest.mark.parametrize("size", [b"-1", b"0x5", b"1_0", b"+5", b"", b"g", b"f" * 20])
def test_a_wrong_chunk_size(size: bytes) -> None:
    import http.client

    assert body([size + b"\r\nhello\r\n0\r\n\r\n"]) is http.client.HTTPException


def test_a_byte_order_mark_before_a_line_of_json():
    assert list(NDJSONDecoder().feed(b'\xef\xbb\xbf{"a": 1}\n')) == [{"a": 1}]


def test_codings_on_several_lines_are_all_there():
    headers = Headers([("Content-Encoding", "deflate"), ("content-encoding", "gzip"), ("X", "1"), ("x", "2")])
    assert dict(headers) == {"content-encoding": "deflate, gzip", "x": "2"}


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_a_date_without_a_zone_is_in_gmt(zone, monkeypatch):
    """The form of `asctime` (RFC 9110, section 5.6.7)."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        soon = time.asctime(time.gmtime(time.time() + 3600))
        assert retry_after({"retry-after": soon}) == pytest.approx(3600, abs=60)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EPIPE])
def test_a_connection_that_broke_had_been_reached(number):
    class OfAiohttp(OSError):  # its classes do not become ConnectionResetError, as OSError itself does
        pass

    assert "closed the connection" in connection_error(OfAiohttp(number, "reset"), "http://host").message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "why", "code": "x"}}, "why"),
        ({"error": "why"}, "why"),
        ({"error": True, "message": "why"}, "why"),
        ({"status": 400, "error": "Bad Request", "message": "why"}, "Bad Request: why"),
        ({"error": "why not", "message": "why not, then"}, "why not, then"),
        ({"error": {"code": "x1"}, "message": "why"}, "why"),
        ({"error": {"code": "x1"}}, '{"code": "x1"}'),
        ({"detail": [{"msg": "a"}, {"msg": "b"}]}, "a; b"),
        ({"error": {"error": {"detail": "why"}}}, "why"),
    ],
)
def test_what_a_server_says_is_found(body, said):
    """In the shapes of OpenAI, Ollama, Spring, Fastify, FastAPI and of servers behind servers."""
    assert error_text(json.dumps(body)) == said
