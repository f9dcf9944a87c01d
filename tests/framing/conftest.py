"""Servers for the tests of framings, and what must be true after every one of them."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

import pytest

from tests.faults.asking import DOORS, KEY, Door
from tests.framing.asking import WAYS, Way
from tests.http.test_tls import certificate as certificate
from tests.support.socket_server import SocketServer
from tests.support.waiting import PATIENCE, wait_until

S = TypeVar("S", bound=SocketServer)
Serve = Callable[[S], S]

OWN = ("lollms-classic", "lollms-current", "openai", "ollama")
"""The formats whose transport is lollms' own. `vllm` speaks `openai`'s protocol through the same code."""


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def ask(request: pytest.FixtureRequest) -> Way:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=OWN)
def door(request: pytest.FixtureRequest) -> Door:
    return DOORS[request.param]


@pytest.fixture(autouse=True)
def _no_proxies_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def connections_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the end of an answer is: a client soon gives up waiting, and takes another connection next time."""
    monkeypatch.setattr("lollms_core.http._sync.DRAIN_SECONDS", PATIENCE)
    monkeypatch.setattr("lollms_core.http._aio_response.DRAIN_SECONDS", PATIENCE)


class Kept(logging.Handler):
    """Keeps what is logged, as text."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_complained_of() -> Iterator[None]:
    """In this way asyncio tells of exceptions and transports that nobody has looked after, once they are collected."""
    kept = Kept()
    logging.getLogger().addHandler(kept)
    yield
    gc.collect()
    logging.getLogger().removeHandler(kept)
    assert kept.texts == []


@pytest.fixture
def serve(caplog: pytest.LogCaptureFixture) -> Iterator[Serve[SocketServer]]:
    """Starts servers. In the end no connection is open, no thread is left, and no log has shown the key."""
    caplog.set_level(logging.DEBUG)
    before = set(threading.enumerate())
    servers: list[SocketServer] = []
    with ExitStack() as stack:

        def start(server: SocketServer) -> SocketServer:
            servers.append(stack.enter_context(server))
            return server

        yield start
        for server in servers:
            assert server.wait_for_connections(0), "a connection stayed open"
    wait_until(lambda: set(threading.enumerate()) <= before, "the threads to end")
    assert KEY not in caplog.text
