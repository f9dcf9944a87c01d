"""A backend of the `litellm` format, and ways to ask it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from lollms_litellm import LiteLLMBackend
from pydantic import SecretStr

from lollms_core import (
    MSG_TYPE,
    BackendSettings,
    Chunk,
    CloseRequest,
    GenerationRequest,
    SamplingParams,
)
from tests.support.waiting import PATIENT

# Looked for, not imported: only the backend imports it the way that keeps it off the network.
if importlib.util.find_spec("litellm") is None:
    collect_ignore_glob = ["test_*.py"]

KEY = "sk-a-secret-that-stays-secret"
DEFAULTS: dict[str, Any] = {"n_predict": 4096, "temperature": 0.1, "top_k": 50, "top_p": 0.95}

Make = Callable[..., LiteLLMBackend]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes backends, and closes them when the test is over."""
    async with contextlib.AsyncExitStack() as stack:

        def build(address: str | None = None, model: str | None = "hosted_vllm/m", **settings: Any) -> LiteLLMBackend:
            given = {
                "format": "litellm", "api_key": SecretStr(KEY), "max_retries": 0, "timeouts": PATIENT, **settings,
            }  # fmt: skip
            backend = LiteLLMBackend(BackendSettings(host_address=address, model_name=model, **given))
            stack.push_async_callback(backend.close, CloseRequest())
            return backend

        yield build


def asking(prompt: str = "hi", **fields: Any) -> GenerationRequest:
    """A request as the core makes it: the guide's defaults, with what the caller chose over them."""
    chosen = {name: fields.pop(name) for name in list(fields) if name in SamplingParams.__dataclass_fields__}
    sampling = SamplingParams(**{**DEFAULTS, **chosen}, chosen=frozenset(chosen))
    return GenerationRequest(prompt=prompt, sampling=sampling, **fields)


async def collect(backend: LiteLLMBackend, request: GenerationRequest) -> tuple[str, str, Chunk]:
    """The answer's text, the reasoning, and the closing record."""
    chunks = [chunk async for chunk in backend.generate(request)]
    text = "".join(chunk.text for chunk in chunks if chunk.type is MSG_TYPE.MSG_TYPE_CHUNK)
    reasoning = "".join(chunk.text for chunk in chunks if chunk.type is MSG_TYPE.MSG_TYPE_REASONING)
    return text, reasoning, chunks[-1]
