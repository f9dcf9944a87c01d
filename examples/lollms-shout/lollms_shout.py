"""A backend for lollms that answers with what it is told, louder.

It needs neither a server nor a model, and shows everything that a backend of your own may have: the one hook that is
required, options, declared capabilities, a limit, cancelling, a closing record, and a list of models.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lollms_core import (
    Backend,
    Capabilities,
    Chunk,
    FinishReason,
    GenerationRequest,
    ListModelsRequest,
    ModelInfo,
    ModelInfoRequest,
    ModelNotFoundError,
    Usage,
    hookimpl,
)

MODEL = "voice"


class ShoutOptions(BaseModel):
    """What `LollmsClient(default_generation_mode="shout", …)` takes besides its own parameters."""

    model_config = ConfigDict(extra="forbid")

    ending: Literal["", "!", "!!!"] = ""
    """What to put after every word."""


class ShoutBackend(Backend):
    """Answers word by word, in capitals."""

    contract_version = 1
    capabilities = Capabilities(options=frozenset({"n_predict"}), local=True)
    Options = ShoutOptions
    options: ShoutOptions

    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        """One chunk for each word, and the closing record."""
        self._check(request.model)
        words = request.prompt.split()
        limit = request.sampling.n_predict
        said = words if limit is None else words[:limit]
        for word in said:
            if request.cancel.cancelled:
                return
            yield Chunk(f"{word.upper()}{self.options.ending} ")
        reason: FinishReason = "stop" if len(said) == len(words) else "length"
        yield Chunk(finish_reason=reason, usage=Usage(prompt_tokens=len(words), completion_tokens=len(said)))

    @hookimpl
    def list_models(self, request: ListModelsRequest) -> list[ModelInfo]:
        """The one voice that there is."""
        return [ModelInfo(name=MODEL)]

    @hookimpl
    def model_info(self, request: ModelInfoRequest) -> ModelInfo:
        """Nothing but its name."""
        self._check(request.model)
        return ModelInfo(name=MODEL)

    def _check(self, model: str | None) -> None:
        if model not in (None, MODEL):
            raise ModelNotFoundError(f"there is no voice {model!r}", hint=f"The only one is {MODEL!r}.")
