"""A server for each test that wants one, and clients of it."""

from __future__ import annotations

import pytest

from lollms_core import LollmsClient
from tests.support.ollama_server import OllamaServer
from tests.support.waiting import PATIENT


@pytest.fixture
def server():
    with OllamaServer() as running:
        yield running
        assert running.invalid == [], "requests or answers that violate Ollama's OpenAPI description"


@pytest.fixture
def connect(server):
    """Makes clients of the server, which are closed at the end."""
    made = []

    def make(model: str | None = "tiny", **options):
        options = {
            "host_address": server.address, "raise_errors": True, "max_retries": 0, "timeouts": PATIENT,
        } | options  # fmt: skip
        client = LollmsClient(default_generation_mode="ollama", model_name=model, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture(autouse=True)
def _no_ollama_in_the_environment(monkeypatch):
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
