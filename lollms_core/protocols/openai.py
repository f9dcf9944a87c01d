"""The OpenAI protocol, without IO: request bodies and the decoder of streamed answers.

Servers of many kinds speak it: OpenAI's own, vLLM, the current LoLLMS server. Where they differ, the caller says so.
Sources: OpenAI's API reference (chat completions, completions, streaming); vLLM's OpenAI-compatible server.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from lollms_core.contract.errors import IncompleteStreamError, LollmsError, ProtocolError
from lollms_core.contract.types import (
    MSG_TYPE,
    Chunk,
    FinishReason,
    GenerationRequest,
    Image,
    Message,
    ProviderPart,
    SamplingParams,
    TextPart,
    ToolCall,
    Usage,
)
from lollms_core.http._embeddings import check_count, checked_vectors
from lollms_core.http._exchange import Decoder, excerpt, parse_json
from lollms_core.http._failures import answer_error, html_error, not_due
from lollms_core.http._shapes import objects, shown, wrong_shape
from lollms_core.http._sse import MAX_SIZE, NamedEvent, SSEDecoder
from lollms_core.protocols._extras import PLAIN_EVENT, Extras

__all__ = [
    "CORE_FIELDS",
    "ChatDecoder",
    "Extras",
    "chat_body",
    "completion_body",
    "data_url",
    "finish_reason",
    "read_embeddings",
    "read_usage",
    "response_format",
    "sampling_fields",
    "text_pieces",
    "told_error",
    "wire_messages",
]

CORE_FIELDS: Mapping[str, str] = {
    "n_predict": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
}
"""Names in `SamplingParams` and on the wire, as every server of this protocol knows them."""

_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    # Of providers whose words a proxy passes on: Anthropic, Google, Cohere, Mistral, Text Generation Inference.
    "complete": "stop",
    "max_new_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "safety": "content_filter",
    "recitation": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
}
_BROKEN_OFF = frozenset({"abort", "aborted", "canceled", "cancelled", "insufficient_system_resource"})
"""What servers say of an answer that they gave up, which nobody here asked them to."""
_PLAIN_CHOICE = frozenset({"index", "delta", "finish_reason", "logprobs", "token_ids"})
_REASONING = MSG_TYPE.MSG_TYPE_REASONING
_MARK = b"\xef\xbb\xbf"
"""A byte order mark."""


# --- requests -----------------------------------------------------------------------------------------------------


def chat_body(
    request: GenerationRequest,
    *,
    model: str | None,
    fields: Mapping[str, str] = CORE_FIELDS,
    include_usage: bool = True,
) -> dict[str, Any]:
    """The body of `POST /v1/chat/completions`, asking for a stream.

    Args:
        model: the model's name; left out if `None`.
        fields: which sampling parameters are sent, and under which names.
        include_usage: ask for token counts at the end; some servers refuse the option.
    """
    return _body({"messages": wire_messages(request.as_messages())}, request, model, fields, include_usage)


def completion_body(
    request: GenerationRequest,
    *,
    model: str | None,
    fields: Mapping[str, str] = CORE_FIELDS,
    include_usage: bool = True,
) -> dict[str, Any]:
    """The body of `POST /v1/completions`, the raw prompt untouched, asking for a stream. Arguments as `chat_body`."""
    return _body({"prompt": request.as_text()}, request, model, fields, include_usage)


def _body(
    body: dict[str, Any], request: GenerationRequest, model: str | None, fields: Mapping[str, str], include_usage: bool
) -> dict[str, Any]:
    if model is not None:
        body["model"] = model
    body["stream"] = True
    if include_usage:
        body["stream_options"] = {"include_usage": True}
    body.update(sampling_fields(request.sampling, fields))
    if request.json_schema is not None:
        body["response_format"] = response_format(request.json_schema)
    body.update(request.extra)
    return body


def sampling_fields(sampling: SamplingParams, fields: Mapping[str, str]) -> dict[str, Any]:
    """The parameters that have a value, under their names on the wire."""
    found: dict[str, Any] = {}
    for name, wire in fields.items():
        value = getattr(sampling, name)
        if value is not None and value != ():
            found[wire] = list(value) if isinstance(value, tuple) else value
    return found


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`response_format` for an answer that satisfies a JSON Schema."""
    name = str(schema.get("title") or "answer")
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name)[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema), "strict": True}}


