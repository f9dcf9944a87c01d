"""What `lollms chat` does with a message: answer it, and remember both."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import cast

from lollms_core import Completion, ImageError, LollmsError, Message
from lollms_core._cli.answers import AnswerPrinter, explain_end
from lollms_core._cli.completion import in_time
from lollms_core._cli.session import Session
from lollms_core._cli.transcript import Conversation

__all__ = ["Talk"]


class Talk:
    """A conversation with somebody who types, or with a pipe."""

    def __init__(self, session: Session, show_reasoning: bool) -> None:
        self._session = session
        self._show_reasoning = show_reasoning
        self.conversation = Conversation(session.settings.get("system") or "", session.client.model_name)

    @property
    def subject(self) -> str:
        """Who answers."""
        model, format = self.conversation.model, self._session.client.format
        return f"{model} ({format})" if model else format

    def ask(self, text: str) -> None:
        """Answer what was typed."""
        self._answer(self.conversation.ask(text))

    def ask_again(self) -> None:
        """Answer the last question once more."""
        self._answer(self.conversation.ask_again())

    def _answer(self, messages: Sequence[Message]) -> None:
        printer = AnswerPrinter(self.subject, self._show_reasoning)
        try:
            with printer:
                completion = self._session.client.complete(
                    messages,
                    streaming_callback=printer,
                    system_prompt=self.conversation.system,
                    model_name=self.conversation.model,
                    think=self._session.settings.get("think"),
                )
        except LollmsError:
            raise  # a question that ended in an error was not answered
        except BaseException:
            self.conversation.answered(printer.text)
            raise
        self.conversation.answered(printer.text)
        if isinstance(completion, Completion):
            explain_end(completion, self.subject)

    def attach(self, names: Iterable[str]) -> None:
        """Put images beside the next question.

        Raises:
            ImageError: the format takes none, or one of them is none.
        """
        from lollms_core.images import load_images

        names = list(names)
        if names and not self._session.client.backend.capabilities.vision:
            raise ImageError(f"the {self._session.client.format} format does not take images")
        self.conversation.images += load_images(names)

    def models(self) -> list[str]:
        """The models that could be chosen; none, where that takes long to learn."""
        return self._models

    @functools.cached_property
    def _models(self) -> list[str]:
        return in_time(lambda: cast("list[str]", self._session.client.list_models()))
