"""The OpenAI format keeps the contract: with a stub, with a real vLLM server, and with `transformers serve`."""

from __future__ import annotations

import pytest

from lollms_core.testing import BackendConformance
from tests.parity.echo_stub import MODEL, echoing, last_body
from tests.support.dialects import OPENAI
from tests.support.fault_server import FaultServer


@pytest.fixture(scope="module")
def stub():
    with echoing() as stub:
        yield stub


class OverOpenAI(BackendConformance):
    """What all servers have in common."""

    @pytest.fixture
    def silent_options(self):
        with FaultServer(OPENAI) as server:
            yield {"host_address": server.address("stall")}


class TestStub(OverOpenAI):
    """OpenAI's own server cannot run here. What is judged is what it would be sent."""

    patience = 60.0

    @pytest.fixture
    def client_options(self, stub):
        return {"default_generation_mode": "openai", "host_address": stub.url, "model_name": MODEL}

    @pytest.fixture
    def observe(self, stub):
        return lambda: last_body(stub)

    def expected_answer(self, prompt):
        return prompt


@pytest.mark.vllm
class TestVLLMServer(OverOpenAI):
    """The answers of a real model, which cannot see."""

    limit = 12
    patience = 300.0

    @pytest.fixture
    def client_options(self, vllm_server):
        return {"default_generation_mode": "openai", "host_address": vllm_server.url}

    def model_sees(self):
        return False
