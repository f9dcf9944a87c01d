"""The vLLM format keeps the contract: a real server by its address, and the real engine in this process."""

from __future__ import annotations

from typing import ClassVar

import pytest

from lollms_core.testing import BackendConformance
from tests.support.dialects import OPENAI
from tests.support.fault_server import FaultServer
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.vllm


class OverVLLM(BackendConformance):
    """What the server and the engine have in common: the same small model, which cannot see."""

    limit = 20  # twelve tokens do not show whether the beginning of a conversation counts
    patience = PATIENCE

    def model_sees(self):
        return False


class TestServer(OverVLLM):
    deviations: ClassVar = {
        "test_embeddings_or_an_error": "this server's model answers; vLLM embeds with a server of its own for that",
    }

    @pytest.fixture
    def client_options(self, vllm_server):
        return {"default_generation_mode": "vllm", "host_address": vllm_server.url}

    @pytest.fixture
    def silent_options(self):
        with FaultServer(OPENAI) as server:
            yield {"host_address": server.address("stall")}


@pytest.mark.filterwarnings(
    # Of vLLM's and torch's own modules, at import; and vLLM leaves its ZeroMQ context to the garbage collector.
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:Exception ignored in. <function Context.__del__:pytest.PytestUnraisableExceptionWarning",
)
class TestEngine(OverVLLM):
    single_instance = True

    @pytest.fixture
    def client_options(self, small_model, monkeypatch):
        monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        return {
            "default_generation_mode": "vllm",
            "model_name": str(small_model),
            "ctx_size": 2048,
            "dtype": "float32",
            "enforce_eager": True,
        }

    def unreachable_options(self):
        return None
