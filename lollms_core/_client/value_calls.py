"""The calls that ask a backend for a value, without IO: which hook, with which request, and what its answer means.

Each is a generator, which the sync and the async client run alike.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from lollms_core._client.argument_checks import check_text, check_tokens
from lollms_core._client.hook_checks import step_problem
from lollms_core._client.pipeline import as_lollms_error
from lollms_core.contract.backend import Backend
from lollms_core.contract.errors import ContractError, InvalidRequestError, LollmsError, UnsupportedError
from lollms_core.contract.types import (
    CancelToken,
    DetokenizeRequest,
    EmbedRequest,
    ListModelsRequest,
    ListPersonalitiesRequest,
    ModelInfo,
    ModelInfoRequest,
    PullModelRequest,
    PullProgress,
    TokenCount,
    TokenizeRequest,
)
from lollms_core.tokenizers import encoding_for

__all__ = [
    "Download",
    "Question",
    "ValueCall",
    "count_tokens",
    "detokenize",
    "embed",
    "list_models",
    "list_personalities",
    "model_info",
    "pull_request",
    "pulling",
    "tokenize",
]

T = TypeVar("T")


class Asking(Protocol):
    """What a call needs to know of its client."""

    format: str
    model_name: str | None
    backend: Backend


class Question(NamedTuple):
    """What a hook is asked."""

    hook: str
    request: Any


ValueCall: TypeAlias = Generator[Question, Any, T]
"""A call for a value: it yields questions, is sent what the hook gave (`None`: not implemented), and returns."""


def tokenize(client: Asking, text: str) -> ValueCall[list[int]]:
    tokens = yield Question("tokenize", TokenizeRequest(text=check_text(text, "prompt"), model=client.model_name))
    return encoding_for(client.model_name).encode(text) if tokens is None else tokens


def count_tokens(client: Asking, text: str) -> ValueCall[TokenCount]:
    request = TokenizeRequest(text=check_text(text, "text"), model=client.model_name)
    count: TokenCount | None = yield Question("count_tokens", request)
    if count is not None:
        return count
    tokens: list[int] | None = yield Question("tokenize", request)
    if tokens is not None:
        return TokenCount(len(tokens), exact=client.backend.capabilities.exact_tokens)
    tokenizer = encoding_for(client.model_name)
    return TokenCount(len(tokenizer.encode(text)), exact=tokenizer.exact)


def detokenize(client: Asking, tokens: Sequence[int]) -> ValueCall[str]:
    checked = check_tokens(tokens)
    text = yield Question("detokenize", DetokenizeRequest(tokens=checked, model=client.model_name))
    return encoding_for(client.model_name).decode(list(checked)) if text is None else text


def embed(client: Asking, text: str | Sequence[str]) -> ValueCall[Any]:
    if text is not None and not isinstance(text, Iterable):
        raise TypeError(f"text must be a str or a list of str, not {type(text).__name__}")
    texts = (text,) if isinstance(text, str) else tuple(() if text is None else text)
    for each in texts:
        check_text(each, "text")
    if not texts or not all(texts):
        empty = ": a text is empty" if texts else ""
        raise InvalidRequestError(f"there is nothing to embed{empty}", format=client.format)
    vectors = yield Question("embed", EmbedRequest(texts=texts, model=client.model_name))
    if vectors is None:
        raise _unsupported(client, "embeddings")
    return vectors[0] if isinstance(text, str) else vectors


def list_models(client: Asking, details: bool) -> ValueCall[Any]:
    models = yield Question("list_models", ListModelsRequest())
    if models is None:
        raise _unsupported(client, "list of models")
    return models if details else [model.name for model in models]


def model_info(client: Asking, model_name: str | None) -> ValueCall[ModelInfo]:
    model = check_text(model_name, "model_name") if model_name is not None else ""
    info: ModelInfo | None = yield Question("model_info", ModelInfoRequest(model=model or client.model_name))
    if info is None:
        raise _unsupported(client, "information about models")
    return info


def list_personalities(client: Asking, details: bool) -> ValueCall[Any]:
    personalities = yield Question("list_personalities", ListPersonalitiesRequest())
    if personalities is None:
        raise _unsupported(client, "personalities")
    return personalities if details else [personality.name for personality in personalities]


def pull_request(model_name: str) -> PullModelRequest:
    return PullModelRequest(model=check_text(model_name, "model_name"))


def pulling(client: Asking, progress: Any) -> Any:
    """The progress of a download, where there can be one."""
    if progress is None:
        raise _unsupported(client, "way to download models")
    return progress


class Download:
    """Reads the progress of a download: each step as it is."""

    ended = False

    def __init__(self, format: str, cancel: CancelToken) -> None:
        self.cancel = cancel
        self._format = format

    def feed(self, step: Any) -> tuple[PullProgress]:
        if problem := step_problem(step):
            raise ContractError(f"`pull_model` of the {self._format} format {problem}", format=self._format)
        return (step,)

    def flush(self) -> tuple[()]:
        return ()

    def failed(self, error: BaseException) -> LollmsError:
        return as_lollms_error(error, self._format)

    def end(self) -> tuple[()]:
        return ()


def _unsupported(client: Asking, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"the {client.format} format has no {what}",
        hint="`lollms formats --capabilities` shows what each installed format can do.",
        format=client.format,
    )
