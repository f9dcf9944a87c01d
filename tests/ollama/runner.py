"""What an Ollama server does around a model, for a stand-in: it loads it, cuts prompts, and gives up on loops.

All of it as Ollama 0.33 does, which says nothing about most of it to its clients.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DEFAULT_WINDOW", "Loaded", "Runners", "cut", "fitting", "full_name", "limit_of", "mistyped", "until_loop"]

DEFAULT_WINDOW = 4096
"""The window of a model for which nobody chose one."""
_KEEP = 4
_BATCH = 2048
_LOADING = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict")
"""The options of the struct `Runner` in Ollama's api/types.go: with others, the model is loaded anew."""
_REPEATS = 30
_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(
        ("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "num_predict", "seed", "top_k",
         "repeat_last_n"),
        ((int, float), "integer"),
    ),
    **dict.fromkeys(
        ("temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty"),
        ((int, float), "float32"),
    ),
    "use_mmap": ((bool,), "boolean"),
    "stop": ((list,), "array"),
}  # fmt: skip


def full_name(name: str) -> str:
    """As Ollama 0.33 does: a name without a tag means the tag `latest`, and messages and lists have it added."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def mistyped(options: Mapping[str, Any]) -> str | None:
    """As Ollama 0.33 does: what it answers, with status 500, to an option of the wrong type; unknown ones pass."""
    for name, value in options.items():
        types, wanted = _TYPES.get(name, ((object,), ""))
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types and object not in types):
            return f'option "{name}" must be of type {wanted}'
    return None


@dataclass
class Loaded:
    """A model in memory."""

    name: str
    options: Mapping[str, Any]
    window: int

    @property
    def batch(self) -> int:
        """As Ollama 0.33 does: how many tokens a text to embed may have, whatever the window is."""
        return min(int(self.options.get("num_batch") or _BATCH), self.window)


@dataclass
class Runners:
    """The models in memory, and every load there was."""

    loads: list[Loaded] = field(default_factory=list)
    _loaded: dict[str, Loaded] = field(default_factory=dict)

    def load(self, name: str, options: Mapping[str, Any], parameters: str, longest: int) -> Loaded:
        """As Ollama 0.33 does: with the request's options, else its Modelfile's; anew if the loaded ones are others."""
        wanted = {option: options[option] for option in _LOADING if option in options}
        known = self._loaded.get(name)
        if known is None or known.options != wanted:
            own = re.search(r"^num_ctx\s+(\d+)", parameters, re.MULTILINE)
            asked = wanted.get("num_ctx") or (own and own[1]) or DEFAULT_WINDOW
            known = self._loaded[name] = Loaded(name, wanted, min(int(asked), longest))
            self.loads.append(known)
        return known

    def running(self) -> list[Loaded]:
        """What is in memory."""
        return list(self._loaded.values())


def limit_of(options: Mapping[str, Any], window: int) -> int | None:
    """As Ollama 0.33 does: 0 tokens are no limit, and a negative number or none means ten windows."""
    limit = int(options.get("num_predict", -1))
    return None if limit == 0 else 10 * window if limit < 0 else min(limit, 10 * window)


def fitting(
    messages: Sequence[Mapping[str, Any]], window: int, size: Callable[[Sequence[Mapping[str, Any]]], int]
) -> list[Mapping[str, Any]]:
    """As Ollama 0.33 does: the newest messages that fit, and every system message; the last one in any case."""
    for first in range(len(messages)):
        left = [message for message in messages[:first] if message["role"] == "system"] + list(messages[first:])
        if size(left) <= window:
            break
    return left


def cut(tokens: list[str], window: int, keep: int = _KEEP) -> list[str]:
    """As Ollama 0.33 does: a prompt that is too long keeps its beginning and so much of its end that half fits."""
    if len(tokens) <= window - 1:
        return tokens
    limit = window - max((window - keep) // 2, 1)
    return tokens[:keep] + tokens[len(tokens) - (limit - keep) :]


def until_loop(pieces: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str] | None]:
    """As Ollama 0.33 does: the pieces until one has come again thirty times, blanks apart; then `None`, and no more."""
    last, repeats = "", 0
    for kind, piece in pieces:
        repeats = repeats + 1 if piece.strip() == last else 0
        last = piece.strip()
        if repeats > _REPEATS:
            yield None
            return
        yield kind, piece
