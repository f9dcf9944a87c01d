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
from tests.framing.uploads import ENDS, DeafServer, SlowReader
from tests.support.framing_server import WHOLE
from tests.support.waiting import PATIENT

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


@pytest.mark.parametrize("end", ENDS)
def test_an_answer_before_the_request_was_read(door: Door, send: Send, serve: Serve[DeafServer], end: str) -> None:
    """A client that is refused stops sending, and tells the refusal (RFC 9112, section 9.5), not a broken pipe."""
    server = serve(DeafServer(door.dialect, end))
    error = send(door.client(server.address("length")))
    assert (error["type"], error["status_code"]) == ("InvalidRequestError", 413), error
    assert "at most a megabyte" in error["error"]
    assert KEY not in repr(error)
