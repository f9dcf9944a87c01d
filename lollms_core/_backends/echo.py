"""The `echo` format: a deterministic backend for tests and documentation. No network, no model.

It answers with the prompt or the last message, word by word, or with a script. Faults and delays can be placed anywhere
in it:

    LollmsClient(default_generation_mode="echo", script=["Hello", " world"], delay=0.01)
    LollmsClient(default_generation_mode="echo", script=["Hel"], fail_with="IncompleteStreamError")
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from lollms_core.contract import errors
from lollms_core.contract.backend import Backend
from lollms_core.contract.errors import ConfigurationError, LollmsError
from lollms_core.contract.hookspecs import hookimpl
from lollms_core.contract.types import (
    MSG_TYPE,
    BackendSettings,
    Capabilities,
    Chunk,
    DetokenizeRequest,
    EmbedRequest,
    FinishReason,
    GenerationRequest,
    ListModelsRequest,
    ListPersonalitiesRequest,
    ModelInfo,
    Personality,
    TokenizeRequest,
    Usage,
)

__all__ = ["EchoBackend", "EchoOptions"]

_WORDS = re.compile(r"\s*\S+\s*?(?=\s|\Z)|\s+")


class EchoOptions(BaseModel):
    """What the `echo` format can be told."""

    model_config = ConfigDict(extra="forbid")

    script: list[str] | None = None
    """The pieces to answer with, in place of the prompt's words."""
    reasoning: list[str] = Field(default_factory=list)
    """Pieces of reasoning text that come first."""
    delay: float = Field(default=0.0, ge=0)
    """Seconds before each piece; a cancelled generation does not wait them out."""
    fail_with: str | None = None
    """The name of an error class of `lollms_core` to raise."""
    fail_after: int | None = Field(default=None, ge=0)
    """After how many pieces; `None` is after the last."""


class EchoBackend(Backend):
    """Answers with the prompt or a script. For `n_predict` a word is a token; `tokenize` gives the UTF-8 bytes."""

    contract_version = 1
    capabilities = Capabilities(
        options=frozenset({"messages", "n_predict", "stop", "system_prompt"}),
        vision=True,
        embeddings=True,
        personalities=True,
        exact_tokens=True,
        raw_prompt=True,
        local=True,
    )
    Options = EchoOptions
    options: EchoOptions

    def __init__(self, settings: BackendSettings) -> None:
        super().__init__(settings)
        name = self.options.fail_with
        self._fault: type[LollmsError] | None = None
        if name is not None:
            fault = getattr(errors, name, None)
            if not (isinstance(fault, type) and issubclass(fault, LollmsError)):
                raise ConfigurationError(f"fail_with: lollms_core has no error {name!r}", format=settings.format)
            self._fault = fault

    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        text = request.messages[-1].text if request.messages else request.prompt
        if request.system_prompt:
            text = f"{request.system_prompt}\n{text}"
        if request.all_images:
            text += f" [{len(request.all_images)} image(s)]"
        words = _WORDS.findall(text) if self.options.script is None else self.options.script
        words = _until_stop(words, request.sampling.stop)
        limit = request.sampling.n_predict
        finish: FinishReason = "stop"
        if limit is not None and len(words) > limit:
            words, finish = words[:limit], "length"
        pieces = [Chunk(piece, MSG_TYPE.MSG_TYPE_REASONING) for piece in self.options.reasoning]
        pieces += [Chunk(word) for word in words]
        cancelled = threading.Event()
        unregister = request.cancel.on_cancel(cancelled.set)
        try:
            for count, piece in enumerate(pieces):
                if self._fault is not None and count == self.options.fail_after:
                    raise self._fault("the echo format was told to fail", hint="")
                if cancelled.wait(self.options.delay) if self.options.delay else cancelled.is_set():
                    yield Chunk(finish_reason="cancelled")
                    return
                yield piece
        finally:
            unregister()
        if self._fault is not None and (self.options.fail_after is None or self.options.fail_after >= len(pieces)):
            raise self._fault("the echo format was told to fail", hint="")
        yield Chunk(finish_reason=finish, usage=Usage(prompt_tokens=len(text.split()), completion_tokens=len(words)))

    @hookimpl
    def list_models(self, request: ListModelsRequest) -> list[ModelInfo]:
        return [ModelInfo(name="echo", capabilities=("completion", "chat", "vision", "embedding"))]

    @hookimpl
    def tokenize(self, request: TokenizeRequest) -> list[int]:
        return list(request.text.encode())

    @hookimpl
    def detokenize(self, request: DetokenizeRequest) -> str:
        try:
            return bytes(request.tokens).decode(errors="replace")
        except ValueError:
            raise errors.InvalidRequestError("the echo format's tokens are the bytes of the text, 0 to 255") from None

    @hookimpl
    def embed(self, request: EmbedRequest) -> list[list[float]]:
        return [[float(len(text)), float(len(text.split()))] for text in request.texts]

    @hookimpl
    def list_personalities(self, request: ListPersonalitiesRequest) -> list[Personality]:
        return [Personality(id=0, name="generic/echo", category="generic", active=True)]


def _until_stop(pieces: list[str], stop: tuple[str, ...]) -> list[str]:
    text = "".join(pieces)
    cuts = [position for position in (text.find(sequence) for sequence in stop) if position >= 0]
    if not cuts:
        return pieces
    kept, room = [], min(cuts)
    for piece in pieces:
        if room <= 0:
            break
        kept.append(piece[:room])
        room -= len(piece)
    return kept