def wire_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as the chat route takes them. Reasoning is left out: the protocol has no place for it."""
    return [wire for message in messages for wire in _wire_forms(message)]


def _wire_forms(message: Message) -> Iterator[dict[str, Any]]:
    if len(message.parts) == 1 and type(part := message.parts[0]) is TextPart:  # as most have it
        yield {"role": message.role, "content": part.text}
        return
    for result in message.tool_results:
        yield {"role": "tool", "tool_call_id": result.id, "content": result.text}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.as_text()}}
        for call in message.tool_calls
    ]
    content = _wire_content(message)
    if content or calls or not message.tool_results:
        # The result of a tool is text on this wire; what came with it, such as an image, is said by the user.
        role = "user" if message.tool_results else message.role
        wire: dict[str, Any] = {"role": role, "content": content or (None if calls else "")}
        yield wire | {"tool_calls": calls} if calls else wire


def _wire_content(message: Message) -> str | list[Any]:
    """Plain text where there is nothing else: not every server takes lists."""
    if not any(isinstance(part, (Image, ProviderPart)) for part in message.parts):
        return message.text
    parts: list[Any] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            parts.append({"type": "text", "text": part.text})
        elif isinstance(part, Image):
            parts.append({"type": "image_url", "image_url": {"url": data_url(part)}})
        elif isinstance(part, ProviderPart):
            parts.append(dict(part.data))
    return parts


def called_functions(calls: Any) -> Iterator[ToolCall]:
    """Tool calls from the list that stands on the wire. What has no function's name is none."""
    for call in objects(calls):
        function = call.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            continue
        given, id_ = function.get("arguments"), call.get("id")
        known = id_ if isinstance(id_, str) else ""
        if isinstance(given, dict):
            yield ToolCall(name=name, arguments=given, id=known)
        else:
            yield ToolCall.from_text(name, given if isinstance(given, str) else "", known)


def data_url(image: Image) -> str:
    """An image as a `data:` URL; one that is only a URL stays it."""
    if image.data is None:
        return image.url or ""
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode('ascii')}"


# --- answers ------------------------------------------------------------------------------------------------------


