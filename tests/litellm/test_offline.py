"""What LiteLLM knows without a network, and what it must not do before it is needed."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import tiktoken
from lollms_litellm.catalogue import _KEYS, _price_list, describe
from lollms_litellm.loading import litellm

from lollms_core import (
    AuthenticationError,
    DetokenizeRequest,
    InvalidRequestError,
    ListModelsRequest,
    LollmsClient,
    ModelInfoRequest,
    TokenizeRequest,
)
from tests.litellm.conftest import Make
from tests.support.waiting import PATIENCE


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_importing_and_making_a_backend_does_not_import_litellm() -> None:
    out = run("""
        import os, sys
        from lollms_core import BackendSettings
        from lollms_litellm import LiteLLMBackend
        before = dict(os.environ)
        LiteLLMBackend(BackendSettings(format="litellm", model_name="openai/gpt-4o"))
        heavy = {"litellm", "openai", "httpx", "tiktoken", "aiohttp"} & set(sys.modules)
        print(sorted(heavy), before == dict(os.environ))
    """)
    assert out == "[] True\n"


def test_the_first_call_opens_no_connection_of_its_own_and_prints_nothing() -> None:
    out = run("""
        import asyncio, socket
        def refuse(*args, **kwargs):
            raise AssertionError(f"a connection: {args}")
        socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
        from lollms_core import BackendSettings, CloseRequest, GenerationRequest, ModelInfoRequest
        from lollms_litellm import LiteLLMBackend

        async def main():
            backend = LiteLLMBackend(BackendSettings(format="litellm", model_name="openai/llama-3-8b"))
            request = GenerationRequest(prompt="hi", extra={"mock_response": "canned"})
            text = "".join([chunk.text async for chunk in backend.generate(request)])
            await backend.close(CloseRequest())
            return text

        print(asyncio.run(main()))
    """)
    assert out == "canned\n"


def test_windows_and_prices(make: Make) -> None:
    info = make(model="openai/gpt-4o").model_info(ModelInfoRequest())
    assert info.context_window == 128000
    assert {"chat", "vision"} <= set(info.capabilities)
    assert info.metadata["input_cost_per_token"] > 0
    unknown = make().model_info(ModelInfoRequest())
    assert (unknown.name, unknown.context_window) == ("hosted_vllm/m", None)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("openai/gpt-4o", ("OPENAI_API_KEY",)),
        ("anthropic/claude-3-5-sonnet", ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")),
        ("claude-haiku-4-5", ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")),
        ("gemini/gemini-2.0-flash", ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
        ("ollama/llama3", ()),  # needs none, whatever LiteLLM says of OLLAMA_API_BASE
        ("hosted_vllm/m", ()),
    ],
)
def test_a_missing_key_is_known_without_a_call(names, model, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in names:
        monkeypatch.delenv(name, raising=False)
    told = make(model=model, api_key=None).model_info(ModelInfoRequest()).metadata
    assert told.get("missing_keys", ()) == names
    if names:
        monkeypatch.setenv(names[0], "some")
        told = make(model=model, api_key=None).model_info(ModelInfoRequest()).metadata
        assert "missing_keys" not in told


@pytest.mark.parametrize("provider", sorted(_KEYS))
def test_litellm_looks_for_the_same_keys(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _KEYS[provider]:
        monkeypatch.delenv(name, raising=False)
    missing = litellm().validate_environment(f"{provider}/m")["missing_keys"]
    assert missing
    assert set(missing) <= set(_KEYS[provider])


def test_the_price_list_is_that_of_litellm() -> None:
    assert _price_list().keys() <= litellm().model_cost.keys()
    for model in ("openai/gpt-4o", "gpt-4o", "mistral/mistral-small-latest", "claude-haiku-4-5"):
        theirs = litellm().get_model_info(model)
        ours = describe(model)
        assert ours.context_window == theirs["max_input_tokens"]
        assert ours.metadata["input_cost_per_token"] == theirs["input_cost_per_token"]


def test_lists_and_facts_need_no_import() -> None:
    out = run("""
        import sys
        from lollms_core import LollmsClient
        with LollmsClient(default_generation_mode="litellm", model_name="openai/gpt-4o", raise_errors=True) as client:
            print(len(client.list_models()) > 20, client.model_info().context_window, "litellm" in sys.modules)
    """)
    assert out == "True 128000 False\n"


def test_a_provider_that_nobody_knows_is_refused(make: Make) -> None:
    with pytest.raises(InvalidRequestError, match="no provider"):
        make(model="nosuch/m").list_models(ListModelsRequest())


@pytest.mark.parametrize("model", ["openai/gpt-4o", "anthropic/claude-3-5-sonnet", "gemini/gemini-2.0-flash"])
def test_a_call_without_a_key_says_so_at_once(model, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with LollmsClient(default_generation_mode="litellm", model_name=model, raise_errors=True) as client:
        with pytest.raises(AuthenticationError, match=r"(?i)missing") as caught:
            client.generate("hi")
    assert not caught.value.retryable
    assert caught.value.status_code is None
    assert "service_key" in caught.value.hint


def test_models_of_the_providers_whose_keys_are_set(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "MISTRAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    names = {info.name for info in make(model=None).list_models(ListModelsRequest())}
    assert not any(name.startswith("mistral/") for name in names)
    monkeypatch.setenv("MISTRAL_API_KEY", "k")
    names = {info.name for info in make(model="hosted_vllm/m").list_models(ListModelsRequest())}
    assert "hosted_vllm/m" in names
    assert any(name.startswith("mistral/") for name in names)
    assert not any(name.startswith("openai/") for name in names)


@pytest.mark.parametrize(("model", "vocabulary"), [("openai/gpt-4", "cl100k_base"), ("openai/gpt-4o", "o200k_base")])
@pytest.mark.parametrize("text", ["hello world", "", "<|endoftext|> 🦙\n"])
def test_the_tokenizer_where_it_is_the_models_own(make: Make, text: str, model: str, vocabulary: str) -> None:
    backend = make(model=model)
    tokens = backend.tokenize(TokenizeRequest(text=text))
    assert tokens == tiktoken.get_encoding(vocabulary).encode(text, disallowed_special=())
    assert backend.detokenize(DetokenizeRequest(tokens=tuple(tokens))) == text


def test_a_count_does_not_depend_on_what_was_done_before() -> None:
    """LiteLLM changes where tiktoken looks, once it is imported."""
    program = """
        import sys
        from lollms_core import LollmsClient
        options = {"default_generation_mode": "litellm", "service_key": "sk-none"}
        with LollmsClient(model_name="openai/gpt-4o", **options) as client:
            if FIRST:
                client.model_info()
            count = client.count_tokens("Hello, world! 你好")
            print(int(count), count.exact)
    """
    said = {run(program.replace("FIRST", str(first))) for first in (True, False)}
    assert len(said) == 1
    assert said.pop().endswith("True\n")


@pytest.mark.parametrize("model", ["hosted_vllm/m", "anthropic/claude-x", None])
def test_no_tokenizer_is_better_than_a_wrong_one(make: Make, model: str | None) -> None:
    backend = make(model=model)
    assert backend.tokenize(TokenizeRequest(text="hello world")) is None
    assert backend.detokenize(DetokenizeRequest(tokens=(1,))) is None
