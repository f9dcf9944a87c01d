"""The Ollama format keeps the contract, with a stand-in that checks every request against Ollama's API description."""

from __future__ import annotations

import pytest

from lollms_core.testing import BackendConformance
from tests.support.ollama_server import OllamaServer
from tests.support.waiting import PATIENCE

GENERATING = ("/api/chat", "/api/generate")


@pytest.fixture(scope="module")
def server():
    with OllamaServer() as running:
        yield running
        assert running.invalid == [], "requests or answers that violate Ollama's OpenAPI description"


class TestByTheAnswers(BackendConformance):
    """Whether an option counts is judged by what the model answers."""

    patience = PATIENCE
    model_to_pull = "pulled"

    @pytest.fixture
    def client_options(self, server):
        return {"default_generation_mode": "ollama", "host_address": server.address, "model_name": "tiny"}

    @pytest.fixture
    def silent_options(self):
        return {"model_name": "silent"}


class TestByTheRequests(TestByTheAnswers):
    """The same, judged by what the server is sent: `n_threads` and `think` need not show in an answer."""

    @pytest.fixture
    def observe(self, server):
        return lambda: next(r.body for r in reversed(server.requests) if r.path in GENERATING)
