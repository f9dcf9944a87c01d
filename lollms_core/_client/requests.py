"""From what a caller says to a `GenerationRequest`: which value wins, whether it was chosen, whether it makes sense."""

from __future__ import annotations

import inspect
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, cast

from lollms_core.contract._parameters import PARAMETERS
from lollms_core.contract.backend import Backend, near_misses
from lollms_core.contract.errors import (
    EmptyPromptError,
    ImageError,
    InvalidRequestError,
    a_kind,
)
from lollms_core.contract.types import (
    DEFAULTS,
    ELF_COMPLETION_FORMAT,
    CancelToken,
    GenerationRequest,
    Image,
    Message,
    Part,
    ProviderPart,
    ReasoningPart,
    SamplingParams,
    TextPart,
    Timeouts,
    ToolCall,
    ToolResult,
    coerce_stop,
)
from lollms_core.text._layouts import conversation_text

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "DefaultFloat",
    "DefaultInt",
    "DefaultStr",
    "GenerateOptions",
    "RequestBuilder",
    "TextOptions",
    "answer_check",
    "check_settings",
    "check_text",
    "check_tokens",
    "default_float",
    "default_int",
    "fitted",
    "is_chosen",
    "request_problem",
    "some_images",
]


class TextOptions(TypedDict, total=False):
    """What every generating call takes by keyword, images apart."""

    temperature: float | None
    """0 is greedy; at most 2 on most servers."""
    top_k: int | None
    """Sample among this many best tokens; 0 is off."""
    top_p: float | None
    """Sample among the best tokens that together have this probability, 0 to 1."""
    min_p: float | None
    """Leave out tokens less probable than this share of the best one's, 0 to 1."""
    repeat_penalty: float | None
    """Above 1.0 discourages repetition."""
    repeat_last_n: int | None
    """How many of the latest tokens the penalty looks at."""
    seed: int | None
    """The same seed and the same request give the same answer, where the backend can."""
    n_threads: int | None
    stop: str | Sequence[str] | None
    """The answer ends before the first of these."""
    system_prompt: str
    model_name: str | None
    """Another model than the client's, for this call."""
    personality: int | str | None
    """A personality of the server: its index in the list, its name or its id; -1 for none."""
    completion_format: ELF_COMPLETION_FORMAT | str | None
    """`Chat` (default) or `Instruct`, which sends the prompt raw."""
    json_schema: Mapping[str, Any] | type[BaseModel] | None
    """JSON Schema, or a pydantic model, that the answer must satisfy."""
    think: bool | str | None
    """Ask for reasoning (`True`), forbid it (`False`), or set its level."""
    extra: Mapping[str, Any]
    """Fields for this format's protocol alone, passed on as they are."""


class GenerateOptions(TextOptions, total=False):
    """What every generating call takes by keyword. Leaving one out, or `None`, means the client's value."""

    images: Sequence[str | os.PathLike[str] | bytes | Image] | None
    """Paths, bytes, data URLs, PIL images; http(s) URLs are passed on to servers."""


class DefaultInt(int):
    """A default that can be told from the same number chosen by the caller."""


class DefaultFloat(float):
    """A default that can be told from the same number chosen by the caller."""


class DefaultStr(str):
    """A default that can be told from the same text chosen by the caller."""

    __slots__ = ()


def default_int(name: str) -> DefaultInt:
    """The client's default for a parameter, marked as such."""
    return DefaultInt(DEFAULTS[name])


def default_float(name: str) -> DefaultFloat:
    """The client's default for a parameter, marked as such."""
    return DefaultFloat(DEFAULTS[name])


def is_chosen(value: object) -> bool:
    """Whether the caller gave this value."""
    return value is not None and not isinstance(value, (DefaultInt, DefaultFloat, DefaultStr))


_SAMPLING = tuple(name for name in PARAMETERS if name != "ctx_size")
_LARGEST = 2**64
_KNOWN = frozenset((*TextOptions.__annotations__, *GenerateOptions.__annotations__))


