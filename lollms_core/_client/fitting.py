"""A request as a backend can take it: what it has no way to say is left out and told, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lollms_core.contract.backend import Backend
from lollms_core.contract.errors import EmptyPromptError, ImageError
from lollms_core.contract.types import (
    ELF_COMPLETION_FORMAT,
    GenerationRequest,
    Message,
    Part,
    ProviderPart,
    ReasoningPart,
    Role,
    ToolCall,
    ToolResult,
)
from lollms_core.text._layouts import conversation_text

__all__ = ["fitted"]

_NAMES_OF_PARTS: Mapping[type, tuple[str, str]] = {
    # Reasoning is for whoever reads it; that it does not go back to the model is nothing to tell.
    ReasoningPart: ("reasoning", ""),
    ToolCall: ("tool_call", "tool calls in messages"),
    ToolResult: ("tool_result", "results of tools in messages"),
    ProviderPart: ("provider", "other parts of messages"),
}


def fitted(request: GenerationRequest, backend: Backend) -> GenerationRequest:
    """A request as a backend can take it: without what it has no way to say, and flattened if it knows prompts only.

    Raises:
        ImageError: it takes no images.
        EmptyPromptError: nothing is left.
        UnsupportedOptionError: under `strict`, an option that it does not honour.
    """
    capabilities = backend.capabilities
    if not capabilities.vision and request.all_images:
        raise ImageError(
            f"the {backend.settings.format} format does not take images",
            hint="Choose a format and a model that see, or describe the image in words.",
            format=backend.settings.format,
        )
    asked = set(request.sampling.chosen)
    asked.discard("stop")  # the core looks for stop sequences where the backend does not
    if request.system_prompt:
        asked.add("system_prompt")
    if request.json_schema is not None:
        asked.add("json_schema")
    if request.think is not None:
        asked.add("think")
    if request.personality is not None:
        asked.add("personality")
    ignored = asked - capabilities.options
    if ignored:
        backend.not_honoured(ignored)
    if request.completion_format is ELF_COMPLETION_FORMAT.Instruct and not capabilities.raw_prompt:
        backend.not_honoured({"completion_format"})
    if not request.messages:
        return request
    request = _with_what_can_be_said(request, backend)
    return request if "messages" in capabilities.options else _as_prompt(request)


def _with_what_can_be_said(request: GenerationRequest, backend: Backend) -> GenerationRequest:
    """The request without those parts of its messages that the backend has no way to say; it is told which."""
    raw = request.completion_format is ELF_COMPLETION_FORMAT.Instruct  # which is nothing but text
    can = frozenset[str]() if raw else backend.capabilities.parts
    lost: dict[type, str] = {kind: told for kind, (name, told) in _NAMES_OF_PARTS.items() if name not in can}
    if not any(type(part) in lost for message in request.messages for part in message.parts):
        return request
    told = {lost[type(part)] for message in request.messages for part in message.parts if lost.get(type(part))}
    kept = [(message.role, [part for part in message.parts if type(part) not in lost]) for message in request.messages]
    messages = tuple(Message(_role(role, parts), parts) for role, parts in kept if parts)
    if not messages:
        why = ", ".join(sorted(told)) or "reasoning"
        raise EmptyPromptError(
            f"nothing is left of the conversation: the {backend.settings.format} format has no way to send {why}",
            format=backend.settings.format,
        )
    if told:
        backend.not_honoured(told)
    return replace(request, messages=messages)


def _role(role: Role, parts: Sequence[Part]) -> Role:
    """Whose message it is now. Without the result of a tool, what came with it is the user's: an image, for one."""
    return "user" if role == "tool" and not any(isinstance(part, ToolResult) for part in parts) else role


def _as_prompt(request: GenerationRequest) -> GenerationRequest:
    """A conversation as one text, for a backend that knows prompts only."""
    only = request.messages[0]
    alone = len(request.messages) == 1 and only.role == "user"
    prompt = only.text if alone else conversation_text(request.messages)
    return replace(request, prompt=prompt, messages=(), images=request.all_images)
