"""`lollms chat`."""

from __future__ import annotations

import contextlib
import sys

import click

from lollms_core import LollmsError
from lollms_core._cli.chat_commands import LeaveChat, command_in, completions
from lollms_core._cli.history import History, history_path
from lollms_core._cli.interrupts import unannounced
from lollms_core._cli.messages import report, tell
from lollms_core._cli.options import Choices, connection_options, image_option, sampling_options
from lollms_core._cli.reader import Completer, PipeReader, Reader
from lollms_core._cli.screen import is_terminal
from lollms_core._cli.session import Session, open_session
from lollms_core._cli.state import current_state
from lollms_core._cli.talk import Talk

__all__ = ["command"]


@click.command(
    epilog="""
\b
Examples:
  lollms chat
  lollms chat -f ollama -m llava --image photo.jpg
  printf 'I am Ada.\\nWho am I?\\n' | lollms chat
"""
)
@image_option
@click.option("--show-reasoning", is_flag=True, help="Print reasoning on stderr when stdout is not a terminal.")
@sampling_options
@connection_options
def command(images: tuple[str, ...], show_reasoning: bool, choices: Choices) -> None:
    """Talk with a model, turn by turn.

    Ctrl-C stops an answer, Ctrl-D or /exit leaves, /help lists the commands. Several lines that are pasted are one
    message, and so is text between two lines of three double quotes. From a pipe, every line is a message, and the
    first error ends the conversation. --image goes with the first message.
    """
    with open_session(choices) as session:
        talk = Talk(session, show_reasoning)
        talk.attach(images)
        reader = _reader(lambda line: completions(line, talk.models))
        if reader.interactive:
            current_state().chatting = True
            session.look_for_default()
            tell(f"Chatting with {session.subject}. Ctrl-C stops an answer, Ctrl-D leaves, /help helps.")
        with unannounced() if reader.interactive else contextlib.nullcontext():
            _converse(session, talk, reader)


def _converse(session: Session, talk: Talk, reader: Reader) -> None:
    """Answer until the input ends, or somebody wants to go. The first error ends the conversation with a pipe."""
    while True:
        try:
            text = reader.read()
        except KeyboardInterrupt:
            if not reader.interactive:
                raise
            tell("(Ctrl-D leaves)")
            continue
        if text is None:
            return
        try:
            _respond(talk, text)
        except LeaveChat:
            return
        except KeyboardInterrupt:
            if not reader.interactive:
                raise
            current_state().hurry = True  # something may still be loading when the chat ends
            tell("(stopped)")
        except LollmsError as error:
            if not reader.interactive:
                raise
            report(session.explained(error))


def _respond(talk: Talk, text: str) -> None:
    if not text.strip():
        return
    if command := command_in(text):
        run, argument = command
        run(talk, argument)
    else:
        talk.ask(text)


def _reader(complete: Completer) -> Reader:
    """The most comfortable reader that fits standard input and output."""
    if not (sys.stdin.isatty() and is_terminal(sys.stdout)):
        return PipeReader()
    history = History(history_path())
    try:
        from lollms_core._cli.prompt_reader import PromptReader
    except ImportError:
        from lollms_core._cli.line_reader import LineReader

        return LineReader(history, complete)
    return PromptReader(history, complete)
