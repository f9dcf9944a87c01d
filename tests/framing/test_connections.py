"""Connections that are kept, and what happens to the next call when the server no longer keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from lollms_core import LollmsClient
from tests.faults.asking import Door
from tests.framing.conftest import Serve
from tests.framing.framings import FRAMINGS
from tests.support.framing_server import WHOLE, FramingServer, Incoming
from tests.support.socket_server import ClientGoneError

Between = Callable[[], object]
Twice = Callable[[LollmsClient, Between], list[Any]]


def generate(client: LollmsClient, between: Between) -> list[Any]:
    """Two calls on one client, and what happens between them."""
    with client:
        first = client.generate("hi")
        between()
        return [first, client.generate("hi")]


def agenerate(client: LollmsClient, between: Between) -> list[Any]:
    """`generate`, async."""

    async def ask() -> list[Any]:
        async with client:
            first = await client.agenerate("hi")
            await asyncio.to_thread(between)
            return [first, await client.agenerate("hi")]

    return asyncio.run(ask())


@pytest.fixture(params=[generate, agenerate], ids=["sync", "async"])
def twice(request: pytest.FixtureRequest) -> Twice:
    return request.param  # type: ignore[no-any-return]


KEPT = ("length", "length-1.0-keep-alive", "chunked", "chunked-end-apart", "chunked-trailers-apart", "gzip-members")


@pytest.mark.parametrize("name", KEPT)
def test_an_idle_connection_that_the_server_closes(
    door: Door, twice: Twice, serve: Serve[FramingServer], name: str
) -> None:
    server = serve(FramingServer(door.dialect, FRAMINGS))

    def close() -> None:
        server.hang_up()
        assert server.wait_for_connections(0)

    # Without retries: nothing was sent on the connection that is gone, so nothing has to be sent again.
    assert twice(door.client(server.address(name), max_retries=0), close) == [WHOLE, WHOLE]
    assert len(server.generations) == 2


class ForgetfulServer(FramingServer):
    """Closes a connection when a second question for an answer comes on it, as one that had just run out of time."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._asked: list[Incoming] = []
        self.dropped = 0

    def read_body(self, incoming: Incoming, length: int) -> bytes:
        body = super().read_body(incoming, length)
        if b'"hi"' in body:
            if incoming in self._asked:
                self.dropped += 1
                raise ClientGoneError
            self._asked.append(incoming)
        return body


def test_a_kept_connection_that_is_closed_under_the_request(
    door: Door, twice: Twice, serve: Serve[FramingServer]
) -> None:
    """Nobody can know before: the request is sent again on a new connection, within the client's retries."""
    server = ForgetfulServer(door.dialect, FRAMINGS)
    serve(server)
    assert twice(door.client(server.address("chunked"), max_retries=1), lambda: None) == [WHOLE, WHOLE]
    assert server.dropped == 1
    assert len(server.generations) == 2


@pytest.mark.usefixtures("connections_are_kept")
def test_a_client_does_not_ask_to_close(door: Door, twice: Twice, serve: Serve[FramingServer]) -> None:
    server = serve(FramingServer(door.dialect, FRAMINGS))
    assert twice(door.client(server.address("chunked")), lambda: None) == [WHOLE, WHOLE]
    assert [request for request in server.requests if "close" in request.headers.get("connection", "")] == []
    assert server.accepted == 1
