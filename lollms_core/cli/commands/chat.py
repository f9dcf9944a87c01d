"""`lollms chat`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from lollms_core import InvalidRequestError, LollmsError
from lollms_core.cli.conversation import Conversation
from lollms_core.cli.guard import report
from lollms_core.cli.line_reader import LineReader
from lollms_core.cli.options import Choices, connection_options, sampling_options
from lollms_core.cli.session import Session, open_session
from lollms_core.cli.terminal import AnswerPrinter

__all__ = ["command"]


@click.command(
    epilog="""
\b
Examples:
  lollms chat
  lollms chat -f transformers -m ./my-model --system "Answer in one sentence."
  printf 'My name is Ada.\\nWhat is my name?\\n' | lollms chat
"""
)
@click.option("--show-reasoning", is_flag=True, help="Print reasoning on stderr when stdout is not a terminal.")
@sampling_options
@connection_options
def command(show_reasoning: bool, choices: Choices) -> None:
    """Talk with a model, turn by turn.

    Ctrl-C stops an answer, Ctrl-D leaves, /help lists the commands. Text between two lines of three double quotes
    is one message. From a pipe, every line is a message, and the first error ends the conversation.
    """
    with open_session(choices) as session:
        reader = LineReader()
        chat = _Chat(session, show_reasoning)
        if reader.interactive:
            click.echo(
                f"Chatting with {session.subject}. Ctrl-C stops an answer, Ctrl-D leaves, /help helps.", err=True
            )
        with reader.history():
            chat.run(reader)


class _Command(NamedTuple):
    run: Callable[[_Chat, str], None]
    usage: str
    summary: str


class _Chat:
    """The loop, and what its commands do."""

    def __init__(self, session: Session, show_reasoning: bool) -> None:
        self._session = session
        self._show_reasoning = show_reasoning
        self.conversation = Conversation(session.settings.get("system") or "", session.client.model_name)

    def run(self, reader: LineReader) -> None:
        """Answer until the input ends."""
        while True:
            try:
                line = reader.read()
            except KeyboardInterrupt:
                if not reader.interactive:
                    raise
                click.echo("\n(Ctrl-D leaves)", err=True)
                continue
            if line is None:
                return
            if not line.strip():
                continue
            try:
                if line.startswith("/"):
                    self._obey(line)
                else:
                    self._answer(line, stoppable=reader.interactive)
            except LollmsError as error:
                if not reader.interactive:
                    raise
                report(error)

    def _answer(self, question: str, *, stoppable: bool) -> None:
        conversation = self.conversation
        printer = AnswerPrinter(self._subject(), self._show_reasoning)
        try:
            with printer:
                self._session.client.complete(
                    conversation.ask(question),
                    streaming_callback=printer,
                    system_prompt=conversation.system,
                    model_name=conversation.model,
                )
        except KeyboardInterrupt:
            if not stoppable:
                raise
            click.echo("(stopped)", err=True)
        conversation.answered(question, printer.text)

    def _subject(self) -> str:
        model, format = self.conversation.model, self._session.client.format
        return f"{model} ({format})" if model else format

    def _obey(self, line: str) -> None:
        name, _, argument = line[1:].partition(" ")
        found = _COMMANDS.get(name)
        if found is None:
            raise InvalidRequestError(
                f"there is no command /{name}",
                hint="/help lists them, Ctrl-D leaves. A message that begins with a slash needs a space before it.",
            )
        found.run(self, argument.strip())

    def help(self, _: str) -> None:
        """List the commands."""
        for known in _COMMANDS.values():
            click.echo(f"{known.usage:<16}{known.summary}")

    def reset(self, _: str) -> None:
        """Forget the conversation."""
        self.conversation.reset()
        click.echo("The conversation begins anew.", err=True)

    def system(self, text: str) -> None:
        """Show or set the system prompt."""
        if text:
            self.conversation.system = text
        click.echo(self.conversation.system or "There is no system prompt.", err=True)

    def model(self, name: str) -> None:
        """Show or choose the model."""
        if name:
            self.conversation.model = name
        click.echo(self._subject(), err=True)

    def save(self, argument: str) -> None:
        """Write the conversation to a file."""
        try:
            names = shlex.split(argument)
        except ValueError:
            names = []
        if len(names) != 1:
            raise InvalidRequestError("/save needs the name of one file", hint="/save talk.md, or /save talk.json")
        path = Path(names[0]).expanduser()
        self.conversation.save(path)
        click.echo(f"Saved in {path}.", err=True)


_COMMANDS = {
    "help": _Command(_Chat.help, "/help", "list these commands"),
    "reset": _Command(_Chat.reset, "/reset", "forget what was said"),
    "system": _Command(_Chat.system, "/system [TEXT]", "show or set the system prompt"),
    "model": _Command(_Chat.model, "/model [NAME]", "show or choose the model"),
    "save": _Command(_Chat.save, "/save FILE", "write the conversation: Markdown, or JSON for .json"),
}
