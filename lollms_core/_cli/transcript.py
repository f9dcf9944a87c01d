"""A conversation as `lollms chat` keeps it: what was said, with which model, and how it is saved and loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lollms_core import Image, InvalidRequestError, LollmsError, Message
from lollms_core._cli import whole_files

__all__ = ["Conversation", "is_json"]


def is_json(path: Path) -> bool:
    """Whether a conversation is saved as JSON under this name."""
    return path.suffix.lower() == ".json"


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
        self.images: tuple[Image, ...] = ()
        """What goes with the next question."""
        self._last: Message | None = None
        self._own: dict[Path, str] = {}
        """The files that held this conversation and nothing else when it was shorter, with what they held."""

    def ask(self, text: str) -> tuple[Message, ...]:
        """The messages to send for a new question. It is remembered once it is `answered`."""
        self._last = Message("user", text, self.images)
        return (*self.messages, self._last)

    def ask_again(self) -> tuple[Message, ...]:
        """The messages to send for the last question, as if it had not been answered yet.

        Raises:
            InvalidRequestError: nothing has been asked.
        """
        if self._last is None:
            raise InvalidRequestError("nothing has been asked yet")
        if len(self.messages) >= 2 and self.messages[-2] is self._last:
            del self.messages[-2:]
        return (*self.messages, self._last)

    def answered(self, answer: str) -> None:
        """Remember the last question with its answer, or with what there is of it. Without any it never was."""
        if answer and self._last is not None:
            self.messages += [self._last, Message("assistant", answer)]
            self.images = ()

    def reset(self) -> None:
        """Forget what was said; the system prompt and the model stay."""
        self.messages.clear()
        self.images = ()
        self._last = None
        self._own.clear()

    def load(self, path: Path) -> None:
        """Go on with a conversation that was saved as JSON, in place of this one.

        Raises:
            InvalidRequestError: there is no such file, or it holds something else.
        """
        from lollms_core._client.given_messages import as_message

        try:
            text = path.read_text(encoding="utf-8-sig")
            messages = [as_message(each) for each in json.loads(text)]
        except OSError as error:
            raise InvalidRequestError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError) as error:
            why = error.message if isinstance(error, LollmsError) else "it is not a list of messages"
            raise InvalidRequestError(
                f"{path} is not a saved conversation: {why}", hint="Save conversations that are to be loaded as .json."
            ) from None
        self.reset()
        self.system = "\n\n".join(message.text for message in messages if message.role == "system")
        self.messages = [message for message in messages if message.role != "system"]
        self._last = next((each for each in reversed(self.messages) if each.role == "user"), None)
        if self._as_json() == text:  # else it holds more, which saving would lose
            self._own[path.resolve()] = text

    def save(self, path: Path) -> None:
        """Write it to a file: JSON messages if its name ends in `.json`, else Markdown.

        Raises:
            InvalidRequestError: the file is there already and holds something else, or cannot be written.
        """
        own = path.resolve()
        text = self._as_json() if is_json(path) else self._as_markdown()
        try:
            if self._holds_no_more(own):
                whole_files.replace(own, text)
            else:
                whole_files.create(path, text)
        except FileExistsError:
            raise InvalidRequestError(f"{path} is there already", hint="Choose another name.") from None
        except OSError as error:
            raise InvalidRequestError(f"{path} cannot be written: {error.strerror}") from None
        self._own[own] = text

    def _holds_no_more(self, file: Path) -> bool:
        """Whether a file still holds what this conversation was, so that nothing of somebody else's is lost with it."""
        if file not in self._own or not os.access(file, os.W_OK):
            return False
        try:
            return file.read_text(encoding="utf-8") == self._own[file]
        except (OSError, ValueError):
            return False

    def _all(self) -> list[Message]:
        return [Message("system", self.system), *self.messages] if self.system else self.messages

    def _as_json(self) -> str:
        from lollms_core.images import data_url

        records = []
        for message in self._all():
            record: dict[str, object] = {"role": message.role, "content": message.text}
            if message.images:
                record["images"] = [data_url(image) for image in message.images]
            records.append(record)
        return json.dumps(records, ensure_ascii=False, indent=2) + "\n"

    def _as_markdown(self) -> str:
        return "\n".join(f"## {message.role}\n\n{message.text}\n" for message in self._all())
