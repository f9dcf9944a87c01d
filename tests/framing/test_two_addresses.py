"""A host with two addresses, of which one is dead: the other is reached within the limit for connecting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from lollms_core.testing._requirements import within
from tests.faults.asking import DOORS, Door, agenerate, generate
from tests.faults.asking import Way as Asking
from tests.framing.asking import GOOD, Way
from tests.framing.conftest import Serve
from tests.framing.framings import FRAMINGS
from tests.support.addresses import host_with, silent
from tests.support.framing_server import FramingServer
from tests.support.waiting import PATIENCE, PATIENT

NAME = "two-addresses.invalid"
LIVING, DEAD, ALSO_DEAD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
ORDERS = {"dead-first": (DEAD, LIVING), "living-first": (LIVING, DEAD), "two-dead-first": (DEAD, ALSO_DEAD, LIVING)}
LIMIT = replace(PATIENT, connect=60)
"""Less than the two minutes after which the system itself would give a dead address up, and the living one be tried."""

Silent = Callable[[str, int], None]


@pytest.fixture
def hang() -> Iterator[Silent]:
    """Makes addresses that swallow whatever is sent to them."""
    with ExitStack() as stack:
        yield lambda host, port: stack.enter_context(silent(host, port))


@pytest.mark.parametrize("order", ORDERS)
def test_a_silent_address(
    door: Door, ask: Way, serve: Serve[FramingServer], hang: Silent, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    server = serve(FramingServer(door.dialect, FRAMINGS))
    for dead in set(ORDERS[order]) - {LIVING}:
        hang(dead, server.port)
    host_with(monkeypatch, NAME, ORDERS[order])
    assert ask(door.client(server.address("chunked", NAME), timeouts=LIMIT)) == GOOD


@pytest.mark.parametrize("order", ORDERS)
def test_an_address_that_refuses(
    ask: Way, serve: Serve[FramingServer], monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """The usual case: `localhost` is ::1 and 127.0.0.1, and the server listens at one of them."""
    door = DOORS["openai"]
    server = serve(FramingServer(door.dialect, FRAMINGS))
    host_with(monkeypatch, NAME, ORDERS[order])
    assert ask(door.client(server.address("chunked", NAME), timeouts=LIMIT)) == GOOD


@pytest.mark.parametrize("once", [generate, agenerate], ids=["sync", "async"])
def test_all_are_silent(
    door: Door, once: Asking, serve: Serve[FramingServer], hang: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One limit for all of them together. The system itself would try for more than two minutes."""
    with FramingServer(door.dialect, FRAMINGS) as server:
        port = server.port
    for dead in (DEAD, ALSO_DEAD):
        hang(dead, port)
    host_with(monkeypatch, NAME, (DEAD, ALSO_DEAD))
    address = f"http://{NAME}:{port}"
    outcome = within(PATIENCE, lambda: once(door.client(address, timeouts=replace(PATIENT, connect=0.5))))
    assert outcome.error["type"] == "APITimeoutError", outcome.error
    assert f"no connection to {address} within 0.5 seconds" in outcome.error["error"]
    assert "connect" in outcome.error["hint"]


@pytest.mark.parametrize("once", [generate, agenerate], ids=["sync", "async"])
def test_all_refuse(door: Door, once: Asking, serve: Serve[FramingServer], monkeypatch: pytest.MonkeyPatch) -> None:
    with FramingServer(door.dialect, FRAMINGS) as server:
        port = server.port
    host_with(monkeypatch, NAME, (DEAD, ALSO_DEAD))
    outcome = within(PATIENCE, lambda: once(door.client(f"http://{NAME}:{port}", timeouts=LIMIT)))
    assert outcome.error["type"] == "APIConnectionError", outcome.error
    assert "refused" in outcome.error["error"]
