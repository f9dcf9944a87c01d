"""Enumerations and value types that pass between callers, the client and the backends.

Values have no behaviour and no identity: two that say the same are equal. Request objects can grow new fields with
defaults without breaking a backend that was written before; that is why every hook takes exactly one of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lollms_core.contract._parameters import PARAMETERS
from lollms_core.contract.errors import InvalidRequestError, a_kind
from lollms_core.contract.messages import (
    Image,
    Message,
    Part,
    ProviderPart,
    ReasoningPart,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
)

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = [
    "DEFAULTS",
    "ELF_COMPLETION_FORMAT",
    "ELF_GENERATION_FORMAT",
    "MSG_TYPE",
    "BackendSettings",
    "CancelToken",
    "Capabilities",
    "Chunk",
    "CloseRequest",
    "CodeBlock",
    "Completion",
    "DetokenizeRequest",
    "EmbedRequest",
    "FinishReason",
    "GenerationRequest",
    "Image",
    "ListModelsRequest",
    "ListPersonalitiesRequest",
    "Message",
    "ModelInfo",
    "ModelInfoRequest",
    "Part",
    "Personality",
    "ProviderPart",
    "PullModelRequest",
    "PullProgress",
    "ReasoningPart",
    "Request",
    "Role",
    "SamplingParams",
    "TextPart",
    "Timeouts",
    "Timings",
    "TokenCount",
    "TokenizeRequest",
    "ToolCall",
    "ToolResult",
    "Usage",
]

logger = logging.getLogger("lollms")


class ELF_GENERATION_FORMAT(Enum):
    """The official formats. A member's value is the name under which its package registers."""

    LOLLMS = "lollms"
    OPENAI = "openai"
    OLLAMA = "ollama"
    LITELLM = "litellm"
    TRANSFORMERS = "transformers"
    VLLM = "vllm"

    @classmethod
    def from_string(cls, name: str) -> ELF_GENERATION_FORMAT:
        """The member whose name or value is `name`, in any case. Raises `ValueError` if there is none."""
        return cls(name.lower())


class ELF_COMPLETION_FORMAT(Enum):
    """How the prompt reaches the model."""

    Instruct = 0
    """As it is: raw text, no template, no roles."""
    Chat = 1
    """As a user's message, through the model's chat template or the server's chat route."""

    @classmethod
    def from_string(cls, name: str) -> ELF_COMPLETION_FORMAT:
        """The member whose name is `name`, in any case. Raises `ValueError` if there is none."""
        for member in cls:
            if member.name.lower() == name.lower():
                return member
        raise ValueError(f"{name!r} is not a completion format; choose Instruct or Chat")


class MSG_TYPE(IntEnum):
    """What a piece of text handed to a streaming callback is. The numbers are those of the LoLLMS clients."""

    MSG_TYPE_CHUNK = 0
    """A piece of the answer."""
    MSG_TYPE_REASONING = 21
    """A piece of what the model thinks before it answers."""


