"""Greedy sampling, the same weights, the same question: the formats give the same answer, word for word.

Which do: Transformers in this process, a vLLM server, vLLM's engine in this process, and that vLLM server by the OpenAI
and the LiteLLM formats. All run SmolLM2-135M-Instruct in float32. It is two implementations of the model, so answers
may part where two tokens are equally likely to within rounding; on these questions they do not.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from lollms_core import LollmsClient

pytestmark = [
    pytest.mark.vllm,
    # Of vLLM's and torch's own modules, at import; and vLLM leaves its ZeroMQ context to the garbage collector.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning",
        "ignore::FutureWarning",
        "ignore:Exception ignored in. <function Context.__del__:pytest.PytestUnraisableExceptionWarning",
    ),
]

QUESTIONS = [
    "What is the capital of France?",
    "What is the capital of Japan?",
    "Name three colours.",
    "Write a Python function that adds two numbers.",
]
LIMIT = 16


@pytest.fixture(scope="module")
def clients(small_model, vllm_server):
    """One client of each format that can run these weights, by a name that says which."""
    folder, address, name = str(small_model), vllm_server.url, vllm_server.model
    options: dict[str, dict[str, Any]] = {
        "transformers": {"default_generation_mode": "transformers", "model_name": folder},
        "vllm engine": {
            "default_generation_mode": "vllm", "model_name": folder, "ctx_size": 2048, "dtype": "float32",
            "enforce_eager": True,
        },
        "vllm server": {"default_generation_mode": "vllm", "host_address": address},
        "openai to the vllm server": {"default_generation_mode": "openai", "host_address": address},
        "litellm to the vllm server": {
            "default_generation_mode": "litellm", "host_address": f"{address}/v1", "model_name": f"hosted_vllm/{name}",
        },
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield {who: stack.enter_context(LollmsClient(raise_errors=True, **each)) for who, each in options.items()}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_same_answer_from_every_format(clients, question):
    completions = {who: client.complete(question, LIMIT, temperature=0) for who, client in clients.items()}
    answers = {who: (completion.text, completion.finish_reason) for who, completion in completions.items()}
    assert answers == dict.fromkeys(answers, answers["transformers"])
    tokens = {who: (c.usage.prompt_tokens, c.usage.completion_tokens) for who, c in completions.items()}
    assert tokens == dict.fromkeys(tokens, tokens["transformers"])


def test_the_answer_is_right(clients):
    assert {client.generate(QUESTIONS[0], LIMIT, temperature=0) for client in clients.values()} == {
        "The capital of France is Paris."
    }


def test_the_same_answer_to_a_conversation(clients):
    conversation = [
        {"role": "system", "content": "You are a helpful geography teacher."},
        {"role": "user", "content": "What is the capital of Italy?"},
        {"role": "assistant", "content": "Rome."},
        {"role": "user", "content": "And of Spain?"},
    ]
    answers = {who: client.chat(conversation, n_predict=LIMIT, temperature=0) for who, client in clients.items()}
    assert answers == dict.fromkeys(answers, answers["transformers"])