class RequestBuilder:
    """Builds requests for one backend.

    Args:
        backend: declares what it honours and what its neutral values are.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._format = backend.settings.format

    def build(
        self,
        client: object,
        prompt: str | None,
        messages: Iterable[Message | Mapping[str, Any]] | None,
        n_predict: int | None,
        options: GenerateOptions,
        cancel: CancelToken,
        schema: Mapping[str, Any] | None = None,
    ) -> GenerationRequest:
        """The request for a prompt or a conversation, whatever the backend can do: see `fitted`.

        Args:
            client: the object whose attributes are the values for options left out.
            schema: the JSON Schema of the option `json_schema`.

        Raises:
            TypeError: an unknown option, or a value of the wrong type.
            InvalidRequestError: a value out of range, an empty prompt, text that cannot be sent.
            ImageError: an image that cannot be read.
        """
        if not _KNOWN.issuperset(options):
            unknown = next(name for name in options if name not in _KNOWN)
            known = _KNOWN | {"n_predict", "streaming_callback"}
            meant = near_misses(unknown, known)
            if unknown in known:
                meant = "It cannot be given here."
            if unknown in _ELSEWHERE:
                meant = f"Did you mean {_ELSEWHERE[unknown]!r}?"
            elif unknown in inspect.signature(type(client)).parameters:
                meant = f"It belongs to the client: {type(client).__name__}({unknown}=…)."
            raise TypeError(f"{unknown!r} is not an option of a generating call. {meant}")
        sampling = self._sampling(client, n_predict, options)
        personality = options.get("personality")
        if personality is None:
            personality = getattr(client, "personality", None)
        personality = None if personality == -1 else checked_personality(personality)
        system_prompt = check_text(options.get("system_prompt") or "", "system_prompt")
        if isinstance(messages, (Mapping, Message)):
            raise TypeError("a conversation is a list of messages: [{'role': 'user', 'content': …}]")
        conversation = tuple(as_message(message) for message in messages) if messages is not None else ()
        images = _images(options.get("images"))
        model = options.get("model_name") or getattr(client, "model_name", None)
        if model is not None and not isinstance(model, str):
            raise TypeError(f"model_name must be a str, not {type(model).__name__}")
        if images and conversation:
            conversation, images = _with_images(conversation, images), ()
        request = GenerationRequest(
            prompt="" if prompt is None else check_text(prompt, "prompt"),
            messages=conversation,
            system_prompt=system_prompt,
            images=images,
            model=model,
            completion_format=_completion_format(options.get("completion_format")),
            sampling=sampling,
            personality=personality,
            json_schema=schema,
            think=_think(options.get("think")),
            extra=_extra(options.get("extra")),
            cancel=cancel,
        )
        if messages is not None:
            if not conversation:
                raise EmptyPromptError("the conversation has no messages", format=self._format)
        elif not request.prompt and not images:
            raise EmptyPromptError("the prompt is empty", format=self._format)
        return request

    def _sampling(self, client: object, n_predict: int | None, options: GenerateOptions) -> SamplingParams:
        values: dict[str, Any] = {}
        chosen = []
        given: Mapping[str, Any] = {**options, "n_predict": n_predict}
        neutral = self._backend.neutral
        for name in _SAMPLING:
            value = given.get(name)
            if value is None:
                value = getattr(client, name, None)
                if value is None:
                    continue
                if not is_chosen(value):
                    if name not in neutral:
                        values[name] = +value  # `+` gives the plain number
                    continue
            values[name] = checked_number(name, value)
            chosen.append(name)
        stop = coerce_stop(options.get("stop"))
        if stop:
            chosen.append("stop")
        return SamplingParams(**values, stop=stop, chosen=frozenset(chosen))


_ELSEWHERE = {
    "callback": "streaming_callback",
    "format": "json_schema",
    "max_new_tokens": "n_predict",
    "max_tokens": "n_predict",
    "model": "model_name",
    "repetition_penalty": "repeat_penalty",
    "response_format": "json_schema",
    "schema": "json_schema",
    "system": "system_prompt",
}
"""What other libraries call the options of a call."""

_NAMES_OF_PARTS: Mapping[type, tuple[str, str]] = {
    # Reasoning is for whoever reads it; that it does not go back to the model is nothing to tell.
    ReasoningPart: ("reasoning", ""),
    ToolCall: ("tool_call", "tool calls in messages"),
    ToolResult: ("tool_result", "results of tools in messages"),
    ProviderPart: ("provider", "other parts of messages"),
}


def _with_images(messages: tuple[Message, ...], images: tuple[Image, ...]) -> tuple[Message, ...]:
    """Images given beside a conversation belong to its last message of the user."""
    for position in range(len(messages) - 1, -1, -1):
        message = messages[position]
        if message.role == "user":
            seen = Message(message.role, message.parts, images)
            return (*messages[:position], seen, *messages[position + 1 :])
    raise ImageError("images were given, but the conversation has no user message that they could belong to")


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
    kept = [
        Message(message.role, [part for part in message.parts if type(part) not in lost])
        for message in request.messages
    ]
    messages = tuple(message for message in kept if message.parts)
    if not messages:
        why = ", ".join(sorted(told)) or "reasoning"
        raise EmptyPromptError(
            f"nothing is left of the conversation: the {backend.settings.format} format has no way to send {why}",
            format=backend.settings.format,
        )
    if told:
        backend.not_honoured(told)
    return replace(request, messages=messages)


def _as_prompt(request: GenerationRequest) -> GenerationRequest:
    """A conversation as one text, for a backend that knows prompts only."""
    only = request.messages[0]
    alone = len(request.messages) == 1 and only.role == "user"
    prompt = only.text if alone else conversation_text(request.messages)
    return replace(request, prompt=prompt, messages=(), images=request.all_images)


def checked_number(name: str, value: Any) -> int | float:
    """A parameter's value as a number within its limits. Raises `TypeError` or `InvalidRequestError`."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not bool")
    parameter = PARAMETERS.get(name)
    if parameter is None or parameter.kind is int:
        try:
            number: int | float = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
        if not -_LARGEST <= number < _LARGEST:
            raise InvalidRequestError(f"{name} is a number that no computer counts to")
    else:
        try:
            if isinstance(value, str):
                raise TypeError
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be a number, not {type(value).__name__}") from None
        except OverflowError:
            number = float("inf")
        if number != number or number in (float("inf"), float("-inf")):
            raise InvalidRequestError(f"{name} must be a finite number, not {number}")
    if parameter is not None and (problem := parameter.problem(number)):
        neutral = "" if parameter.neutral is None else f"{float(parameter.neutral)} is neutral."
        raise InvalidRequestError(problem, hint=neutral if parameter.above else None)
    return number


