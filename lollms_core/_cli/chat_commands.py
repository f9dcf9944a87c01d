"""What can be said to `lollms chat` itself: the words that begin with a slash."""

from __future__ import annotations

import glob
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import click

from lollms_core import InvalidRequestError
from lollms_core._cli.messages import tell
from lollms_core._cli.screen import columns
from lollms_core._cli.talk import Talk
from lollms_core._cli.transcript import is_json
from lollms_core._cli.wrapping import wrap

__all__ = ["LeaveChat", "command_in", "completions"]


class LeaveChat(Exception):
    """The person wants to go."""


class _Command(NamedTuple):
    run: Callable[[Talk, str], None]
    usage: str
    summary: str
    takes: str = ""
    """What its argument names: a `file` or a `model`."""


def command_in(text: str) -> tuple[Callable[[Talk, str], None], str] | None:
    """The command that a message is, and its argument; `None` for what is to be sent to the model.

    Several lines that begin with a slash are something that was pasted, unless they begin with a command.

    Raises:
        InvalidRequestError: there is no such command.
    """
    if not text.startswith("/"):
        return None
    name, _, argument = text[1:].partition(" ")
    found = _COMMANDS.get(_ALIASES.get(name, name))
    if found is not None:
        return found.run, argument.strip()
    if "\n" in text:
        return None
    raise InvalidRequestError(
        f"there is no command /{name}",
        hint="/help lists them, Ctrl-D leaves. A message that begins with a slash needs a space before it.",
    )


def completions(line: str, models: Callable[[], Iterable[str]]) -> list[str]:
    """What the last word of a line may become: a command, or what the command takes."""
    if not line.startswith("/") or "\n" in line:
        return []
    name, space, argument = line[1:].partition(" ")
    if not space:
        return [f"/{known}" for known in _COMMANDS if known.startswith(name)]
    takes = _COMMANDS[name].takes if name in _COMMANDS else ""
    word = argument.rpartition(" ")[2]
    if takes == "file":
        return _files(word)
    return [model for model in models() if model.startswith(word)] if takes == "model" else []


def _files(word: str) -> list[str]:
    found = sorted(glob.glob(glob.escape(os.path.expanduser(word)) + "*"))
    # A name with a space would need quotes, which shells put in and this does not.
    return [path + "/" if os.path.isdir(path) else path for path in found if " " not in path]


def _help(_: Talk, __: str) -> None:
    width = max(len(known.usage) for known in _COMMANDS.values()) + 2
    for known in _COMMANDS.values():
        text = wrap(known.summary, columns(sys.stdout), column=width, hanging=" " * width)
        click.echo(f"{known.usage:<{width}}{text}")
    closing = (
        "Several lines that are pasted are one message, and so is text between two lines of three double quotes. "
        "Ctrl-C stops an answer, Ctrl-D leaves."
    )
    click.echo(wrap(closing, columns(sys.stdout)))


def _leave(_: Talk, __: str) -> None:
    raise LeaveChat


def _reset(talk: Talk, _: str) -> None:
    talk.conversation.reset()
    tell("Started a new conversation.")


def _retry(talk: Talk, _: str) -> None:
    talk.ask_again()


def _system(talk: Talk, text: str) -> None:
    if text:
        talk.conversation.system = "" if text in ('""', "''") else text
    tell(talk.conversation.system or "There is no system prompt.")


def _model(talk: Talk, name: str) -> None:
    if name:
        talk.conversation.model = name
    tell(talk.subject)


def _image(talk: Talk, argument: str) -> None:
    names = _names(argument)
    if names:
        talk.attach(names)
    count = len(talk.conversation.images)
    if not names and count:
        talk.conversation.images = ()
        tell("The next message goes without an image.")
    elif not names:
        raise InvalidRequestError("/image needs the name of a file", hint="/image photo.jpg")
    else:
        tell(f"{'An image goes' if count == 1 else f'{count} images go'} with your next message.")


def _save(talk: Talk, argument: str) -> None:
    path = _one_file(argument, "/save", "/save talk.md, or /save talk.json")
    if not talk.conversation.messages and not path.exists():
        raise InvalidRequestError("there is nothing to save yet")
    talk.conversation.save(path)
    tell(f"Saved in {path}, as {'JSON' if is_json(path) else 'Markdown'}.")


def _load(talk: Talk, argument: str) -> None:
    path = _one_file(argument, "/load", "/load talk.json, as /save has written it")
    talk.conversation.load(path)
    count = len(talk.conversation.messages)
    tell(f"Loaded {count} message{'' if count == 1 else 's'} from {path}.")


def _one_file(argument: str, command: str, example: str) -> Path:
    names = _names(argument)
    if len(names) != 1:
        raise InvalidRequestError(f"{command} needs the name of one file", hint=example)
    return Path(names[0]).expanduser()


def _names(argument: str) -> list[str]:
    if os.path.isfile(os.path.expanduser(argument)):
        return [argument]  # its name may have spaces, and need no quotes
    try:
        # On Windows a backslash stands between folders, and quotes nothing.
        return (
            [name.strip("\"'") for name in shlex.split(argument, posix=False)]
            if os.name == "nt"
            else shlex.split(argument)
        )
    except ValueError:  # a quote that is not closed
        return []


_COMMANDS = {
    "help": _Command(_help, "/help", "list these commands"),
    "exit": _Command(_leave, "/exit", "leave; so do /quit and /bye"),
    "reset": _Command(_reset, "/reset", "forget what was said; so does /clear"),
    "retry": _Command(_retry, "/retry", "ask the last question again"),
    "image": _Command(_image, "/image FILE", "add an image to the next message; without FILE, take it back", "file"),
    "system": _Command(_system, "/system [TEXT]", 'show or set the system prompt; "" takes it away'),
    "model": _Command(_model, "/model [NAME]", "show or choose the model", "model"),
    "save": _Command(_save, "/save FILE", "write the conversation: Markdown, or JSON for .json", "file"),
    "load": _Command(_load, "/load FILE", "go on with a conversation saved as .json", "file"),
}
_ALIASES = {"?": "help", "bye": "exit", "clear": "reset", "quit": "exit"}
