"""Large requests: to a server that reads them slowly, and to one that answers before it has read them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lollms_core import LollmsClient
from tests.faults.asking import DOORS, KEY, Door
from tests.framing.conftest import Serve
from tests.framing.framings import FRAMINGS
from tests.framing.uploads import ENDS, DeafServer, RoomyDeafServer, SlowReader, StuckServer
from tests.support.framing_server import WHOLE
from tests.support.waiting import PATIENT, await_until

BALLAST = "x" * 8_000_000
"""Twice what Linux takes from a program before it has been sent, so that sending it waits for the server. It travels
beside the prompt, for the prompt is compared with the model's window.
"""

Send = Callable[[LollmsClient], Any]


def generate(client: LollmsClient) -> Any:
    with client:
        return client.generate("hi", extra={"ballast": BALLAST})


def agenerate(client: LollmsClient) -> Any:
    async def ask() -> Any:
        async with client:
            return await client.agenerate("hi", extra={"ballast": BALLAST})

    return asyncio.run(ask())


@pytest.fixture(params=[generate, agenerate], ids=["sync", "async"])
def send(request: pytest.FixtureRequest) -> Send:
    return request.param  # type: ignore[no-any-return]


def test_sending_may_take_longer_than_connecting_may(send: Send, serve: Serve[SlowReader]) -> None:
    """`connect` limits the wait for a connection; a body that goes out slowly, but does, is no reason to give up.

    One format stands for all, which connect and send by the same code: seconds pass, as a busy machine must have
    connected before the limit.
    """
    door = DOORS["openai"]
    server = serve(SlowReader(door.dialect, seconds=6))
    client = door.client(server.address("length"), timeouts=replace(PATIENT, connect=5))
    assert send(client) == WHOLE
    assert server.generations[0].json()["ballast"] == BALLAST


@pytest.mark.parametrize("room", [DeafServer, RoomyDeafServer])
@pytest.mark.parametrize("end", ENDS)
def test_an_answer_before_the_request_was_read(
    door: Door, send: Send, serve: Serve[RoomyDeafServer], end: str, room: type[RoomyDeafServer]
) -> None:
    """A client that is refused stops sending, and tells the refusal (RFC 9112, section 9.5), not a broken pipe."""
    server = serve(room(door.dialect, end))
    error = send(door.client(server.address("length")))
    assert (error["type"], error["status_code"]) == ("InvalidRequestError", 413), error
    assert "at most a megabyte" in error["error"]
    assert KEY not in repr(error)


@pytest.mark.parametrize("by", ["limit", "cancel", "task"])
def test_an_upload_that_is_given_up_leaves_no_connection(serve: Serve[StuckServer], by: str) -> None:
    """While the client goes on: closed in the usual way, it would stay until the server has taken all of it."""
    door = DOORS["openai"]
    server = serve(StuckServer(door.dialect, FRAMINGS))

    async def main() -> None:
        limits = replace(PATIENT, idle=0.3) if by == "limit" else PATIENT
        async with door.client(server.address("length"), timeouts=limits, max_retries=0) as client:
            task = asyncio.create_task(client.agenerate("hi", extra={"ballast": BALLAST}))
            if by != "limit":
                await await_until(lambda: server.connections, "the upload to begin")
                await asyncio.sleep(0.2)
                task.cancel() if by == "task" else client.cancel()
            await asyncio.wait({task})
            await await_until(lambda: server.connections == 0, "the connection to close")

    asyncio.run(main())