def check_settings(
    *, timeouts: Any, max_retries: Any, verify_ssl_certificate: Any, headers: Any, texts: Mapping[str, Any]
) -> None:
    """See to it that what a client is made with has the right types.

    Args:
        texts: the arguments that must be text or `None`, by name.

    Raises:
        TypeError: it has not. The value is not shown: it may be a key in the wrong place.
        InvalidRequestError: a number of retries below 0.
    """
    if timeouts is not None and not isinstance(timeouts, Timeouts):
        raise TypeError(
            f"timeouts must be a Timeouts, not {type(timeouts).__name__}; "
            "for example Timeouts(connect=5, first_token=60, idle=30), in seconds"
        )
    if isinstance(max_retries, bool) or not isinstance(max_retries, int):
        raise TypeError(f"max_retries must be an int, not {type(max_retries).__name__}")
    if max_retries < 0:
        raise InvalidRequestError(f"max_retries must be at least 0, not {max_retries}")
    if not isinstance(verify_ssl_certificate, (bool, str, os.PathLike)):
        raise TypeError(
            "verify_ssl_certificate must be True, False or the path of a CA bundle, "
            f"not {type(verify_ssl_certificate).__name__}"
        )
    if headers is not None and not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a dictionary of names and values, not {type(headers).__name__}")
    for name, value in (headers or {}).items():
        if not isinstance(name, str):
            raise TypeError(f"the names of headers must be str, not {type(name).__name__}")
        if not isinstance(value, str):
            raise TypeError(f"the header {name} must be a str, not {type(value).__name__}")
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")


def checked_personality(value: Any) -> int | str | None:
    """A personality's index, name or id. Raises `TypeError`."""
    if isinstance(value, bool) or not isinstance(value, (int, str, type(None))):
        raise TypeError(f"personality must be an index, a name or an id, not {type(value).__name__}")
    return value


def _completion_format(value: Any) -> ELF_COMPLETION_FORMAT:
    if value is None:
        return ELF_COMPLETION_FORMAT.Chat
    if isinstance(value, str):
        try:
            return ELF_COMPLETION_FORMAT.from_string(value)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from None
    if not isinstance(value, ELF_COMPLETION_FORMAT):
        raise TypeError(f"completion_format must be an ELF_COMPLETION_FORMAT, not {type(value).__name__}")
    return value


def _think(value: Any) -> bool | str | None:
    if not isinstance(value, (bool, str, type(None))):
        raise TypeError(f"think must be True, False or a level such as 'high', not {type(value).__name__}")
    return value


def _extra(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"extra must be a dictionary of fields, not {type(value).__name__}")
    return value


