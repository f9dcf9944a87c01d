"""A conversation as `lollms chat` keeps it: what was said, with which model, and how it is saved."""

from __future__ import annotations

import json
from pathlib import Path

from lollms_core import InvalidRequestError, Message

__all__ = ["Conversation"]


class Conversation:
    """The messages so far, and what goes with them.

    Args:
        system: the system prompt; empty for none.
        model: the model; `None` leaves it to the client.
    """

    def __init__(self, system: str, model: str | None) -> None:
        self.system = system
        self.model = model
        self.messages: list[Message] = []

    def ask(self, text: str) -> tuple[Message, ...]:
        """The messages to send for a new question. It is remembered once it is `answered`."""
        return (*self.messages, Message("user", text))

    def answered(self, question: str, answer: str) -> None:
        """Remember a question with its answer, or with what there is of it. Without any the question never was."""
        if answer:
            self.messages += [Message("user", question), Message("assistant", answer)]

    def reset(self) -> None:
        """Forget what was said; the system prompt and the model stay."""
        self.messages.clear()

    def save(self, path: Path) -> None:
        """Write it to a new file: JSON messages if its name ends in `.json`, else Markdown.

        Raises:
            InvalidRequestError: the file is there already, or cannot be written.
        """
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(self._as_json() if path.suffix == ".json" else self._as_markdown())
        except FileExistsError:
            raise InvalidRequestError(f"{path} is there already", hint="Choose another name.") from None
        except OSError as error:
            raise InvalidRequestError(f"{path} cannot be written: {error.strerror}") from None

    def _all(self) -> list[Message]:
        return [Message("system", self.system), *self.messages] if self.system else self.messages

    def _as_json(self) -> str:
        messages = [{"role": message.role, "content": message.content} for message in self._all()]
        return json.dumps(messages, ensure_ascii=False, indent=2) + "\n"

    def _as_markdown(self) -> str:
        return "\n".join(f"## {message.role}\n\n{message.content}\n" for message in self._all())
