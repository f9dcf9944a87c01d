"""The contract between the core and its backends, as pluggy hook specifications.

Every hook takes one request object: pluggy neither passes parameters that have defaults nor sees keyword-only ones, so
a hook with one required value is the only kind that can grow without breaking packages that exist.

`CONTRACT_VERSION` changes when a backend written for the former contract would no longer work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from lollms_core.contract.types import (
        Chunk,
        CloseRequest,
        DetokenizeRequest,
        EmbedRequest,
        GenerationRequest,
        ListModelsRequest,
        ListPersonalitiesRequest,
        ModelInfo,
        ModelInfoRequest,
        Personality,
        PullModelRequest,
        PullProgress,
        TokenCount,
        TokenizeRequest,
    )

__all__ = ["CONTRACT_VERSION", "PROJECT_NAME", "BackendSpec", "hookimpl", "hookspec"]

PROJECT_NAME = "lollms"
CONTRACT_VERSION = 1

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)
"""Marks a method as the implementation of a hook. Wrappers (`wrapper=True`) are refused: an `Extension` goes around a
hook with `proceed`."""


class BackendSpec:
    """The hooks. Only `generate` is required of a backend.

    Any hook may be a plain function or `async def`; the core bridges either to sync and async callers. Errors are
    raised as `LollmsError` subclasses; any other exception reaches the caller as a `BackendError` with its cause.
    """

    @hookspec(firstresult=True)
    def generate(self, request: GenerationRequest) -> Iterator[Chunk] | AsyncIterator[Chunk]:
        """Answer as a stream of chunks.

        The result may support both iteration protocols, each natively; the core takes the one its caller needs.
        Closing the iterator (`close`, `aclose`) must stop the work. A backend that computes should also look at
        `request.cancel.cancelled` once a token.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def list_models(self, request: ListModelsRequest) -> list[ModelInfo]:
        """The models that `model_name` may name."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def model_info(self, request: ModelInfoRequest) -> ModelInfo:
        """What is known about one model. May load it."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Token ids of a text, by the model's own tokenizer. Return `None` where there is none: the core falls back."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def detokenize(self, request: DetokenizeRequest) -> str:
        """The text of token ids; the inverse of `tokenize`. Return `None` where there is no tokenizer."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def count_tokens(self, request: TokenizeRequest) -> TokenCount:
        """How many tokens a text has, where that is known better or sooner than by `tokenize`. Optional."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def embed(self, request: EmbedRequest) -> list[list[float]]:
        """One vector for each text, all of the same length."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def list_personalities(self, request: ListPersonalitiesRequest) -> list[Personality]:
        """The personalities that a request may name."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def pull_model(self, request: PullModelRequest) -> Iterator[PullProgress] | AsyncIterator[PullProgress]:
        """Make the server download a model, telling the progress."""
        raise NotImplementedError

    @hookspec
    def close(self, request: CloseRequest) -> None:
        """Free everything: connections, threads, memory. May be called more than once."""
        raise NotImplementedError
