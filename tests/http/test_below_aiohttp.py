"""What the async transport uses below aiohttp's documented face. They fail when a release of aiohttp changes it."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable

import aiohttp
import pytest

from lollms_core.contract.errors import IncompleteStreamError, ProtocolError
from lollms_core.contract.types import GenerationRequest, Timeouts
from tests.http.backends import make
from tests.http.test_below_urllib3 import END, HEAD, chunk, event, raw_server
from tests.support.waiting import PATIENCE


async def pieces_and_error(address: str, **settings: object) -> tuple[list[str], Exception | None]:
    pieces: list[str] = []
    stream = make("openai", address, **settings).generate(GenerationRequest(prompt="x", model="m"))
    try:
        while piece := await anext(stream, None):
            pieces.append(piece.text)
    except IncompleteStreamError as error:
        return pieces, error
    return pieces, None


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@pytest.mark.parametrize("end", [socket.socket.close, reset])
def test_what_has_arrived_before_a_failure_is_given(end: Callable[[socket.socket], None]) -> None:
    """Text and the end of the connection reach the loop in one turn: aiohttp then drops the text."""

    def answer(peer: socket.socket) -> None:
        peer.sendall(HEAD)
        peer.sendall(b"".join(chunk(event(f"{number} ")) for number in range(50)) + b"ff\r\ncut")
        end(peer)

    async def main(address: str) -> tuple[list[str], Exception | None]:
        return await pieces_and_error(address, max_retries=0)

    with raw_server(answer) as address:
        for _ in range(20):
            pieces, error = asyncio.run(main(address))
            assert isinstance(error, IncompleteStreamError)
            if end is socket.socket.close:  # a reset may take what the kernel still holds
                assert "".join(pieces) == "".join(f"{number} " for number in range(50))


def test_a_broken_chunk_is_told_at_once() -> None:
    """aiohttp closes the connection, and lets whoever reads from it wait."""
    go_on = threading.Event()

    def answer(peer: socket.socket) -> None:
        peer.sendall(HEAD + chunk(event("whole ")))
        go_on.wait(PATIENCE)
        peer.sendall(b"zz\r\nrubbish\r\n")
        peer.recv(1)  # stays open

    async def main(address: str) -> tuple[list[str], Exception | None]:
        backend = make("openai", address, timeouts=Timeouts(idle=None))
        stream = backend.generate(GenerationRequest(prompt="x", model="m"))
        pieces = [(await anext(stream)).text]
        go_on.set()
        with pytest.raises(ProtocolError, match="chunked encoding"):
            await asyncio.wait_for(anext(stream), PATIENCE)
        return pieces, None

    with raw_server(answer) as address:
        assert asyncio.run(main(address))[0] == ["whole "]


@pytest.mark.parametrize("when", ["with the answer", "later", "unseen"])
def test_what_a_server_says_out_of_turn_is_no_answer(when: str) -> None:
    """The bytes lie in aiohttp's buffer, or still in the system's, when the connection is to be used again."""
    out_of_turn = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    say, said = threading.Event(), threading.Event()
    connections: set[object] = set()

    def answer(peer: socket.socket) -> None:
        connections.add(peer.getpeername())
        mine = HEAD + chunk(event("mine")) + END
        if when == "with the answer":
            peer.sendall(mine + out_of_turn)
            return
        peer.sendall(mine)
        say.wait(PATIENCE)
        peer.sendall(out_of_turn)
        said.set()

    async def main(address: str) -> None:
        backend = make("openai", address)
        for _ in range(3):
            say.clear()
            stream = backend.generate(GenerationRequest(prompt="x", model="m"))
            assert "".join([chunk.text async for chunk in stream]) == "mine"
            say.set()
            if when != "with the answer":
                said.wait(PATIENCE)
                said.clear()
            if when == "later":
                await asyncio.sleep(0.05)

    with raw_server(answer) as address:
        asyncio.run(main(address))
    assert len(connections) == 3


def test_the_names_are_there() -> None:
    assert callable(aiohttp.StreamReader.set_exception)
    assert callable(aiohttp.StreamReader.read_nowait)
    assert isinstance(aiohttp.client_proto.ResponseHandler.closed, property)
