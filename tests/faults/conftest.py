"""A server that fails, and what must be true after every call of it."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, cast

import pytest

from tests.faults.asking import KEY, WAYS, Way
from tests.http.test_tls import certificate as certificate
from tests.support.dialects import Dialect
from tests.support.fault_server import FaultServer
from tests.support.waiting import wait_until

Serve = Callable[..., FaultServer]


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def ask(request: pytest.FixtureRequest) -> Way:
    """Sync and async, streaming or not."""
    return cast(Way, request.param)


class Kept(logging.Handler):
    """Keeps what is logged, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_complained_of() -> Iterator[None]:
    """In this way asyncio tells of exceptions and transports that nobody has looked after, once they are collected."""
    kept = Kept()
    kept.setLevel(logging.WARNING)
    logging.getLogger().addHandler(kept)
    yield
    gc.collect()
    logging.getLogger().removeHandler(kept)
    assert kept.texts == []


@pytest.fixture
def serve(caplog: pytest.LogCaptureFixture) -> Iterator[Serve]:
    """Starts fault servers. In the end no connection is open, no thread is left, and no log has shown the key."""
    caplog.set_level(logging.DEBUG)
    before = set(threading.enumerate())
    servers: list[FaultServer] = []
    with ExitStack() as stack:

        def start(dialect: Dialect, **settings: Any) -> FaultServer:
            servers.append(stack.enter_context(FaultServer(dialect, **settings)))
            return servers[-1]

        yield start
        for server in servers:
            assert server.wait_for_connections(0), "a connection stayed open"
    wait_until(lambda: set(threading.enumerate()) <= before, "the threads to end")
    assert KEY not in caplog.text