def check_text(text: str, what: str) -> str:
    """The text, if it can be sent anywhere.

    Raises:
        TypeError: not a string.
        InvalidRequestError: a lone surrogate, which no encoding can carry, or a NUL character, at which servers
            written in C cut the text in silence.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if "\0" in text:
        raise InvalidRequestError(
            f"{what} contains a NUL character at position {text.index(chr(0))}",
            hint="Remove it: some servers would cut the text there without a word.",
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequestError(
                f"{what} contains a lone surrogate (U+{ord(text[error.start]):04X}) at position {error.start}",
                hint="The text was decoded wrongly: read it as UTF-8, or with errors='replace'.",
            ) from None
    return text


def check_tokens(tokens: Iterable[int]) -> tuple[int, ...]:
    """Token ids as a tuple. Raises `TypeError` for anything but integers, `InvalidRequestError` for negative ones."""
    if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Iterable):
        raise TypeError(f"tokens must be a list of integers, not {type(tokens).__name__}")
    checked = []
    for token in tokens:
        if isinstance(token, bool):
            raise TypeError("tokens must be integers, not bool")
        try:
            checked.append(operator.index(token))
        except TypeError:
            raise TypeError(f"tokens must be integers, not {type(token).__name__}") from None
    if checked and min(checked) < 0:
        raise InvalidRequestError(f"{min(checked)} is not a token: token ids are not negative")
    return tuple(checked)


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
        parts = tuple(_parts_of(value, role))
    else:
        raise TypeError(f"a message must be a Message or a dictionary, not {type(value).__name__}")
    if role not in ("system", "user", "assistant", "tool"):
        raise InvalidRequestError(f"a message's role must be system, user, assistant or tool, not {role!r}")
    if role == "tool" and not any(isinstance(part, ToolResult) for part in parts):
        parts = tuple(ToolResult(text=part.text) if isinstance(part, TextPart) else part for part in parts)
    for part in parts:
        if isinstance(part, (TextPart, ReasoningPart, ToolResult)):
            check_text(part.text, "a message's content")
    return Message(role, parts)


_PARTS = (TextPart, ReasoningPart, Image, ToolCall, ToolResult, ProviderPart)


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
    yield from _images(_image_sources(message))
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
        return _images([_part(image, "url") if isinstance(image, Mapping) else image])[0]
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


def request_problem(request: Any) -> str:
    """What is wrong with a request that an extension has made, as the rest of a sentence; empty if nothing is."""
    if isinstance(request, GenerationRequest):
        return _question_problem(request)
    for name in ("text", "model"):
        value = getattr(request, name, None)
        if value is not None and not isinstance(value, str):
            return f"whose {name} is {a_kind(value)}"
    for name, kind in (("texts", str), ("tokens", int)):
        values = getattr(request, name, ())
        if not isinstance(values, (tuple, list)) or not all(isinstance(each, kind) for each in values):
            return f"whose {name} are not a tuple of {kind.__name__}"
    return ""


def _question_problem(request: GenerationRequest) -> str:
    for name in ("prompt", "system_prompt"):
        value: Any = getattr(request, name)
        if not isinstance(value, str):
            return f"whose {name} is {a_kind(value)}"
    messages: Any = request.messages
    if not isinstance(messages, (tuple, list)) or not all(isinstance(each, Message) for each in messages):
        return "whose messages are not a tuple of Message"
    if messages and request.prompt:
        return "that has both a prompt and messages; `request.with_text(…)` changes either"
    if not messages and not request.prompt and not request.images:
        return "that asks nothing: it has neither a prompt nor messages"
    for name in PARAMETERS:
        value = getattr(request.sampling, name, None)
        if value is not None and (wrong := _number_problem(name, value)):
            return f"that makes no sense: {wrong}"
    return ""


def _number_problem(name: str, value: Any) -> str:
    try:
        checked_number(name, value)
    except (TypeError, InvalidRequestError) as error:
        return str(error)
    return ""


def some_images(images: Sequence[Any]) -> Sequence[Any]:
    """The images of a call that is about them. Raises `TypeError` for `None`, with which they would go unnoticed."""
    if images is None:
        raise TypeError("images must be a list of images, not None")
    return images


def _images(sources: Sequence[Any] | None) -> tuple[Image, ...]:
    if not sources:
        return ()
    if isinstance(sources, (str, bytes)) or not isinstance(sources, Sequence):
        raise TypeError(f"images must be a list of images, not {type(sources).__name__}")
    from lollms_core.images import load_images

    return tuple(load_images(sources))


def answer_check(asked: Any) -> tuple[Mapping[str, Any] | None, Callable[[str], Any] | None]:
    """The JSON Schema of a `json_schema`, and what checks an answer for it: see `lollms_core.text._json_schema`.

    Raises:
        TypeError: neither a schema nor a pydantic class.
        InvalidRequestError: it is no JSON Schema.
    """
    if asked is None:
        return None, None
    if not isinstance(asked, Mapping) and not hasattr(asked, "model_json_schema"):
        raise TypeError(f"json_schema must be a JSON Schema or a pydantic model class, not {type(asked).__name__}")
    from lollms_core.text._json_schema import as_schema, model_checker, schema_checker

    try:
        schema = as_schema(asked)
        return schema, schema_checker(schema) if schema is asked else model_checker(asked, schema)
    except ValueError as error:
        raise InvalidRequestError(f"json_schema is not a valid JSON Schema: {error}") from None
