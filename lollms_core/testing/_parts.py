"""Part honesty: the parts of messages that a backend declares reach the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from lollms_core import Message, Part, ProviderPart, ReasoningPart, TextPart, ToolCall, ToolResult
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting

__all__ = ["Parts"]

_PARTS: Mapping[str, Callable[[str], Part]] = {
    "reasoning": lambda place: ReasoningPart(f"They ask about {place}."),
    "tool_call": lambda place: ToolCall(name="weather", arguments={"city": place}, id="call_1"),
    "tool_result": lambda place: ToolResult(text=f"Rain in {place}.", id="call_1", name="weather"),
    "provider": lambda place: ProviderPart({"type": "conformance", "place": place}),
}
"""Each kind of part, about a place."""


class Parts(Setting):
    """No part of a message is accepted and ignored."""

    @pytest.mark.parametrize("part", _PARTS)
    @behaviour
    def test_part_honesty(self, part: str) -> None:
        if part not in self.capabilities.parts:
            pytest.skip(f"the backend does not declare the part {part}, so the core leaves it out of messages")
        if self._observe is None:
            pytest.skip(f"a {part} need not change a text; an `observe` fixture would let the kit see that it is sent")
        seen: list[Any] = []
        for place in ("Paris", "Paris", "Rome"):
            self.complete(self._conversation(part, place), **self.settings())
            seen.append(self.observed())
        require(
            seen[0] == seen[1],
            f"the `observe` fixture gives {seen[0]!r} and then {seen[1]!r} for two equal calls",
            "every part would seem to be sent. Leave out what differs from call to call by itself.",
        )
        require(
            seen[0] != seen[2],
            f"{part!r} is declared in Capabilities.parts, and two conversations that differ in nothing but their "
            f"{type(_PARTS[part]('')).__name__} send the same: {seen[0]!r}",
            "the model does not learn what it was said to have thought, called or been told. Send the part, or leave "
            "it out of the declaration.",
        )

    def _conversation(self, part: str, place: str) -> list[Message]:
        """A conversation with one part about the place; the others of a call and its result are always the same."""
        parts = {
            name: make(place if name == part else "Oslo")
            for name, make in _PARTS.items()
            if name == part or (name in self.capabilities.parts and {name, part} == {"tool_call", "tool_result"})
        }
        thought = [parts[name] for name in ("reasoning", "provider") if name in parts]
        called = [parts["tool_call"]] if "tool_call" in parts else []
        told = [Message("tool", [parts["tool_result"]])] if "tool_result" in parts else []
        return [
            Message("user", "What is the weather like?"),
            Message("assistant", [*thought, TextPart("I shall see."), *called]),
            *told,
            Message("user", self.prompt),
        ]
