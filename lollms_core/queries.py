"""The calls that ask a backend for a value, without IO: which hook, with which request, and what its answer means.

The sync and the async client run the same queries. Each function takes the client first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lollms_core.errors import ContractError, InvalidRequestError, UnsupportedError
from lollms_core.parameters import check_text, check_tokens
from lollms_core.tokenizers import encoding_for
from lollms_core.types import (
    DetokenizeRequest,
    EmbedRequest,
    ListModelsRequest,
    ListPersonalitiesRequest,
    ModelInfo,
    ModelInfoRequest,
    Personality,
    PullModelRequest,
    TokenCount,
    TokenizeRequest,
)

if TYPE_CHECKING:
    from lollms_core.client_base import ClientBase

__all__ = [
    "Query",
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


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """A question to a backend.

    `interpret` turns the hook's value (`None`: not implemented) into the result, or into another question.
    """

    hook: str
    request: Any
    interpret: Callable[[Any], T | Query[T]]


def tokenize(client: ClientBase, text: str) -> Query[list[int]]:
    def interpret(tokens: list[int] | None) -> list[int]:
        if tokens is None:
            return encoding_for(client.model_name).encode(text)
        _check_list(client, "tokenize", tokens, int, "int")
        return tokens

    return Query("tokenize", TokenizeRequest(text=check_text(text, "prompt"), model=client.model_name), interpret)


def count_tokens(client: ClientBase, text: str) -> Query[TokenCount]:
    request = TokenizeRequest(text=check_text(text, "text"), model=client.model_name)

    def counted(tokens: list[int] | None) -> TokenCount:
        if tokens is None:
            tokenizer = encoding_for(client.model_name)
            return TokenCount(len(tokenizer.encode(text)), exact=tokenizer.exact)
        _check_list(client, "tokenize", tokens, int, "int")
        return TokenCount(len(tokens), exact=client.backend.capabilities.exact_tokens)

    def interpret(count: TokenCount | None) -> TokenCount | Query[TokenCount]:
        if count is None:
            return Query("tokenize", request, counted)
        return _a(client, "count_tokens", count, TokenCount)

    return Query("count_tokens", request, interpret)


def detokenize(client: ClientBase, tokens: Sequence[int]) -> Query[str]:
    checked = check_tokens(tokens)

    def interpret(text: str | None) -> str:
        if text is None:
            return encoding_for(client.model_name).decode(list(checked))
        return _a(client, "detokenize", text, str)

    return Query("detokenize", DetokenizeRequest(tokens=checked, model=client.model_name), interpret)


def embed(client: ClientBase, text: str | Sequence[str]) -> Query[Any]:
    single = isinstance(text, str)
    if text is not None and not isinstance(text, Iterable):
        raise TypeError(f"text must be a str or a list of str, not {type(text).__name__}")
    texts = (text,) if isinstance(text, str) else tuple(() if text is None else text)
    for each in texts:
        check_text(each, "text")
    if not texts or not all(texts):
        empty = ": a text is empty" if texts else ""
        raise InvalidRequestError(f"there is nothing to embed{empty}", format=client.format)

    def interpret(vectors: list[list[float]] | None) -> Any:
        if vectors is None:
            raise _unsupported(client, "embeddings")
        _check_list(client, "embed", vectors, (list, tuple), "lists of numbers")
        for vector in vectors:
            _check_list(client, "embed", vector, (int, float), "numbers for each text")
        if len(vectors) != len(texts):
            raise ContractError(f"{len(texts)} texts gave {len(vectors)} embeddings", format=client.format)
        return vectors[0] if single else vectors

    return Query("embed", EmbedRequest(texts=texts, model=client.model_name), interpret)


def list_models(client: ClientBase, details: bool) -> Query[Any]:
    def interpret(models: list[ModelInfo] | None) -> Any:
        if models is None:
            raise _unsupported(client, "list of models")
        _check_list(client, "list_models", models, ModelInfo, "ModelInfo")
        return models if details else [model.name for model in models]

    return Query("list_models", ListModelsRequest(), interpret)


def model_info(client: ClientBase, model_name: str | None) -> Query[ModelInfo]:
    def interpret(info: ModelInfo | None) -> ModelInfo:
        if info is None:
            raise _unsupported(client, "information about models")
        return _a(client, "model_info", info, ModelInfo)

    model = check_text(model_name, "model_name") if model_name is not None else ""
    return Query("model_info", ModelInfoRequest(model=model or client.model_name), interpret)


def list_personalities(client: ClientBase, details: bool) -> Query[Any]:
    def interpret(personalities: list[Personality] | None) -> Any:
        if personalities is None:
            raise _unsupported(client, "personalities")
        _check_list(client, "list_personalities", personalities, Personality, "Personality")
        return personalities if details else [personality.name for personality in personalities]

    return Query("list_personalities", ListPersonalitiesRequest(), interpret)


def pull_request(model_name: str) -> PullModelRequest:
    return PullModelRequest(model=check_text(model_name, "model_name"))


def pulling(client: ClientBase, progress: Any) -> Any:
    """The progress of a download: an iterator, sync or async or both."""
    if progress is None:
        raise _unsupported(client, "way to download models")
    if isinstance(progress, str) or not (hasattr(progress, "__iter__") or hasattr(progress, "__aiter__")):
        raise _wrong(client, "pull_model", progress, "an iterator")
    return progress


def _a(client: ClientBase, hook: str, value: Any, kind: type[T]) -> T:
    """The value of a hook. Raises `ContractError` if it is something else than the contract says."""
    if not isinstance(value, kind):
        raise _wrong(client, hook, value, f"a {kind.__name__}")
    return value


def _check_list(client: ClientBase, hook: str, value: Any, kind: type | tuple[type, ...], due: str) -> None:
    """Refuse what is no such list. Its first item stands for all: a text has thousands of tokens."""
    if not isinstance(value, (list, tuple)) or (value and not isinstance(value[0], kind)):
        raise _wrong(client, hook, value, f"a list of {due}")


def _wrong(client: ClientBase, hook: str, value: Any, due: str) -> ContractError:
    said = type(value).__name__
    if isinstance(value, (list, tuple)) and value:
        said += f" of {type(value[0]).__name__}"
    message = f"`{hook}` of the {client.format} format gave a {said} where {due} is due"
    return ContractError(message, format=client.format)


def _unsupported(client: ClientBase, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"the {client.format} format has no {what}",
        hint="`lollms formats --capabilities` shows what each installed format can do.",
        format=client.format,
    )