FinishReason = Literal["stop", "length", "cancelled", "content_filter", "tool_calls", "unknown"]
"""Why a generation ended: a natural end or stop sequence, the token limit, the caller, the provider's filter."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one generation, as the backend reports them; `None` where it does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    """How many prompt tokens were served from a cache."""

    @property
    def total_tokens(self) -> int | None:
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens


class Chunk(NamedTuple):
    """One event of a stream: text, reasoning text, or the closing record.

    The closing record is the last chunk; it has a `finish_reason`, may have a `usage`, and its text is usually empty.
    A stream without one is complete when its iterator ends; backends whose protocol marks the end must raise
    `IncompleteStreamError` when the mark is missing.
    """

    text: str = ""
    type: MSG_TYPE = MSG_TYPE.MSG_TYPE_CHUNK
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    metadata: Mapping[str, Any] | None = None
    """Whatever else the provider said, untouched."""
    part: Part | None = None
    """A part of the answer that is neither text nor reasoning, whole: a tool call, say. Then `text` is empty."""

    def __str__(self) -> str:
        return self.text

    @property
    def is_answer(self) -> bool:
        """Whether its text belongs to the answer, and not to what the model thinks before."""
        return self.type != MSG_TYPE.MSG_TYPE_REASONING


class CancelToken:
    """A flag that asks a call to stop, and wakes whoever must be told at once.

    Thread-safe, and safe to use in a signal handler. Backends that compute look at `cancelled` once a token; backends
    that wait register a callback that ends the wait, such as one that shuts down a socket. Callbacks must not block.
    """

    __slots__ = ("__weakref__", "_callbacks", "_lock", "cancelled")

    def __init__(self) -> None:
        self.cancelled = False
        # Reentrant: the garbage collector may close a stream, which unregisters, in the middle of a registration.
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[], object]] = []

    def cancel(self) -> None:
        """Ask the call to stop. Callbacks run in this thread; a second call does nothing.

        An exception in one of them goes to the log: nobody who cancels could do anything about it.
        """
        with self._lock:
            if self.cancelled:
                return
            self.cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:
                logger.warning("a callback of a cancelled call failed", exc_info=True)

    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` once when cancelled, at once if that has happened. Returns a function that unregisters it."""
        with self._lock:
            if not self.cancelled:
                self._callbacks.append(callback)

                def unregister() -> None:
                    with self._lock:
                        if callback in self._callbacks:
                            self._callbacks.remove(callback)

                return unregister
        callback()
        return lambda: None

    def __reduce__(self) -> tuple[Any, ...]:
        # Requests are plain values. Who waits on a token waits in this process: a copy has nobody to wake.
        return (_copied_token, (self.cancelled,))


def _copied_token(cancelled: bool) -> CancelToken:
    token = CancelToken()
    token.cancelled = cancelled
    return token


DEFAULTS: Mapping[str, Any] = {
    name: parameter.default for name, parameter in PARAMETERS.items() if parameter.default is not None
}
"""The client's default for each parameter that nobody chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose tokens, with the client's values already filled in. `None`: leave it to the model or the server.

    `chosen` names the parameters that the caller gave, in the call or to the client. A value that is not in it is a
    default: it must never make a call fail, and may be adjusted in silence.
    """

    n_predict: int | None = None
    """Limit of new tokens."""
    temperature: float | None = None
    """0 is greedy."""
    top_k: int | None = None
    """0 is off."""
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    """1.0 is neutral."""
    repeat_last_n: int | None = None
    """How many of the latest tokens the penalty looks at; 0 is none, -1 all."""
    seed: int | None = None
    n_threads: int | None = None
    stop: tuple[str, ...] = ()
    """Stop sequences; the text ends before the first that appears."""
    chosen: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What every request has."""

    cancel: CancelToken = field(default_factory=CancelToken, compare=False, repr=False)
    """Set when the answer is no longer wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest(Request):
    """One generation.

    `prompt` is set when the caller gave text, `messages` when the caller gave a conversation, never both; a backend
    that does not declare `messages` gets every conversation as a prompt. `as_messages()` gives either as messages.
    """

    prompt: str = ""
    messages: tuple[Message, ...] = ()
    system_prompt: str = ""
    images: tuple[Image, ...] = ()
    """Images that belong to `prompt`; those of messages are in the messages."""
    model: str | None = None
    completion_format: ELF_COMPLETION_FORMAT = ELF_COMPLETION_FORMAT.Chat
    sampling: SamplingParams = field(default_factory=SamplingParams)
    personality: int | str | None = None
    """A personality of the server, by its index in the list, its name or its id; `None` for none."""
    json_schema: Mapping[str, Any] | None = None
    """JSON Schema that the answer must satisfy."""
    think: bool | str | None = None
    """Ask for, forbid, or set the level of reasoning; `None` leaves it to the model."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields for this backend's protocol alone, passed on as they are."""

    def as_messages(self) -> tuple[Message, ...]:
        """The conversation, with the system prompt first if there is one."""
        messages = self.messages or (Message("user", self.prompt, self.images),)
        if self.system_prompt:
            messages = (Message("system", self.system_prompt), *messages)
        return messages

    def as_text(self) -> str:
        """Everything as raw text, which has no roles: the system prompt and the prompt, or the texts of the messages.

        An empty line stands between two of them.
        """
        if self.messages or self.system_prompt:
            return "\n\n".join(message.text for message in self.as_messages())
        return self.prompt

    def with_text(self, change: Callable[[str], str]) -> GenerationRequest:
        """The request with what the user says passed through a function: the prompt, or the texts of user messages."""

        def changed(text: str) -> str:
            said: Any = change(text)
            if not isinstance(said, str):
                raise TypeError(f"the function given to with_text returned {a_kind(said)}, not a str")
            return said

        if not self.messages:
            return replace(self, prompt=changed(self.prompt))
        messages = tuple(
            Message(
                message.role,
                [TextPart(changed(part.text)) if isinstance(part, TextPart) else part for part in message.parts],
            )
            if message.role == "user"
            else message
            for message in self.messages
        )
        return replace(self, messages=messages)

    def fingerprint(self) -> str:
        """A text of 64 characters that is the same for requests that ask the same, in every process: for caches.

        Raises `TypeError` for values in `extra` or the schema that are no JSON.
        """
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("cancel", "sampling")}
        values["sampling"] = {name: getattr(self.sampling, name) for name in self.sampling.__dataclass_fields__}
        values["json_schema"] = self.json_schema
        text = json.dumps(values, sort_keys=True, default=_plain_value)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def all_images(self) -> tuple[Image, ...]:
        """Every image of the request, in order."""
        return self.images + tuple(image for message in self.messages for image in message.images)


