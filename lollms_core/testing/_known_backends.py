"""Backends of every kind whose answers the kit knows: what extensions are put around."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, TypeVar

import pytest

from lollms_core import (
    MSG_TYPE,
    Backend,
    Capabilities,
    Chunk,
    Image,
    ModelInfo,
    Personality,
    ProviderPart,
    Ready,
    TokenCount,
    ToolCall,
    Usage,
    hookimpl,
)

__all__ = [
    "ANSWERING",
    "ENDLESS",
    "FAILING",
    "LACKING",
    "RICH",
    "Async",
    "Bare",
    "BareAsync",
    "Sync",
    "Telling",
    "begun",
    "closed",
]

B = TypeVar("B", bound=type[Backend])

_VALUES: Mapping[str, Callable[[Any], Any]] = {
    "embed": lambda request: [[float(len(text)), 1.0] for text in request.texts],
    "tokenize": lambda request: list(request.text.encode()),
    "detokenize": lambda request: bytes(request.tokens).decode(),
    "count_tokens": lambda request: TokenCount(len(request.text.encode()), exact=True),
    "list_models": lambda request: [ModelInfo(name="one", context_window=512, metadata={"by": "us"})],
    "model_info": lambda request: ModelInfo(name=request.model or "one", context_window=512, metadata={"by": "us"}),
    "list_personalities": lambda request: [Personality(id="1", name="one", category="all", active=True)],
}
"""What is said to the questions for values."""

_ALL_HOOKS = Capabilities(embeddings=True, personalities=True, exact_tokens=True)

begun = threading.Event()
"""An endless answer has been begun."""
closed = threading.Event()
"""It has been closed."""


def _asked(make: Callable[[Callable[[Any], Any]], Any]) -> Callable[[B], B]:
    """Gives a class every hook that asks for a value, as a function that is made of what gives the value."""

    def add(cls: B) -> B:
        for name, value in _VALUES.items():
            hook = make(value)
            hook.__name__ = name
            setattr(cls, name, hookimpl(hook))
        return cls

    return add


def _at_once(value: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda self, request: value(request)


def _after_a_while(value: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    async def hook(self: Any, request: Any) -> Any:
        await asyncio.sleep(0)
        return value(request)

    return hook


def _pending(value: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda self, request: Ready(value(request))


def _fail(_: Any) -> Any:
    raise OSError("the disk of the backend is full")


class _Scripted(Backend):
    """What all of them have in common."""

    def chunks(self, request: Any) -> list[Chunk]:
        words = [Chunk(word + " ") for word in request.prompt.split()]
        return [*words, Chunk(finish_reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=len(words)))]


# --- which answer -----------------------------------------------------------------------------------------------------


class Bare(_Scripted):
    """Has no hook but the one that is needed."""

    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        yield from self.chunks(request)


class BareAsync(_Scripted):
    """Has no hook but the one that is needed."""

    @hookimpl
    async def generate(self, request: Any) -> AsyncIterator[Chunk]:
        for chunk in self.chunks(request):
            await asyncio.sleep(0)
            yield chunk


@_asked(_at_once)
class Sync(Bare):
    """Has every hook, as plain functions."""

    capabilities = _ALL_HOOKS


@_asked(_after_a_while)
class Async(BareAsync):
    """Has every hook, as coroutines."""

    capabilities = _ALL_HOOKS


class Coroutine(Async):
    """Asks before it can stream."""

    @hookimpl
    async def generate(self, request: Any) -> Any:  # type: ignore[override]
        await asyncio.sleep(0)
        return Async.generate(self, request)


@_asked(_pending)
class Whole(_Scripted):
    """Has all of the answer at once, and values to wait for."""

    capabilities = _ALL_HOOKS

    @hookimpl
    def generate(self, request: Any) -> Any:
        return self.chunks(request)


class _Rich(_Scripted):
    """Answers with whatever an answer can have."""

    def chunks(self, request: Any) -> list[Chunk]:
        *words, end = super().chunks(request)
        usage = Usage(prompt_tokens=5, completion_tokens=7, reasoning_tokens=2, cached_tokens=3)
        return [
            Chunk("hm, ", MSG_TYPE.MSG_TYPE_REASONING, metadata={"served_by": "us"}),
            Chunk("well. ", MSG_TYPE.MSG_TYPE_REASONING),
            *words,
            Chunk(part=ProviderPart({"signature": "x"})),
            Chunk("I look. "),
            Chunk(part=ToolCall(name="weather", arguments={"city": "Paris"}, id="1")),
            end._replace(finish_reason="tool_calls", usage=usage, metadata={"request_id": "r"}),
        ]


class RichSync(_Rich, Sync):
    pass


class RichAsync(_Rich, Async):
    pass


class RichCoroutine(_Rich, Coroutine):
    pass


class RichWhole(_Rich, Whole):
    pass


def _told(part: Any) -> str:
    return str(part.data) if isinstance(part, Image) else repr(part)


class Telling(Sync):
    """Answers with how it was asked."""

    capabilities = Capabilities(
        options=frozenset({"messages", "system_prompt", "think", "json_schema", "temperature", "seed", "personality"}),
        parts=frozenset({"reasoning", "tool_call", "tool_result", "provider"}),
        raw_prompt=True, vision=True, embeddings=True, personalities=True, exact_tokens=True,
    )  # fmt: skip

    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        sampling = request.sampling
        told = [
            request.prompt, [[_told(part) for part in message.parts] for message in request.messages],
            [_told(image) for image in request.images], request.system_prompt, request.model,
            request.completion_format.name, sampling.temperature, sampling.seed, request.json_schema, request.think,
            request.personality, dict(request.extra),
        ]  # fmt: skip
        yield Chunk(json.dumps(told))
        yield Chunk(finish_reason="stop")


# --- which do not end as they should ----------------------------------------------------------------------------------


class EndlessSync(Sync):
    """Says `on` until it is stopped."""

    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        begun.set()
        try:
            while not request.cancel.cancelled:
                yield Chunk("on ")
        finally:
            closed.set()


class EndlessAsync(Async):
    """Says `on` until it is stopped."""

    @hookimpl
    async def generate(self, request: Any) -> AsyncIterator[Chunk]:
        begun.set()
        try:
            while True:
                await asyncio.sleep(0)
                yield Chunk("on ")
        finally:
            closed.set()


@_asked(lambda _: _at_once(_fail))
class FailingSync(Sync):
    """Fails in the middle of an answer, and whatever else it is asked."""

    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        yield Chunk("half ")
        _fail(request)


@_asked(lambda _: _after_a_while(_fail))
class FailingAsync(Async):
    """Fails in the middle of an answer, and whatever else it is asked."""

    @hookimpl
    async def generate(self, request: Any) -> AsyncIterator[Chunk]:
        yield Chunk("half ")
        _fail(request)


# --- over which a behaviour is tried ----------------------------------------------------------------------------------


def _over(*backends: type[Backend]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("backend", backends, ids=lambda kind: kind.__name__)


ANSWERING = _over(Sync, Async, Coroutine, Whole)
RICH = _over(RichSync, RichAsync, RichCoroutine, RichWhole)
LACKING = _over(Bare, BareAsync)
ENDLESS = _over(EndlessSync, EndlessAsync)
FAILING = _over(FailingSync, FailingAsync)
