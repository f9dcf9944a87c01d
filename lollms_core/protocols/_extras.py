"""What an answer in the OpenAI protocol says beyond its text, put together from the pieces that it comes in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lollms_core.http._shapes import objects

__all__ = ["PLAIN_EVENT", "Extras"]

PLAIN_EVENT = frozenset(
    {
        "choices", "usage", "object", "created", "error", "id", "model", "system_fingerprint", "service_tier",
        "obfuscation",
    }
)  # fmt: skip
"""Fields of an event that are read elsewhere, say nothing, or are the same in each event of an answer."""
_READ_OF_EVENT = frozenset({"choices", "usage", "object", "created", "error", "obfuscation"})
_READ_OF_CHOICE = frozenset(
    {
        "index", "delta", "message", "text", "finish_reason", "role", "reasoning", "reasoning_content", "refusal",
    }
)  # fmt: skip


class Extras:
    """Whatever is neither text, reasoning, usage nor finish reason: kept, so that nothing vanishes."""

    def __init__(self) -> None:
        self.tool_calls: list[dict[str, Any]] = []
        """The model's calls of functions, in the protocol's form, put together from their pieces."""
        self._places: dict[int, int] = {}
        self._fields: dict[str, Any] = {}
        self._function_call: dict[str, Any] = {}

    @property
    def calls_something(self) -> bool:
        """Whether the model called a function, in the present form or in the former one."""
        return bool(self.tool_calls or self._function_call)

    @property
    def all_calls(self) -> list[dict[str, Any]]:
        """The model's calls of functions, in either form."""
        return self.tool_calls or ([self._function_call] if self._function_call else [])

    def read_event(self, event: Mapping[str, Any]) -> None:
        """Take the answer's own fields, such as `id` and `system_fingerprint`."""
        for name, value in event.items():
            if name not in _READ_OF_EVENT and value is not None:
                self._fields[name] = value

    def read_choice(self, choice: Mapping[str, Any], part: Mapping[str, Any]) -> None:
        """Take what a choice and its delta have besides text."""
        beside_text = any(part.get(name) for name in ("content", "reasoning", "reasoning_content"))
        for name, value in (*choice.items(), *part.items()):
            if name == "tool_calls":
                # Text Generation Inference gave the call itself in place of a list of one.
                named: set[int] = set()
                for call in objects([value] if isinstance(value, dict) else value):
                    self._add_call(call, named)
            elif name == "content":
                if other := [piece for piece in objects(value) if not _is_text(piece)]:
                    self._fields.setdefault("content_parts", []).extend(other)
            elif name == "function_call" and isinstance(value, dict):
                _merge(self._function_call, {"function": value})
            elif name not in _READ_OF_CHOICE and value is not None and value != []:
                self._fields[name] = _taken(self._fields.get(name), value, beside_text)

    def _add_call(self, piece: Mapping[str, Any], named: set[int]) -> None:
        """Take a piece of a call. `named` are the places that the same event has named: no name comes twice in one."""
        index, id_, name = piece.get("index"), piece.get("id"), _function(piece).get("name")
        place: int | None = None
        if isinstance(index, int):
            place = self._places.get(index)
        elif id_:
            place = next((n for n, call in enumerate(self.tool_calls) if call.get("id") == id_), None)
        elif self.tool_calls:
            place = len(self.tool_calls) - 1
        again = place in named and name and not id_
        if place is None or again or _is_another(self.tool_calls[place], piece):
            place = len(self.tool_calls)
            self.tool_calls.append({})
            if isinstance(index, int):
                self._places[index] = place
        if name:
            named.add(place)
        _merge(self.tool_calls[place], piece)

    def metadata(self) -> dict[str, Any]:
        """All of it, under the protocol's own names."""
        found = {name: _said(value) for name, value in self._fields.items()}
        if self._function_call:
            found["function_call"] = self._function_call["function"]
        if self.tool_calls:
            found["tool_calls"] = self.tool_calls
        return found


class _Words:
    """What a field said, piece by piece: a text that comes in pieces, or a label that each piece has."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.is_label = False
        """What stands beside text describes it; a text of its own stands in its place."""

    def __str__(self) -> str:
        if self.is_label or len(set(self.pieces)) == 1:
            return self.pieces[-1]
        return "".join(self.pieces)


def _taken(known: Any, value: Any, beside_text: bool) -> Any:
    """What is known of a field, with one more piece of it."""
    if isinstance(value, str):
        words = known if isinstance(known, _Words) else _Words()
        if value:
            words.pieces.append(value)
            words.is_label = words.is_label or beside_text
        return words
    # In place: there may be one for each token, as `logprobs` has.
    if isinstance(value, list):
        known = known if isinstance(known, list) else []
        known.extend(value)
        return known
    if isinstance(value, dict):
        known = known if isinstance(known, dict) else {}
        # Whatever stands beside a number or a truth value is a finding, such as a filter's, and no text.
        labels = beside_text or any(isinstance(part, int | float) for part in value.values())
        for name, part in value.items():
            known[name] = _taken(known.get(name), part, labels)
        return known
    return known if value is None else value


def _said(value: Any) -> Any:
    if isinstance(value, _Words):
        return str(value)
    if not isinstance(value, dict):
        return value
    found = {}
    for name, part in value.items():
        found[name] = _said(part)
    return found


def _is_another(call: Mapping[str, Any], piece: Mapping[str, Any]) -> bool:
    """Whether a piece begins another call, though it has the number of one that is known.

    Some servers give every parallel call the number 0. Each begins with a name, and with an id of its own or when the
    arguments of the one before it are complete. But others repeat the name in every piece, or make up an id for each.
    """
    known, said = _function(call), _function(piece)
    if piece.get("id") and call.get("id"):
        return bool(piece["id"] != call["id"] and said.get("name"))
    if not said.get("name") or not known.get("arguments"):
        return False
    if not known.get("name"):
        return False  # its arguments began before its name
    if said["name"] != known["name"]:
        return True
    begins = str(said.get("arguments") or "").lstrip()[:1] == "{"
    return begins and _is_complete(known["arguments"])


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function", call.get("custom"))
    return function if isinstance(function, dict) else {}


def _is_text(part: Mapping[str, Any]) -> bool:
    return "text" in part or "thinking" in part


def _is_complete(arguments: Any) -> bool:
    try:
        json.loads(arguments)
    except (TypeError, ValueError):
        return False
    return True


def _merge(call: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Add a piece of a tool call: its name and its arguments come in pieces, the rest once, or again and again."""
    for name, value in piece.items():
        if name == "index" or value is None:
            continue
        if isinstance(value, dict):
            known = call.get(name)
            call[name] = known = known if isinstance(known, dict) else {}
            for inner, part in value.items():
                known[inner] = _with_piece(inner, known.get(inner), part)
        elif call.get(name) in (None, ""):
            call[name] = value


def _with_piece(name: str, known: Any, part: Any) -> Any:
    if not (isinstance(known, str) and isinstance(part, str)):
        if isinstance(known, dict) and isinstance(part, dict):
            return {**known, **part}
        return known if part is None else part
    return known if part == known and name not in ("arguments", "input") else known + part