def _plain_value(value: Any) -> Any:
    """What JSON has no word for, for a fingerprint."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Image):
        return list(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {"": type(value).__name__, **{each.name: getattr(value, each.name) for each in fields(value)}}
    raise TypeError(f"{a_kind(value)} has no fingerprint")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListModelsRequest(Request):
    """Ask which models can be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfoRequest(Request):
    """Ask about one model; `None` for the configured one."""

    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeRequest(Request):
    """Ask for the token ids of `text`, without special tokens added around it."""

    text: str
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetokenizeRequest(Request):
    """Ask for the text of token ids."""

    tokens: tuple[int, ...]
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest(Request):
    """Ask for one vector for each text."""

    texts: tuple[str, ...]
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPersonalitiesRequest(Request):
    """Ask which personalities are mounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullModelRequest(Request):
    """Ask the server to download a model."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRequest:
    """Ask to free everything that is held."""


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One step of a download; sizes in bytes, `None` while unknown."""

    status: str
    completed: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What is known about a model; `None` for what is not."""

    name: str
    context_window: int | None = None
    """In tokens, prompt and answer together."""
    parameters: int | None = None
    dtype: str | None = None
    device: str | None = None
    size_bytes: int | None = None
    capabilities: tuple[str, ...] = ()
    """Such as `completion`, `chat`, `vision`, `embedding`, `thinking`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the provider said, untouched. A backend that answers without asking the provider adds
    `missing_keys`, the environment variables of which one must be set before the model can be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Personality:
    """A personality that a LoLLMS server offers. A request may name it by its index in the list, `name` or `id`."""

    id: int | str
    name: str
    category: str | None = None
    active: bool = False


class TokenCount(int):
    """A number of tokens that knows whether the model's own tokenizer counted it."""

    exact: bool

    def __new__(cls, value: int, *, exact: bool) -> TokenCount:
        self = super().__new__(cls, value)
        self.exact = exact
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[int], dict[str, bool]]:
        return (int(self),), {"exact": self.exact}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Durations in seconds, measured by the client."""

    total: float
    first_chunk: float | None = None
    """Until the first text; `None` if none came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole answer. `finish_reason` is `"unknown"` if the backend did not say."""

    text: str
    reasoning: str = ""
    finish_reason: FinishReason = "unknown"
    usage: Usage = field(default_factory=Usage)
    timings: Timings
    model: str | None = None
    parsed: Any = None
    """What the text says, where a `json_schema` was asked for: the value, or the object of the pydantic class."""
    parts: tuple[Part, ...] = ()
    """All of the answer in order: reasoning, text, tool calls, and what only the provider understands."""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text

    @property
    def message(self) -> Message:
        """The answer as a message, to go on with."""
        return Message("assistant", self.parts)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The functions that the model wants to be called."""
        return self.message.tool_calls

    @property
    def only_reasoning(self) -> bool:
        """The model reasoned, shown or not, and then there was nothing left for an answer."""
        return not self.text.strip() and bool(self.reasoning or self.usage.reasoning_tokens)