class ChatDecoder(Decoder):
    """Decodes the streamed answer of `/v1/chat/completions` or `/v1/completions`.

    The closing record is given once, at the end, with the finish reason and the usage, which come in chunks of their
    own. A server that answers with one whole JSON object, though a stream was asked for, is understood as well.

    Args:
        headers: of the response.
        inspect: called with each parsed event that carries no text, for what a server adds to the protocol.
        needs_finish_reason: for a server that marks the end of an answer which it has cut off, too: `[DONE]` without a
            finish reason is no end then.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        inspect: Callable[[dict[str, Any]], None] | None = None,
        *,
        needs_finish_reason: bool = False,
    ) -> None:
        self.finished = False
        self._content_type = headers.get("content-type", "")
        self._events = SSEDecoder()
        self._whole: list[bytes] | None = None
        self._held = 0
        self._began = False
        self._mark = b""
        self._answered = False
        self._reason: FinishReason | None = None
        self._own_word: str | None = None
        self._usage: Usage | None = None
        self._inspect = inspect
        self._needs_finish_reason = needs_finish_reason
        self._extras = Extras()

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """The chunks that these bytes complete.

        Raises:
            LollmsError: the stream says that the server failed.
            ProtocolError: an event is not a JSON object, or not one of this protocol.
            IncompleteStreamError: `[DONE]` comes before any part of an answer.
        """
        if not self._began:
            data = self._begin(data)
        if self._whole is not None:
            self._whole.append(data)
            self._held += len(data)
            if self._held > MAX_SIZE:
                raise ProtocolError(f"the server sent an answer larger than {MAX_SIZE} bytes")
            return
        for event in self._events.feed(data):
            # What nearly every event is comes first; all else is looked at with more care.
            if event.__class__ is NamedEvent:
                _raise_if_error(event)
            said = event.strip()
            if said == "[DONE]":
                yield from self._ending()
                return
            if not said:
                continue  # a sign of life
            value = parse_json(event)
            try:
                choice = value["choices"][0]
                delta = choice["delta"]
                text = delta["content"]
                plain = (
                    self._answered
                    and len(delta) == 1
                    and choice["finish_reason"] is None
                    and PLAIN_EVENT.issuperset(value)
                    and _PLAIN_CHOICE.issuperset(choice)
                    and "error" not in value
                    and value.get("usage") is None
                    and not choice.get("index")
                    and choice.get("logprobs") is None
                    and choice.get("token_ids") is None
                    and text.__class__ is str
                )
            except (KeyError, IndexError, TypeError):
                plain = False
            if not plain:
                yield from self._read(value)
                continue
            if text:
                yield Chunk(text)

    def close(self) -> Iterator[Chunk]:
        """The body has ended.

        Raises:
            IncompleteStreamError: neither a finish reason nor `[DONE]` has come.
            LollmsError: as from `feed`.
        """
        if self._whole is not None:
            whole = b"".join(self._whole)
            try:
                value = parse_json(whole, self._content_type)
            except ProtocolError:
                text = whole.decode(errors="ignore")
                if not _breaks_off(text):
                    raise
                if begun := _text_so_far(text):
                    yield Chunk(begun)
                raise IncompleteStreamError("the server's answer ended before it was complete") from None
            if isinstance(value, list) and len(value) == 1:  # as Google's servers write an error
                value = value[0]
            if isinstance(value, dict) and not value.get("choices"):
                raise _no_answer(value, whole)
            yield from self._read(value)
        for event in self._events.close():
            _raise_if_error(event)
            if event.strip() == "[DONE]":
                yield from self._ending()
                return
            try:
                value = parse_json(event)
            except ProtocolError:
                break
            yield from self._read(value)
        if self._reason is None and self._whole is None:  # what is one JSON object is complete
            raise IncompleteStreamError("the server's answer ended before it was complete")
        yield from self._ending()

    def _begin(self, data: bytes) -> bytes:
        data = self._mark + data
        if _MARK.startswith(data):  # the beginning of a byte order mark, or nothing
            self._mark = data
            return b""
        self._mark = b""
        begin = data.removeprefix(_MARK).lstrip()
        if begin:
            self._began = True
            if begin[:1] == b"<":
                raise html_error(begin, "the server")
            if begin[:1] in b"{[":
                self._whole = []
        return data

    def _ending(self) -> Iterator[Chunk]:
        closing = self._closing()
        for call in called_functions(self._extras.all_calls):
            yield Chunk(part=call)
        yield closing

    def _closing(self) -> Chunk:
        if self._reason is None and self._needs_finish_reason:
            raise IncompleteStreamError("the server cut its answer off: it closed the stream without a finish reason")
        if self._reason is None and not self._answered:
            raise IncompleteStreamError("the server closed the stream before its answer had begun")
        self.finished = True
        reason = self._reason or ("tool_calls" if self._extras.calls_something else "unknown")
        metadata = self._extras.metadata()
        if self._own_word is not None:
            metadata["provider_finish_reason"] = self._own_word
        return Chunk(finish_reason=reason, usage=self._usage, metadata=metadata or None)

    def _read(self, value: Any) -> Iterator[Chunk]:
        if not isinstance(value, dict):
            raise ProtocolError("the server sent an event that is not a JSON object")
        if (error := told_error(value)) is not None:
            yield from _last_words(value)
            raise answer_error(error)
        if self._inspect is not None:
            self._inspect(value)
        if isinstance(value.get("usage"), Mapping) and value["usage"]:
            self._usage = read_usage(value["usage"])
        self._extras.read_event(value)
        choices = value.get("choices")
        if choices is not None and not isinstance(choices, list):
            raise wrong_shape(choices, "a list of choices")
        for choice in choices or ():
            if not isinstance(choice, dict):
                raise wrong_shape(choice, "a choice")
            if index := choice.get("index"):
                if not isinstance(index, int):
                    raise wrong_shape(index, "a choice's index")
                continue  # another answer to the same question
            self._answered = True
            yield from self._read_choice(choice)

    def _read_choice(self, choice: dict[str, Any]) -> Iterator[Chunk]:
        part = _part(choice)
        try:
            self._extras.read_choice(choice, part)
        except RecursionError:
            raise ProtocolError("the server sent a value that is nested too deeply") from None
        for name in ("reasoning", "reasoning_content"):
            if isinstance(thought := part.get(name), str) and thought:
                yield Chunk(thought, _REASONING)
                break
        yield from text_pieces(part.get("content", choice.get("text")))
        if isinstance(refusal := part.get("refusal"), str) and refusal:
            yield Chunk(refusal)
        reason = choice.get("finish_reason")
        # OpenRouter says here what went wrong at the provider behind it, beside what was said before.
        if (failure := choice.get("error")) or reason == "error":
            raise answer_error(failure or "")
        if isinstance(reason, str) and reason in _BROKEN_OFF:
            raise IncompleteStreamError(f"the server broke its answer off (finish reason {reason!r})")
        if reason and reason != "null":  # which some write in the place of nothing
            self._reason = finish_reason(reason)
            self._own_word = reason if isinstance(reason, str) and reason != self._reason else None
            self.whole = True


def _last_words(event: Mapping[str, Any]) -> Iterator[Chunk]:
    """The text that stands beside an error. Whatever is no text is nothing: the error is what is to be told."""
    for choice in objects(event.get("choices")):
        text = _first_object(choice.get("delta"), choice.get("message")).get("content", choice.get("text"))
        if isinstance(text, str) and text and not choice.get("index"):
            yield Chunk(text)


def _raise_if_error(event: str) -> None:
    """Raise what an event that is named `error` says, as JSON or as text."""
    if isinstance(event, NamedEvent) and event.name == "error":
        raise answer_error(str(event))


_MINIMAX = {
    1002: "rate_limit_exceeded",
    1004: "invalid_api_key",
    1008: "insufficient_quota",
    1039: "rate_limit_exceeded",
    2013: "invalid_request_error",
    2049: "invalid_api_key",
}
"""MiniMax's codes, which stand in answers with status 200, in OpenAI's words. Source: programs that call MiniMax."""


def told_error(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The error that an answer, or an event of it, is or holds, in a form that `answer_error` reads; else `None`."""
    if _is_error(event):
        return event
    state = event.get("base_resp")  # MiniMax's; 0 is success
    if isinstance(state, Mapping) and isinstance(code := state.get("status_code"), int) and code:
        return {"error": {"message": state.get("status_msg"), "code": _MINIMAX.get(code, code)}}
    return None


