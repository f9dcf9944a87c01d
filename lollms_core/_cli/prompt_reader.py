"""Reading messages with prompt_toolkit: several lines, history, search with Ctrl-R, completion."""

from __future__ import annotations

from collections.abc import Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.completion import Completer as ToolkitCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER, EditingMode
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import History as ToolkitHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.shortcuts import CompleteStyle

from lollms_core._cli.history import History
from lollms_core._cli.reader import FENCE, Completer, unfenced
from lollms_core._cli.screen import colours_wanted

__all__ = ["PromptReader"]


class PromptReader:
    """Reads messages from a terminal. Enter sends, Alt-Enter begins a new line, a pasted block is one message."""

    interactive = True

    def __init__(self, history: History, complete: Completer) -> None:
        self._history = history
        self._session: PromptSession[str] = PromptSession(
            history=_KeptHistory(history),
            completer=_Words(complete),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,  # a menu would need room below every prompt
            multiline=True,
            prompt_continuation="… ",
            key_bindings=_bindings(),
            editing_mode=EditingMode.EMACS,
            color_depth=None if colours_wanted() else ColorDepth.DEPTH_1_BIT,
        )

    def read(self) -> str | None:
        try:
            text = self._session.prompt("> ")
        except EOFError:
            return None
        text = text.strip("\n")
        self._history.add(text)  # now that the prompt is no more on the screen: it may have something to say
        lines = iter(text.split("\n"))
        return unfenced(lambda _: next(lines, None)) if text.lstrip().startswith(FENCE) else text


def _bindings() -> KeyBindings:
    bindings = KeyBindings()
    writing = has_focus(DEFAULT_BUFFER)  # and not searching the history

    @bindings.add("enter", filter=writing)
    def _send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        body = buffer.text.strip()
        if body.startswith(FENCE) and (len(body) < 2 * len(FENCE) or not body.endswith(FENCE)):
            buffer.newline()  # the fence is still open
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter", filter=writing)
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline()

    return bindings


class _KeptHistory(ToolkitHistory):
    """What was typed in former times; what is typed now is kept elsewhere."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._kept = history

    def load_history_strings(self) -> Iterable[str]:
        return reversed(self._kept.load())

    def store_string(self, string: str) -> None:
        pass


class _Words(ToolkitCompleter):
    def __init__(self, complete: Completer) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor
        word = before.rpartition(" ")[2]
        for found in self._complete(before):
            yield Completion(found, start_position=-len(word))