CodeBlock = dict[str, Any]
"""A code block: `index`, `file_name`, `section`, `content`, `type`, `is_complete`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Limits in seconds; `None` is no limit. There is deliberately no limit on a whole answer.

    Raises:
        TypeError: a limit is no number.
        InvalidRequestError: a limit that is not above 0, or not finite.
    """

    connect: float | None = 10.0
    first_token: float | None = 300.0
    """From sending the request to the first byte of the answer: a server may be loading its model."""
    idle: float | None = 120.0
    """Between two pieces of an answer that has begun. Whatever comes counts, also what a server sends to keep a
    connection alive: it says that it is still at work."""

    def __post_init__(self) -> None:
        for name in ("connect", "first_token", "idle"):
            limit = getattr(self, name)
            if limit is None:
                continue
            if isinstance(limit, bool) or not isinstance(limit, (int, float)):
                raise TypeError(f"the {name} timeout must be a number of seconds or None, not {type(limit).__name__}")
            if not 0 < limit < float("inf"):
                raise InvalidRequestError(f"the {name} timeout must be above 0 seconds and finite, not {limit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """What a client tells its backend once, when it makes it.

    `options` holds the keyword arguments that the client itself does not know; the backend's `Options` model has
    already checked them (`Backend.options` is the checked object).
    """

    format: str
    host_address: str | None = field(default=None, repr=False)
    """`None`: the backend's own default or environment variable. Not in the repr: it may carry a password."""
    model_name: str | None = None
    ctx_size: int | None = None
    ctx_size_chosen: bool = False
    n_threads: int | None = None
    n_threads_chosen: bool = False
    api_key: SecretStr | None = None
    verify_ssl_certificate: bool | str = True
    """`False` accepts any certificate, a string is the path of a CA bundle."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_retries: int = 2
    """How often a request that failed before its first chunk is repeated, where that is safe."""
    strict: bool = False
    """An option without effect is an error, not a warning. See `Backend.not_honoured`."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Extra HTTP headers. Not in the repr: they may carry keys."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend declares about itself. The table in the documentation and the client's warnings come from it."""

    options: frozenset[str] = frozenset()
    """What changes the outcome: names in `SamplingParams`, and `system_prompt`, `messages`, `json_schema`, `think`,
    `personality`, `ctx_size`. Conversations are flattened to a prompt for a backend that does not name `messages`."""
    vision: bool = False
    parts: frozenset[str] = frozenset()
    """Which parts of messages reach the model, besides text and images: `reasoning`, `tool_call`, `tool_result`,
    `provider`."""
    embeddings: bool = False
    personalities: bool = False
    exact_tokens: bool = False
    """`tokenize` is the model's own."""
    raw_prompt: bool = False
    """`ELF_COMPLETION_FORMAT.Instruct` sends the prompt untouched."""
    needs_model: bool = False
    """A `model_name` must be given: there is no sensible choice without one."""
    local: bool = False
    """Runs in this process, so nothing leaves the machine."""
    pull: bool = False
    """Can download models on request."""


def coerce_stop(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """Stop sequences as a tuple; a single string is one sequence, empty ones mean nothing. Raises `TypeError`."""
    if stop is None:
        return ()
    if isinstance(stop, (bytes, Mapping)) or not isinstance(stop, Iterable):
        raise TypeError(f"stop must be a string or a list of strings, not {type(stop).__name__}")
    sequences = (stop,) if isinstance(stop, str) else tuple(stop)
    for sequence in sequences:
        if not isinstance(sequence, str):
            raise TypeError(f"stop must be strings, not {type(sequence).__name__}")
    return tuple(sequence for sequence in sequences if sequence)
