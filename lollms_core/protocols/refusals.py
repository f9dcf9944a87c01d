"""Servers that refuse a parameter: which one it is, what to send instead, and not asking twice.

The parameters of this protocol differ by server and by model: OpenAI's newer models want `max_completion_tokens` for
`max_tokens` and refuse `temperature`; strict servers refuse what they do not know. Each kind says so in its own way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lollms_core.http import error_code, error_text

__all__ = ["LIMITS", "OPTION_OF", "Memory", "Refusal", "room_left"]

LIMITS = ("max_completion_tokens", "max_tokens")
"""The two names of the limit of new tokens."""

OPTION_OF: Mapping[str, str] = {
    "max_tokens": "n_predict",
    "max_completion_tokens": "n_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "seed": "seed",
    "stop": "stop",
    "reasoning_effort": "think",
    "chat_template_kwargs": "think",
    "stream_options": "stream_options",
}
"""Fields of a request that it can do without, and the options that they stand for."""

_CODES = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden"})
_WORDS = re.compile(
    r"unsupported|not support|n't support|no longer support|unrecogni[sz]ed|unknown|unexpected|not permitted"
    r"|not allowed|deprecated|cannot both be|only the default",
    re.IGNORECASE,
)
_NAMED = r"['\"`]{name}['\"`]|: {name}\b|^{name}\b|(?<![\w.]){name}="
"""How a message names a field: not as a word of its sentence, which may be the user's own words."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server said when it refused a request."""

    code: str
    param: str
    text: str

    @classmethod
    def read(cls, body: bytes) -> Refusal:
        """From the body of the answer: OpenAI's error object, or FastAPI's list of validation problems."""
        code, param = error_code(body)
        text = error_text(body)
        if not param:
            try:
                details = json.loads(body).get("detail")
            except (ValueError, AttributeError, RecursionError):
                details = None
            for detail in details if isinstance(details, list) else ():
                if isinstance(detail, dict) and isinstance(detail.get("loc"), list) and detail["loc"]:
                    return cls(str(detail.get("type") or code), str(detail["loc"][-1]), text)
        return cls(code, param.rpartition(".")[2], text)

    def field(self, candidates: Collection[str], spare: Collection[str] = ()) -> str | None:
        """Which of `candidates`, fields of the request, is not supported; `None` if it is about something else.

        Where the server names several, one of `spare` is preferred.
        """
        if self.code not in _CODES and not _WORDS.search(self.text):
            return None
        if self.param in candidates:
            return self.param
        if self.param and self.code in _CODES:
            return None  # it names another field
        named = [name for name in candidates if re.search(_NAMED.format(name=name), self.text)]
        named.sort(key=lambda name: (name not in spare, self.text.index(name)))
        return named[0] if named else None


@dataclass(slots=True)
class Memory:
    """What a server has refused for each model. Entries are only ever added, so threads need no lock."""

    _dropped: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    _limits: dict[str, str] = field(default_factory=dict)
    stream_options: bool = True
    """Whether the server takes `stream_options`."""

    def limit_name(self, model: str, default: str) -> str:
        """The name under which the limit of new tokens is sent."""
        return self._limits.get(model, default)

    def rename_limit(self, model: str, refused: str) -> str | None:
        """The other name of the limit, from now on; `None` if that one was refused as well."""
        known = self._limits.get(model)
        if known == refused:
            return None
        if known is None:  # else another call has renamed it in the meantime
            known = self._limits[model] = LIMITS[1 - LIMITS.index(refused)]
        return known

    def drop(self, model: str, name: str, value: Any) -> None:
        """Leave a field out from now on. Of words, such as levels of reasoning, only this value."""
        self._dropped.setdefault(model, set()).add((name, value if isinstance(value, str) else ""))

    def strip(self, model: str, body: dict[str, Any], keep: Collection[str] = ()) -> list[str]:
        """Take out of `body` what the model refuses, except `keep`. Returns the names of what was there."""
        gone = []
        for name, value in tuple(self._dropped.get(model, ())):
            if name in body and name not in keep and value in ("", body[name]):
                del body[name]
                gone.append(name)
        if not self.stream_options and "stream_options" not in keep:
            body.pop("stream_options", None)
        return gone


_WINDOW = re.compile(
    r"(?:maximum context length is|max_model_len[=: ]+|maximum model length of)\s*\(?(\d+)|tokens > (\d+) maximum",
    re.IGNORECASE,
)
_PROMPT = re.compile(
    r"(\d+) in (?:the|your) (?:messages|prompt|input)|(?:contains|has) (?:at least )?(\d+) (?:input )?tokens"
    r"|prompt \(length (\d+)\)|prompt is too long: (\d+)|(\d+) input tokens",
    re.IGNORECASE,
)
_CHARACTERS = re.compile(
    r"(\d+) characters \(more than (\d+) characters, which is the upper bound for (\d+) input tokens"
)
"""vLLM's words for a prompt that it did not even count: it has that many tokens at least."""


def room_left(text: str) -> int | None:
    """How many tokens the window has left for the answer, from the message of a server that found too few.

    `None` if the message does not give both numbers.

    >>> room_left("This model's maximum context length is 4097 tokens, however you requested 4106 tokens "
    ...           "(10 in your prompt; 4096 for the completion).")
    4087
    """
    window, prompt, characters = _WINDOW.search(text), _PROMPT.search(text), _CHARACTERS.search(text)
    if window is None or prompt is None:
        return None
    tokens = next(int(number) for number in prompt.groups() if number)
    if characters is not None:
        has, most, allowed = map(int, characters.groups())
        tokens = has * allowed // (most or 1)
    return next(int(number) for number in window.groups() if number) - tokens
