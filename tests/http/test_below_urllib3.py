"""What the sync transport uses below urllib3's public face. These tests fail when a release of urllib3 changes it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from lollms_core.contract.errors import APITimeoutError
from lollms_core.contract.types import GenerationRequest
from lollms_core.http._backend import HTTPBackend
from lollms_core.http._connection import BulkResponse, PlainConnection, TLSConnection, connect, watched
from tests.http.backends import make
from tests.support.waiting import PATIENCE, PATIENT

Answer = Callable[[socket.socket], None]


@contextmanager
def raw_server(answer: Answer) -> Iterator[str]:
    """Reads each request and hands its connection to `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(peer,), daemon=True).start()

        def talk(peer: socket.socket) -> None:
            with peer, suppress(OSError):
                while request := peer.recv(65536):
                    head, _, body = request.partition(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
                    while len(body) < length:
                        if not (more := peer.recv(65536)):
                            return
                        body += more
                    answer(peer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def event(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n' % text.encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
WORDS = [f"word{number} " for number in range(200)]


def text(backend: HTTPBackend) -> str:
    return "".join(piece.text for piece in backend.generate(GenerationRequest(prompt="x", model="m")))


def test_many_chunks_are_read_at_once() -> None:
    reads = []

    class Counting(BulkResponse):
        def read1(self, n: int = -1) -> bytes:
            data = super().read1(n)
            reads.append(len(data))
            return data

    def answer(peer: socket.socket) -> None:
        peer.sendall(HEAD + b"".join(chunk(event(word)) for word in WORDS) + END)

    with raw_server(answer) as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlainConnection, "response_class", Counting)
        assert text(make("openai", address)) == "".join(WORDS)
    assert sum(reads) > 10_000
    assert len(reads) < 40, "each HTTP chunk was read by itself"


@pytest.mark.parametrize("apart", [False, True])
def test_interim_responses_are_none(apart: bool) -> None:
    def answer(peer: socket.socket) -> None:
        for interim in (b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"):
            peer.sendall(interim)
            if apart:
                time.sleep(0.02)
        peer.sendall(HEAD + chunk(event("here")) + END)

    with raw_server(answer) as address:
        backend = make("openai", address)
        for _ in range(2):  # on the same connection
            assert text(backend) == "here"


def test_a_connection_with_bytes_behind_the_answer_is_not_used_again() -> None:
    connections = set()

    def answer(peer: socket.socket) -> None:
        connections.add(peer.getpeername())
        peer.sendall(HEAD + chunk(event("mine")) + END + b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nnot")

    with raw_server(answer) as address:
        backend = make("openai", address)
        for _ in range(3):
            assert text(backend) == "mine"
    assert len(connections) == 3


# --- connecting -------------------------------------------------------------------------------------------------------


@contextmanager
def silent_listener() -> Iterator[tuple[str, int]]:
    """An address that lets connecting wait: its queue is full, and nobody accepts."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            yield listener.getsockname()
        finally:
            for filler in fillers:
                filler.close()


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    def found(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.mark.parametrize("dead_first", [True, False])
def test_a_dead_address_does_not_take_the_whole_limit(monkeypatch: pytest.MonkeyPatch, dead_first: bool) -> None:
    def answer(peer: socket.socket) -> None:
        peer.sendall(HEAD + chunk(event("alive")) + END)

    with raw_server(answer) as address, silent_listener() as dead:
        alive = ("127.0.0.1", int(address.rpartition(":")[2]))
        resolving_to(monkeypatch, *((dead, alive) if dead_first else (alive, dead)))
        backend = make("openai", "http://two-addresses.test:80", timeouts=PATIENT)
        started = time.monotonic()
        assert text(backend) == "alive"
        # Not a measurement: it takes a quarter of a second, or what is left of two minutes after which the system
        # itself gives up.
        assert time.monotonic() - started < 60


def test_dead_addresses_share_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_listener() as one, silent_listener() as other:
        resolving_to(monkeypatch, one, other, one, other)
        with pytest.raises(APITimeoutError, match=r"within 0\.5 seconds"):
            text(make("openai", "http://dead.test", max_retries=0, timeouts=replace(PATIENT, connect=0.5)))


def test_a_refusal_goes_on_to_the_next_address_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        refused = gone.getsockname()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        resolving_to(monkeypatch, refused, listener.getsockname())
        sock = connect("host.test", 1, PATIENCE, (), None)
        assert sock.getpeername() == listener.getsockname()
        sock.close()
    with pytest.raises(ConnectionRefusedError):
        resolving_to(monkeypatch, refused)
        connect("host.test", 1, PATIENCE, (), None)


def test_both_kinds_of_connections_are_ours() -> None:
    import urllib3

    assert watched(urllib3.connection.HTTPConnection) is PlainConnection
    assert watched(urllib3.connection.HTTPSConnection) is TLSConnection
    for kind in (PlainConnection, TLSConnection):
        assert kind.response_class is BulkResponse
