"""Messages and images, from whatever form a caller has them in."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from lollms_core._client.argument_checks import check_text
from lollms_core.contract.errors import InvalidRequestError
from lollms_core.contract.types import (
    Image,
    Message,
    Part,
    ProviderPart,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
)

__all__ = ["as_message", "images_of", "some_images"]


def as_message(value: Message | Mapping[str, Any]) -> Message:
    """A message from ours or from the dictionary form `{"role", "content", "images"}`.

    The dictionary may be one of OpenAI's protocol, with `tool_calls`, `tool_call_id` and `reasoning_content`; its
    `content` may be a list of parts: `{"type": "text", "text"}`, `{"type": "image_url", "image_url": {"url"}}`, and
    others, which are kept for their provider.
    """
    if isinstance(value, Message):
        role, parts = value.role, value.parts
        for part in parts:
            if not isinstance(part, _PARTS):
                raise TypeError(
                    f"a part of a Message must be one of lollms_core's parts, not {type(part).__name__}; "
                    "lollms_core.images.load_images makes images of paths, bytes and addresses"
                )
    elif isinstance(value, Mapping):
        role = _field(value, "role")
        _check_keys(value)
        parts = tuple(_parts_of(value, role))
    else:
        raise TypeError(f"a message must be a Message or a dictionary, not {type(value).__name__}")
    if role not in ("system", "user", "assistant", "tool"):
        raise InvalidRequestError(f"a message's role must be system, user, assistant or tool, not {role!r}")
    if role == "tool" and not any(isinstance(part, ToolResult) for part in parts):
        parts = tuple(ToolResult(text=part.text) if isinstance(part, TextPart) else part for part in parts)
        if not any(isinstance(part, ToolResult) for part in parts):  # an image alone, or nothing
            parts = (ToolResult(text=""), *parts)
    for part in parts:
        if isinstance(part, (TextPart, ReasoningPart, ToolResult)):
            check_text(part.text, "a message's content")
    return Message(role, parts)


_PARTS = (TextPart, ReasoningPart, Image, ToolCall, ToolResult, ProviderPart)


_KEYS = frozenset(
    {
        "content", "images", "name", "reasoning", "reasoning_content", "role", "thinking", "tool_call_id", "tool_calls",
        "tool_name",
    }
)  # fmt: skip


def _check_keys(message: Mapping[str, Any]) -> None:
    """Refuse a key that is misspelt: what it says would not be sent. Others may be of another library, or a note."""
    for key in message:
        if key not in _KEYS and (meant := _meant(str(key))):
            raise InvalidRequestError(f"a message has no key {key!r}", hint=f"Did you mean {meant!r}?")


@functools.lru_cache(256)  # of a long conversation each message may have the same ones
def _meant(key: str) -> str:
    return next(iter(difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.8)), "")


def _field(message: Mapping[str, Any], name: str) -> Any:
    try:
        return message[name]
    except KeyError:
        raise InvalidRequestError(f"a message lacks {name!r}") from None


def _parts_of(message: Mapping[str, Any], role: Any) -> Iterator[Part]:
    """The parts of a message in the dictionary form."""
    calls = message.get("tool_calls") or ()
    content = message.get("content") if calls else _field(message, "content")
    thought = next((message[name] for name in ("reasoning", "reasoning_content", "thinking") if message.get(name)), "")
    if thought:
        yield ReasoningPart(check_text(thought, "a message's reasoning"))
    found: list[Part]
    if isinstance(content, list):
        found = [_as_part(each) for each in content if each != ""]
    else:
        text = "" if content is None and calls else check_text(cast("str", content), "a message's content")
        found = [TextPart(text)] if text else []
    if role == "tool":
        text = "\n".join(part.text for part in found if isinstance(part, TextPart))
        name = message.get("name") or message.get("tool_name") or ""
        yield ToolResult(text=text, id=str(message.get("tool_call_id") or ""), name=str(name))
        found = [part for part in found if not isinstance(part, TextPart)]
    yield from found
    yield from images_of(_image_sources(message))
    for call in calls:
        yield _as_call(call)


def _as_part(part: Any) -> Part:
    if isinstance(part, str):
        return TextPart(check_text(part, "the text of a message's part"))
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        return TextPart(check_text(_part(part, "text"), "the text of a message's part"))
    if kind == "image_url":
        image = _part(part, "image_url")
        return images_of([_part(image, "url") if isinstance(image, Mapping) else image])[0]
    if not isinstance(kind, str):
        raise InvalidRequestError(f"a message's part must be of type text or image_url, not {kind!r}")
    return ProviderPart(part)


def _as_call(call: Any) -> ToolCall:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name := function.get("name"), str):
        raise InvalidRequestError(
            "a tool call of a message lacks its function's name",
            hint='It looks like {"id": …, "type": "function", "function": {"name": …, "arguments": …}}.',
        )
    given, id_ = function.get("arguments") or {}, str(call.get("id") or "")
    if isinstance(given, str):
        return ToolCall.from_text(name, given, id_)
    return ToolCall(name=name, arguments=given, id=id_)


def _image_sources(message: Mapping[str, Any]) -> list[Any]:
    sources = message.get("images") or ()
    if isinstance(sources, (str, bytes)) or not isinstance(sources, Sequence):
        raise TypeError(f"a message's images must be a list, not {type(sources).__name__}")
    return list(sources)


def _part(part: Mapping[str, Any], name: str) -> Any:
    try:
        return part[name]
    except KeyError:
        raise InvalidRequestError(
            f"a part of a message lacks {name!r}",
            hint='Parts look like {"type": "text", "text": …} and {"type": "image_url", "image_url": {"url": …}}.',
        ) from None


def some_images(images: Sequence[Any]) -> Sequence[Any]:
    """The images of a call that is about them. Raises `TypeError` for `None`, with which they would go unnoticed."""
    if images is None:
        raise TypeError("images must be a list of images, not None")
    return images


def images_of(sources: Sequence[Any] | None) -> tuple[Image, ...]:
    """Images of whatever they are given as: see `load_images`. Raises `TypeError` or `ImageError`."""
    if not sources:
        return ()
    if isinstance(sources, (str, bytes)) or not isinstance(sources, Sequence):
        raise TypeError(f"images must be a list of images, not {type(sources).__name__}")
    from lollms_core.images import load_images

    return tuple(load_images(sources))
