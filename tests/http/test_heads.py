"""Heads and framings of answers that never end, or contradict themselves: within the limit, whatever trickles in."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace

import pytest

from lollms_core.contract.errors import (
    APIConnectionError,
    APITimeoutError,
    IncompleteStreamError,
    ProtocolError,
    ServerError,
)
from tests.http.test_below_urllib3 import HEAD, chunk, event
from tests.http.test_faults import ask_async, ask_sync
from tests.support.framing_server import Incoming
from tests.support.socket_server import SocketServer
from tests.support.waiting import PATIENT

LIMIT = 0.5
LONG = b"y" * 70_000


class _Answering(SocketServer):
    """Sends pieces of a head, with a pause after each."""

    def __init__(self, first: bytes, again: bytes = b"", pause: float = 0.05) -> None:
        self._first, self._again, self._pause = first, again, pause
        self._over = threading.Event()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        super().__exit__(*_)

    def talk(self, sock: socket.socket) -> None:
        incoming = Incoming(sock)
        head = incoming.until(b"\r\n\r\n").lower()
        incoming.exactly(int(head.partition(b"content-length:")[2].split(b"\r")[0]))
        sock.sendall(self._first)
        while self._again and not self._over.wait(self._pause):
            sock.sendall(self._again)


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    ],
    ids=["interim answers", "one header", "many headers"],
)
def test_a_head_without_an_end_is_a_timeout(ask, first, again):
    with _Answering(first, again) as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", replace(PATIENT, first_token=LIMIT), max_retries=0)
    assert isinstance(outcome.error, APITimeoutError)
    assert f"did not begin to answer within {LIMIT:g} seconds" in str(outcome.error)


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
def test_two_lengths_are_no_http(ask):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello"
    with _Answering(head) as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", max_retries=0)
    assert isinstance(outcome.error, ProtocolError)
    assert not outcome.error.retryable
    assert "Content-Length" in str(outcome.error)


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
@pytest.mark.parametrize(("line", "what"), [(b"HTTP/1.1 200 OK\r\nX: " + LONG, "head"), (b"SSH-2.0-x", "no HTTP")])
def test_a_head_that_breaks_the_rules_is_told_from_what_is_no_http(ask, line, what):
    with _Answering(line + b"\r\n\r\n") as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", max_retries=0)
    assert isinstance(outcome.error, ProtocolError)
    said = str(outcome.error)
    assert ("the head of the answer" in said, "does not speak HTTP" in said) == (what == "head", what != "head"), said


ENDLESS = {
    "trailers": (b"0\r\n", b"X: y\r\n"),
    "one trailer": (b"0\r\nX: ", b"y"),
    "an extension": (b"5;a=", b"b"),
    "a size": (b"", b"0"),
}


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
@pytest.mark.parametrize(("begun", "again"), ENDLESS.values(), ids=list(ENDLESS))
def test_nothing_is_waited_for_behind_the_end_mark(ask, begun, again):
    whole = HEAD + chunk(event("all of it")) + chunk(b"data: [DONE]\n\n")
    with _Answering(whole + begun, again) as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", max_retries=0)
    assert outcome.error is None
    assert outcome.text == "all of it"


@pytest.mark.parametrize(("begun", "again"), ENDLESS.values(), ids=list(ENDLESS))
def test_what_is_not_the_body_does_not_keep_its_reader_waiting(begun, again):
    """In async calls aiohttp does so, or takes it for an error at once."""
    with _Answering(HEAD + chunk(event("so far")) + begun, again) as server:
        outcome = ask_sync("openai", f"http://127.0.0.1:{server.port}", replace(PATIENT, idle=LIMIT), max_retries=0)
    assert isinstance(outcome.error, APITimeoutError)
    assert outcome.text == "so far"


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
def test_a_broken_chunk_behind_the_end_mark_costs_nothing(ask):
    with _Answering(HEAD + chunk(event("all of it")) + chunk(b"data: [DONE]\n\n") + b"zzz\r\n") as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", max_retries=0)
    assert (outcome.error, outcome.text) == (None, "all of it")


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
def test_what_comes_in_one_piece_with_interim_heads_is_kept(ask):
    with _Answering(b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + HEAD + chunk(event("kept")) + b"zzz\r\n") as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", max_retries=0)
    assert isinstance(outcome.error, ProtocolError | IncompleteStreamError)
    assert outcome.text == "kept"


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
@pytest.mark.parametrize(
    "said", ["Content-Type: text/html; charset=utf-8", "Content-Encoding: none", "Content-Encoding: UTF-8"]
)
def test_labels_that_are_wrong_cost_no_answer(ask, said):
    head = f"HTTP/1.1 200 OK\r\n{said}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with _Answering(head + chunk(event("all of it")) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n") as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", max_retries=0)
    assert (outcome.error, outcome.text) == (None, "all of it")


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
def test_of_a_repeated_header_the_last_counts(ask):
    head = b"HTTP/1.1 429 Slow down\r\nRetry-After: 3\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    with _Answering(head) as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", max_retries=0)
    assert outcome.error.retry_after == 7


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
@pytest.mark.parametrize("line", ["no header at all", "Spaced : out"])
def test_a_line_that_is_no_header_hides_none_of_those_behind_it(ask, line):
    head = f"HTTP/1.1 200 OK\r\n{line}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with _Answering(head + chunk(event("text")) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n") as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", max_retries=0)
    assert isinstance(outcome.error, ProtocolError)
    assert "head of the answer" in str(outcome.error)


FINISHED = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
@pytest.mark.parametrize("behind", [b"zzz\r\n", b""], ids=["broken", "silent"])
def test_an_answer_with_its_finish_reason_is_whole(ask, behind):
    with _Answering(HEAD + chunk(event("all of it")) + chunk(FINISHED) + behind) as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", replace(PATIENT, idle=LIMIT), max_retries=0)
    assert (outcome.error, outcome.text, outcome.finish) == (None, "all of it", "length")


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Type: appl", b"HTTP/1.1 200 OK\r\nX: y\r\n"])
def test_a_head_that_is_cut_off_is_no_answer(ask, head):
    with _Breaking(head) as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", max_retries=1)
    assert isinstance(outcome.error, APIConnectionError)
    assert "closed the connection before it answered" in str(outcome.error)
    assert server.asked == 2


@pytest.mark.parametrize("end", [b"", b"\r", b"xy", b"\rx", b"\nx"])
@pytest.mark.parametrize("ask", [ask_sync, ask_async])
def test_a_chunk_that_does_not_end_where_its_size_says(ask, end):
    text = event("kept")
    broken = b"%x\r\n%s%s%s0\r\n\r\n" % (len(text), text, end, chunk(b"data: [DONE]\n\n"))
    with _Answering(HEAD + broken) as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", max_retries=0)
    assert isinstance(outcome.error, ProtocolError | IncompleteStreamError)
    assert outcome.text == "kept"


class _NoTunnel(_Answering):
    def talk(self, sock: socket.socket) -> None:
        Incoming(sock).until(b"\r\n\r\n")
        sock.sendall(self._first)
        while not self._over.wait(self._pause):
            sock.sendall(self._again)


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
@pytest.mark.parametrize(
    ("first", "again"),
    [(b"HTTP/1.1 200 O", b"K"), (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), (b"HTTP/1.1 200 OK\r\nX: ", b"y")],
    ids=["status", "many headers", "one header"],
)
def test_a_proxy_whose_answer_does_not_end_is_a_timeout(ask, first, again, monkeypatch):
    with _NoTunnel(first, again) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        outcome = ask("openai", "https://elsewhere.test", replace(PATIENT, connect=LIMIT), max_retries=0)
    assert isinstance(outcome.error, APITimeoutError)
    assert "proxy" in str(outcome.error)


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
@pytest.mark.parametrize(
    ("first", "again", "kind", "said"),
    [
        (
            b"HTTP/1.1 503 Busy\r\ncontent-length: 99999\r\n\r\nall slots are taken",
            b" ",
            ServerError,
            "slots are taken",
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>Welcome", b" ", ProtocolError, "Welcome"),
    ],
    ids=["refusal", "page"],
)
def test_a_refusal_whose_body_does_not_end_is_told(ask, first, again, kind, said):
    with _Answering(first, again) as server:
        outcome = ask("openai", f"http://127.0.0.1:{server.port}", max_retries=0)
    assert isinstance(outcome.error, kind)
    assert said in str(outcome.error)


# --- what a decoder holds back ----------------------------------------------------------------------------------------

CUT = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: 99999\r\nconnection: close\r\n\r\n"
WHOLE_JSON = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"all of it"},"finish_reason":"stop"}]}'
HELD = {
    "lollms": (CUT % b"text/plain" + b'{"sta', '{"sta'),
    "openai": (CUT % b"application/json" + WHOLE_JSON, "all of it"),
}


STATUS = CUT.replace(b"99999", b"15") % b"application/json" + b'{"status":true}'


class _Breaking(_Answering):
    asked = 0

    def talk(self, sock: socket.socket) -> None:
        if Incoming(sock).until(b"\r\n\r\n").startswith(b"GET"):  # which kind of LoLLMS server is it?
            sock.sendall(STATUS)
        else:
            self.asked += 1
            sock.sendall(self._first)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
@pytest.mark.parametrize("protocol", list(HELD))
@pytest.mark.parametrize("retries", [0, 2])
def test_held_back_text_of_an_answer_that_breaks_is_kept(ask, protocol, retries):
    """Once, and only when nothing is asked again."""
    answer, text = HELD[protocol]
    with _Breaking(answer) as server:
        outcome = ask(protocol, f"http://127.0.0.1:{server.port}", max_retries=retries)
    assert isinstance(outcome.error, IncompleteStreamError)
    assert (outcome.text, server.asked) == (text, 1 + retries)