def _is_error(event: Mapping[str, Any]) -> bool:
    """Whether an answer, or an event of it, says that the server failed: in the way of OpenAI, Anthropic or FastAPI."""
    if event.get("error") or "error" in (event.get("object"), event.get("type")):
        return True
    if event.get("choices") is not None:
        return False
    # SiliconFlow's: a code and a message, and nothing of an answer.
    bare = isinstance(event.get("message"), str) and "code" in event
    return bool(event.get("detail")) or bare or event.get("error") not in (None, False, "")


def _breaks_off(text: str) -> bool:
    """Whether a text that is no JSON is the beginning of some."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        rest = len(text.rstrip()) - error.pos
        return error.msg.startswith("Unterminated") or rest <= 0 or (error.msg.startswith("Invalid \\") and rest < 7)
    except RecursionError:
        return False
    return False


_TEXT_SO_FAR = re.compile(r'"(?:content|text)"\s*:\s*"((?:[^"\\]|\\(?:u[0-9a-fA-F]{4}|[^u]))*)')


def _text_so_far(text: str) -> str:
    """What there is of the answer in a JSON object that breaks off."""
    found = _TEXT_SO_FAR.search(text)
    try:
        return str(json.loads(f'"{found[1]}"', strict=False)) if found else ""
    except ValueError:
        return ""


def _no_answer(value: Mapping[str, Any], body: bytes) -> LollmsError:
    """The error for a whole answer without choices, which no other event could bring."""
    if (error := told_error(value)) is not None:
        return answer_error(error)
    return not_due(value, f"the server sent an answer without choices: {excerpt(body)}")


def _part(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """The delta or the message of a choice, if it has one."""
    for name in ("delta", "message"):
        part = choice.get(name)
        if isinstance(part, dict):
            return part
        if part is not None and part != []:  # which is what an empty object is in PHP
            raise wrong_shape(part, f"a choice's {name}")
    return {}


def finish_reason(said: Any) -> FinishReason:
    """What a server gives as finish reason, in our words; `"unknown"` for a word that is not known."""
    return _FINISH.get(said.lower(), "unknown") if isinstance(said, str) else "unknown"


def read_usage(usage: Mapping[str, Any]) -> Usage:
    """Token counts of an answer. What is missing, or is no number, is `None`."""
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        reasoning_tokens=_count(_first_object(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        cached_tokens=_count(_first_object(usage.get("prompt_tokens_details")).get("cached_tokens")),
    )


def read_embeddings(value: Any, count: int, *, first: int = 1) -> list[list[float]]:
    """The vectors of an answer of `/v1/embeddings`, in the order of the texts.

    An entry without an `index` belongs to the text of its place in the list: Gemini's server leaves out the index 0,
    and others leave out each.

    Args:
        count: how many texts were sent.
        first: the number of the first of them, for messages.

    Raises:
        LollmsError: it is an error that the server tells under a status of success.
        ProtocolError: it is something else than a vector for each text; see `checked_vectors`.
    """
    if not isinstance(value, dict):
        raise wrong_shape(value, "an object with embeddings")
    if (error := told_error(value)) is not None:
        raise answer_error(error)
    entries = value.get("data")
    if not isinstance(entries, list):
        raise not_due(value, wrong_shape(entries, "a list of embeddings").message)
    check_count(len(entries), count)
    vectors: dict[int, Any] = {}
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ProtocolError(f"entry {place + 1} of the server's embeddings is {shown(entry)}")
        if "embedding" not in entry:
            raise ProtocolError(f"entry {place + 1} of the server's embeddings has none")
        vectors[_index(entry, place, vectors, count)] = entry["embedding"]
    return checked_vectors([vectors[index] for index in range(count)], count, first=first)


def _index(entry: Mapping[str, Any], place: int, taken: Mapping[int, Any], count: int) -> int:
    index = entry.get("index")
    if index is None:
        index = place
    if isinstance(index, bool) or not isinstance(index, int | float):
        raise ProtocolError(f"the server gave an embedding with an index that is {shown(index)}")
    if isinstance(index, float) or not 0 <= index < count:
        said = excerpt(str(index))
        raise ProtocolError(f"the server gave an embedding with an index that is none of 0 to {count - 1}: {said}")
    if index in taken:
        raise ProtocolError(f"the server gave two embeddings with the index {index}")
    return index


def text_pieces(content: Any) -> Iterator[Chunk]:
    """The text of a message or a delta, which some servers give as a list of parts, reasoning among them."""
    if isinstance(content, str):
        content = [{"text": content}]
    elif content is not None and not (isinstance(content, list) and all(isinstance(part, dict) for part in content)):
        raise ProtocolError(f"the server sent {shown(content)}, where text is due")
    for part in content or ():
        if isinstance(part.get("text"), str) and part["text"]:
            yield Chunk(part["text"])
        thinking = part.get("thinking")
        for thought in [{"text": thinking}] if isinstance(thinking, str) else objects(thinking):
            if isinstance(thought.get("text"), str) and thought["text"]:
                yield Chunk(thought["text"], _REASONING)


def _first_object(*values: Any) -> Mapping[str, Any]:
    return next((value for value in values if isinstance(value, dict)), {})


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
