"""The LiteLLM format keeps the contract, with its provider `hosted_vllm`: over a stub, and over a real vLLM server."""

from __future__ import annotations

import importlib.util
from typing import ClassVar

import pytest

from lollms_core.testing import BackendConformance
from tests.parity.echo_stub import MODEL, echoing, last_body
from tests.support.dialects import OPENAI
from tests.support.fault_server import FaultServer, refused_address
from tests.support.waiting import PATIENCE

# Looked for, not imported: only the backend imports it the way that keeps it off the network.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("litellm") is None, reason="LiteLLM is not installed")

NOT_HERE = "the format declares it because it reaches Ollama; that it does not reach vLLM is said when it is used"


@pytest.fixture(scope="module")
def stub():
    with echoing() as stub:
        yield stub


# A call that is cancelled between the moment when LiteLLM makes its coroutine, in a thread, and that when it begins it.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <coroutine object BaseLLMHTTPHandler:pytest.PytestUnraisableExceptionWarning"
)
class OverHostedVLLM(BackendConformance):
    """What both servers have in common."""

    unknown_model = "hosted_vllm/lollms-conformance-no-such-model"
    deviations: ClassVar = {
        f"test_option_honesty[{name}]": NOT_HERE for name in ("repeat_last_n", "n_threads", "ctx_size")
    }

    @pytest.fixture
    def silent_options(self):
        with FaultServer(OPENAI) as server:
            yield {"host_address": f"{server.address('stall')}/v1"}

    @pytest.fixture(autouse=True)
    def _address_where_nobody_listens(self):
        with refused_address() as self.refused:
            yield

    def unreachable_options(self):
        return {"host_address": self.refused, "max_retries": 0}


class TestStub(OverHostedVLLM):
    """What is judged is what the server is sent."""

    patience = PATIENCE

    @pytest.fixture
    def client_options(self, stub):
        return {
            "default_generation_mode": "litellm",
            "host_address": f"{stub.url}/v1",
            "model_name": f"hosted_vllm/{MODEL}",
        }

    @pytest.fixture
    def observe(self, stub):
        return lambda: last_body(stub)

    def expected_answer(self, prompt):
        return prompt


@pytest.mark.vllm
class TestVLLMServer(OverHostedVLLM):
    """The answers of a real model, which cannot see."""

    limit = 20  # twelve tokens do not show whether the beginning of a conversation counts
    patience = PATIENCE
    deviations: ClassVar = OverHostedVLLM.deviations | {
        "test_embeddings_or_an_error": "this server's model answers; vLLM embeds with a server of its own for that",
    }

    @pytest.fixture
    def client_options(self, vllm_server):
        return {
            "default_generation_mode": "litellm",
            "host_address": f"{vllm_server.url}/v1",
            "model_name": f"hosted_vllm/{vllm_server.model}",
        }

    def model_sees(self):
        return False
