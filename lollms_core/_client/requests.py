"""From what a caller says to a `GenerationRequest`: which value wins, whether it was chosen, whether it makes sense."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, TypedDict

from lollms_core._client.argument_checks import (
    check_text,
    checked_completion_format,
    checked_extra,
    checked_number,
    checked_personality,
    checked_think,
)
from lollms_core._client.given_messages import as_message, images_of
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
    SamplingParams,
    coerce_stop,
)

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
    "default_float",
    "default_int",
    "is_chosen",
    "request_problem",
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
            if unknown == "stream":
                meant = "`client.stream()` gives an answer piece by piece, and so does a streaming_callback."
            elif unknown in _ELSEWHERE:
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
        images = images_of(options.get("images"))
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
            completion_format=checked_completion_format(options.get("completion_format")),
            sampling=sampling,
            personality=personality,
            json_schema=schema,
            think=checked_think(options.get("think")),
            extra=checked_extra(options.get("extra")),
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


def _with_images(messages: tuple[Message, ...], images: tuple[Image, ...]) -> tuple[Message, ...]:
    """Images given beside a conversation belong to its last message of the user."""
    for position in range(len(messages) - 1, -1, -1):
        message = messages[position]
        if message.role == "user":
            seen = Message(message.role, message.parts, images)
            return (*messages[:position], seen, *messages[position + 1 :])
    raise ImageError("images were given, but the conversation has no user message that they could belong to")


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
    for name, kinds in _OF_QUESTION.items():
        value: Any = getattr(request, name)
        if not isinstance(value, kinds):
            return f"whose {name} is {a_kind(value)}"
        if isinstance(value, str) and (wrong := _wrong(check_text, value, name)):
            return f"that makes no sense: {wrong}"
    for name, kind, values in (("images", Image, request.images), ("sampling.stop", str, request.sampling.stop)):
        if not isinstance(values, tuple) or not all(isinstance(each, kind) for each in values):
            return f"whose {name} is not a tuple of {kind.__name__}"
    messages: Any = request.messages
    if not isinstance(messages, (tuple, list)) or not all(isinstance(each, Message) for each in messages):
        return "whose messages are not a tuple of Message"
    if messages and request.prompt:
        return "that has both a prompt and messages; `request.with_text(…)` changes either"
    if not messages and not request.prompt and not request.images:
        return "that asks nothing: it has neither a prompt nor messages"
    for name in PARAMETERS:
        value = getattr(request.sampling, name, None)
        if value is not None and (wrong := _wrong(checked_number, name, value)):
            return f"that makes no sense: {wrong}"
    return ""


_OF_QUESTION: Mapping[str, tuple[type, ...]] = {
    "prompt": (str,),
    "system_prompt": (str,),
    "model": (str, NoneType),
    "completion_format": (ELF_COMPLETION_FORMAT,),
    "sampling": (SamplingParams,),
    "personality": (int, str, NoneType),
    "json_schema": (Mapping, NoneType),
    "think": (bool, str, NoneType),
    "extra": (Mapping,),
}


def _wrong(check: Callable[..., object], *given: Any) -> str:
    try:
        check(*given)
    except (TypeError, InvalidRequestError) as error:
        return str(error)
    return ""


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
