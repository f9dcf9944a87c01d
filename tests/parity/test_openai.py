"""The OpenAI format keeps the contract: with a stub, with a real vLLM server, and with `transformers serve`."""

from __future__ import annotations

from typing import ClassVar

import pytest

from lollms_core.testing import BackendConformance
from tests.parity.echo_stub import MODEL, echoing, last_body
from tests.parity.transformers_serve import serving
from tests.support.dialects import OPENAI
from tests.support.fault_server import FaultServer
from tests.support.waiting import PATIENCE


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

    patience = PATIENCE

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

    limit = 20  # twelve tokens do not show whether the beginning of a conversation counts
    patience = PATIENCE
    deviations: ClassVar = {
        "test_embeddings_or_an_error": "this server's model answers; vLLM embeds with a server of its own for that",
    }

    @pytest.fixture
    def client_options(self, vllm_server):
        return {"default_generation_mode": "openai", "host_address": vllm_server.url}

    def model_sees(self):
        return False


@pytest.fixture(scope="module")
def transformers_server(small_model, tmp_path_factory):
    with serving(small_model, tmp_path_factory.mktemp("cache")) as address:
        yield address


NOT_SAMPLED = "the server samples only where the model's own generation_config says so, and this model's does not"
REFUSED = "the server refuses the field; it is left out then, with a warning"


@pytest.mark.vllm
class TestTransformersServe(OverOpenAI):
    """A second real server. It is in vLLM's environment because that has what it needs."""

    limit = 20
    patience = PATIENCE
    deviations: ClassVar = {
        "test_unknown_model_is_an_error": "the server answers 400, not 404, for a model other than its own",
        "test_listed_model_can_be_used": "the server lists what is in the Hub's cache, not the model that it runs",
        "test_model_info_is_about_the_model": "the server's list does not have the model that it runs",
        "test_embeddings_or_an_error": "the server has no embeddings; a compatible server may, so the format asks it",
        "test_images_or_an_error": "the server drops images without a word if the model cannot see",
        "test_option_honesty[json_schema]": "the server ignores response_format; users get an error for the answer",
        **{f"test_option_honesty[{name}]": NOT_SAMPLED for name in ("temperature", "top_p", "seed")},
        **{f"test_option_honesty[{name}]": REFUSED for name in ("top_k", "min_p", "repeat_penalty")},
    }

    @pytest.fixture
    def client_options(self, transformers_server, small_model):
        return {
            "default_generation_mode": "openai",
            "host_address": transformers_server,
            "model_name": str(small_model),
        }

    def model_sees(self):
        return False
