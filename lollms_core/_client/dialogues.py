"""Dialogues: several questions to a model that are one task, without IO.

A dialogue is a generator. It yields what to ask, is sent the `Completion`, and returns a value; where a call fails, the
`LollmsError` is thrown in. `client.run` and `client.arun` run the same one.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from lollms_core.contract.errors import CallCancelledError, InvalidAnswerError
from lollms_core.contract.types import Completion, Message

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Ask", "Dialogue", "ask_until_valid"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """One question of a dialogue."""

    content: str | Iterable[Message]
    """A prompt, or a conversation."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of this call alone, in place of those that the dialogue is run with."""


Dialogue: TypeAlias = Generator[Ask, Completion, T]


def ask_until_valid(
    content: str | Iterable[Message], json_schema: Mapping[str, Any] | type[BaseModel], *, attempts: int = 3
) -> Dialogue[Any]:
    """Ask for an answer by a schema; where it does not fit, tell the model what is wrong, and ask again.

    Args:
        content: a prompt, or a conversation.
        json_schema: what the answer must satisfy.
        attempts: how often at most to ask.

    Returns:
        The value, or the object of the pydantic class.

    Raises:
        TypeError: `json_schema` is neither a schema nor a pydantic class.
        InvalidRequestError: it is no valid schema.
        InvalidAnswerError: none of the answers fits, or the model calls a tool; the last text is in `partial_text`.
        CallCancelledError: the call was cancelled.
    """
    from lollms_core.text._json_schema import as_schema

    messages = [Message("user", content)] if isinstance(content, str) else list(content)
    while True:
        attempts -= 1
        try:
            answer = yield Ask(messages, {"json_schema": json_schema})
        except InvalidAnswerError as error:
            if attempts < 1 or not error.partial_text.strip():
                raise
            schema = json.dumps(as_schema(json_schema), ensure_ascii=False)
            wrong = (
                f"That is not valid: {error.problem}. Answer again, with the corrected JSON and nothing else. "
                f"It must satisfy this JSON Schema: {schema}"
            )
            messages = [*messages, Message("assistant", error.partial_text), Message("user", wrong)]
        else:
            if answer.finish_reason == "cancelled":
                raise CallCancelledError("the call was cancelled", partial_text=answer.text)
            if answer.tool_calls:
                names = ", ".join(call.name for call in answer.tool_calls)
                raise InvalidAnswerError(
                    f"the model calls {names} in place of an answer by the schema", partial_text=answer.text
                )
            return answer.parsed
