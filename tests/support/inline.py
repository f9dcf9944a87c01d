"""Clients over backends that are written inside a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lollms_core import Backend, LollmsClient
from lollms_core._client import registry

__all__ = ["Over", "over"]

Over = Callable[..., LollmsClient]


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> Iterator[Over]:
    """`over(Class, **arguments)` is a client of that class; closed after the test."""
    clients = []

    def make(backend: type[Backend], **arguments: Any) -> LollmsClient:
        monkeypatch.setattr(
            "lollms_core._client.base.load_format",
            lambda name: registry._checked(registry.FormatInfo(name, "tests:inline", "tests", "1"), backend),
        )
        arguments = {"raise_errors": True, "default_generation_mode": "inline", **arguments}
        client = LollmsClient(**arguments)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
