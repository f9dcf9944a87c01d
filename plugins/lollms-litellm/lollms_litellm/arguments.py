"""From a `GenerationRequest` to the keyword arguments of `litellm.acompletion`. Pure: nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    GenerationRequest,
    ImageError,
    InvalidRequestError,
    UnsupportedError,
)
from lollms_core.protocols.openai import wire_messages
from lollms_litellm.catalogue import Route

__all__ = ["RESERVED", "Arguments", "arguments"]

RESERVED = frozenset({"model", "messages", "stream", "stream_options", "acompletion", "text_completion"})
"""What `extra` cannot replace."""

_OPENAI_NAMES = {"n_predict": "max_tokens", "temperature": "temperature", "top_p": "top_p", "seed": "seed"}
_BEYOND = ("top_k", "min_p", "repeat_penalty", "repeat_last_n", "n_threads")
_ARGUMENTS_AS_OBJECTS = frozenset({"anthropic", "gemini", "ollama", "ollama_chat"})
"""Providers for which LiteLLM parses the arguments of a tool call, with a parser's words for what is not JSON."""
_MOST_STOPS = 4  # OpenAI's limit; the core cuts at the others


Limit: TypeAlias = Callable[[str], tuple[str, int | None]]


def _usual(_: str) -> tuple[str, int | None]:
    return "max_tokens", None


@dataclass(slots=True)
class Arguments:
    """One call, ready to be made."""

    key: str
    """What refusals are remembered for: two routes to a model need not take the same fields."""
    values: dict[str, Any]
    ours: dict[str, str] = field(default_factory=dict)
    """The provider's names of options in `values` that a call can do without, to ours."""
    chosen: frozenset[str] = frozenset()
    raw: bool = False
    """Raw text, by a completions route."""
    ignored: tuple[str, ...] = ()
    """Chosen options that this model has no parameter for."""


def arguments(
    request: GenerationRequest, route: Route, *, limit: Limit = _usual, num_ctx: int | None = None
) -> Arguments:
    """The call that a request asks for.

    Args:
        route: the model's, from `catalogue.route`.
        limit: gives the name of the limit of new tokens for a key (see `Arguments`), and the largest default.
        num_ctx: a context size that the caller chose, for the providers that can set one.

    Raises:
        UnsupportedError: raw text for a provider that only chats.
        ImageError: images with raw text.
        InvalidRequestError: `extra` names what it may not, or the arguments of a tool call are no JSON object and the
            provider's protocol has no other form for them.
    """
    if reserved := RESERVED & set(request.extra):
        raise InvalidRequestError(f"extra cannot set {', '.join(sorted(reserved))}", format="litellm")
    values: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    raw = request.completion_format is ELF_COMPLETION_FORMAT.Instruct
    if raw:
        values |= _raw(request, route)
    else:
        values["model"] = route.model
        _check_calls(request, route.provider)
        values["messages"] = wire_messages(request.as_messages())
    chosen = request.sampling.chosen | ({"think"} if request.think is not None else frozenset())
    call = Arguments(f"{values['model']}{' (raw)' if raw else ''}", values, chosen=chosen, raw=raw)
    ignored = [*_sampling(request, route, limit, call), *_further(request, route, call)]
    if num_ctx is not None:
        if "ctx_size" in route.beyond:
            values[route.beyond["ctx_size"]] = num_ctx
        else:
            ignored.append("ctx_size")
    call.ignored = tuple(ignored)
    values.update(request.extra)
    call.ours["stream_options"] = "stream_options"  # of which some servers know nothing
    for name in request.extra:
        call.ours.pop(name, None)  # it was meant as it is
    return call


def _raw(request: GenerationRequest, route: Route) -> dict[str, Any]:
    model = route.raw_model
    if model is None:
        raise UnsupportedError(
            f"LiteLLM has no way to send raw text to {route.model}: the provider {route.provider!r} only takes chats",
            hint="Use ELF_COMPLETION_FORMAT.Chat, or a provider with a completions route, such as hosted_vllm/NAME.",
            format="litellm",
        )
    if request.all_images:
        raise ImageError("images cannot be sent with raw text; use ELF_COMPLETION_FORMAT.Chat", format="litellm")
    return {"model": model, "messages": [{"role": "user", "content": request.as_text()}], "text_completion": True}


def _check_calls(request: GenerationRequest, provider: str) -> None:
    calls = (call for message in request.messages for call in message.tool_calls)
    broken = next((call for call in calls if call.arguments is None), None)
    if broken is not None and provider in _ARGUMENTS_AS_OBJECTS:
        raise InvalidRequestError(
            f"the arguments of the call of {broken.name!r} are not a JSON object, and {provider} takes nothing else",
            hint="Leave the call out of the conversation, or ask the model for it again.",
            format="litellm",
        )


def _sampling(request: GenerationRequest, route: Route, limit: Limit, call: Arguments) -> list[str]:
    """Fill in what the model takes; the chosen options that it does not are the result."""
    ignored = []
    limit_name, largest = limit(call.key)
    for name in (*_OPENAI_NAMES, *_BEYOND):
        value = getattr(request.sampling, name)
        if value is None:
            continue
        theirs = _OPENAI_NAMES.get(name) if _OPENAI_NAMES.get(name) in route.parameters else route.beyond.get(name)
        if theirs is None:
            if name in call.chosen:
                ignored.append(name)
            continue
        if name == "n_predict":
            theirs = limit_name
            if name not in call.chosen:
                value = min(each for each in (value, route.max_output, largest) if each is not None)
        call.values[theirs] = value
        call.ours[theirs] = name
    return ignored


def _further(request: GenerationRequest, route: Route, call: Arguments) -> list[str]:
    ignored, values = [], call.values
    if request.sampling.stop and "stop" in route.parameters:
        values["stop"] = list(request.sampling.stop[:_MOST_STOPS])
        call.ours["stop"] = "stop"
    if request.json_schema is not None:
        if "response_format" in route.parameters:
            values["response_format"] = _schema(request.json_schema)
        else:
            ignored.append("json_schema")
    if request.think is not None:
        if "reasoning_effort" in route.parameters:
            values["reasoning_effort"] = _effort(request.think)
            call.ours["reasoning_effort"] = "think"
        else:
            ignored.append("think")
    return ignored


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema), "strict": True}}


def _effort(think: bool | str) -> str:
    if isinstance(think, str):
        return think
    return "medium" if think else "none"
