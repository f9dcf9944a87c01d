"""From a `GenerationRequest` to the body of `/api/chat` or `/api/generate`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    ContextWindowError,
    EmptyPromptError,
    GenerationRequest,
    ImageError,
    InvalidRequestError,
    Message,
    ToolCall,
)
from lollms_core.images import base64_text
from lollms_ollama.option_types import check_options
from lollms_ollama.options import OLLAMA_NAMES, OllamaOptions, duration

__all__ = ["answer_body", "conversation", "fit_limit", "is_raw"]

_OURS = frozenset({"model", "messages", "prompt", "raw", "stream"})
"""Fields of a body that `extra` may not set: the answer could not be read as it is, or the request would be another."""


def is_raw(request: GenerationRequest) -> bool:
    """Whether the prompt goes to the model without its template."""
    return request.completion_format is ELF_COMPLETION_FORMAT.Instruct


def conversation(request: GenerationRequest) -> tuple[Message, ...]:
    """The messages to send. Images given beside a conversation belong to its last user message."""
    messages = request.as_messages()
    if not (request.messages and request.images):
        return messages
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            seen = Message(messages[index].role, messages[index].parts, request.images)
            return (*messages[:index], seen, *messages[index + 1 :])
    raise ImageError("images need a user message that they belong to")


def answer_body(request: GenerationRequest, model: str, settings: OllamaOptions, num_ctx: int | None) -> dict[str, Any]:
    """The body that asks for an answer, streamed. See `fit_limit`.

    Args:
        num_ctx: the window to ask for; `None` leaves it to the server.

    Raises:
        ImageError: an image that is a URL, which Ollama does not fetch, or one beside a raw prompt.
        EmptyPromptError: a raw prompt without text: the server would only load the model.
        InvalidRequestError: `extra` sets a field that the request itself sets, or an option to what it cannot be.
    """
    if reserved := sorted(_OURS & set(request.extra)):
        raise InvalidRequestError(
            f"extra cannot set {', '.join(reserved)}", hint="These fields come from the arguments of the call itself."
        )
    body: dict[str, Any] = {"model": model}
    if is_raw(request):
        body |= _raw(request)
    else:
        body["messages"] = [wire for message in conversation(request) for wire in _wire_forms(message)]
    body["stream"] = True
    if request.think is not None:
        body["think"] = request.think
    if request.json_schema is not None:
        body["format"] = dict(request.json_schema)
    if settings.keep_alive is not None:
        body["keep_alive"] = duration(settings.keep_alive)
    if settings.truncate is not None:
        body["truncate"] = settings.truncate
    extra = dict(request.extra)
    further = extra.pop("options", {})
    if not isinstance(further, dict):
        raise InvalidRequestError(f"extra['options'] must be a dictionary, not {type(further).__name__}")
    check_options(further, "extra['options']")
    options = {**settings.model_options, **_sampling(request)}
    if num_ctx is not None:
        options["num_ctx"] = num_ctx
    if options := {**options, **further}:
        body["options"] = options
    return {**body, **extra}


def fit_limit(body: dict[str, Any], request: GenerationRequest, window: int) -> None:
    """Bound the limit of new tokens in a body by the window, which prompt and answer share.

    Raises `ContextWindowError` if `n_predict` was chosen and is more. A limit that `extra` set stays as it is.
    """
    limit = request.sampling.n_predict
    options = body.get("options", {})
    if limit is None or limit <= window or options.get("num_predict") != limit:
        return
    if "n_predict" in request.sampling.chosen:
        raise ContextWindowError(
            f"n_predict={limit} is more than the window of {window} tokens, which prompt and answer share",
            hint="Lower n_predict, or set a larger ctx_size if the model has one.",
        )
    body["options"] = options | {"num_predict": window}


def _raw(request: GenerationRequest) -> dict[str, Any]:
    if request.all_images:
        # Nothing in a raw prompt says where an image belongs, and the server would leave it out without a word.
        raise ImageError(
            "images cannot be sent with raw text", hint="Leave completion_format at ELF_COMPLETION_FORMAT.Chat."
        )
    text = request.as_text()
    if not text:
        raise EmptyPromptError("the prompt is empty")
    return {"prompt": text, "raw": True}


def _wire_forms(message: Message) -> Iterator[dict[str, Any]]:
    for result in message.tool_results:
        told = {"role": "tool", "content": result.text, "tool_name": result.name, "tool_call_id": result.id}
        yield {name: value for name, value in told.items() if value or name == "content"}
    body: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.reasoning:
        body["thinking"] = message.reasoning
    if message.images:
        body["images"] = [base64_text(image) for image in message.images]
    if message.tool_calls:
        body["tool_calls"] = [_wire_call(call) for call in message.tool_calls]
    if len(body) > 2 or message.text or not message.tool_results:
        yield body


def _wire_call(call: ToolCall) -> dict[str, Any]:
    if call.arguments is None:
        raise InvalidRequestError(
            f"the arguments of the call of {call.name!r} are not a JSON object, and Ollama takes nothing else",
            hint="Leave the call out of the conversation, or ask the model for it again.",
        )
    function = {"name": call.name, "arguments": dict(call.arguments)}
    return {"id": call.id, "function": function} if call.id else {"function": function}


def _sampling(request: GenerationRequest) -> dict[str, Any]:
    sampling = request.sampling
    options: dict[str, Any] = {}
    for ours, theirs in OLLAMA_NAMES.items():
        value = getattr(sampling, ours, None)
        if value is None or value == ():
            continue
        if ours == "n_threads" and ours not in sampling.chosen:
            continue  # the server knows the machine it runs on; the default of 8 is about another one
        options[theirs] = list(sampling.stop) if ours == "stop" else value
    if options.get("num_predict", 1) < 1:
        # 0 would mean no limit at all, and a negative number ten windows.
        raise InvalidRequestError(f"n_predict must be at least 1, not {sampling.n_predict}")
    check_options(options, "the call")
    return options
