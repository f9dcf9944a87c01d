"""What holds for one run of the command."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

__all__ = [
    "Origins",
    "State",
    "current_origins",
    "current_state",
    "fresh_state",
    "redacted",
    "say_everything",
    "told_of",
]


@dataclass(frozen=True, slots=True)
class Origins:
    """Where the settings of one client come from."""

    key_place: str = ""
    """Where the key comes from that is sent; empty if the format has found it itself, or there is none."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where settings come from that no option of this command has set."""
    where: str = ""
    """The options of this command that another one needs, too, in order to reach the same server."""
    only_named: bool = False
    """`LOLLMS_API_KEY` and `--api-key-file` are not for this format: another one is chosen."""


@dataclass
class State:
    """What holds for one run of the command."""

    debug: bool = False
    as_json: bool = False
    """The command prints JSON, so its errors are JSON too."""
    hurry: bool = False
    """Somebody pressed Ctrl-C, or gave up on something that hangs: at the end nothing is waited for."""
    so_far: list[str] = field(default_factory=list)
    """The pieces of an answer that will be shown as a whole, if it comes to that."""
    chatting: bool = False
    """Somebody is in a conversation, where commands begin with a slash."""
    origins: Origins = field(default_factory=Origins)
    """Those of the client that was made last."""
    held: list[str] | None = None
    """What is to be told when the answer that is being printed has ended; `None` while there is none."""
    secrets: set[str] = field(default_factory=set)
    """Keys and passwords that were read; they are taken out of everything that is said."""

    def collect(self, piece: str, kind: int) -> None:
        """Keep a piece of an answer; a callback of a generating call."""
        if kind == 0:
            self.so_far.append(piece)


_state = State()
_told_of: ContextVar[Origins | None] = ContextVar("told_of", default=None)


def current_state() -> State:
    """The state of this run. The same in every thread: backends warn and log from threads of their own."""
    return _state


def current_origins() -> Origins:
    """The origins of what is being told."""
    return _told_of.get() or _state.origins


@contextlib.contextmanager
def told_of(origins: Origins) -> Iterator[None]:
    """Inside, in this thread, what is told is about a client whose settings have these origins."""
    token = _told_of.set(origins)
    try:
        yield
    finally:
        _told_of.reset(token)


def say_everything() -> None:
    """Show tracebacks, and the log from the level DEBUG on."""
    _state.debug = True
    logging.getLogger("lollms").setLevel(logging.DEBUG)


def fresh_state() -> State:
    """Begin a run."""
    global _state
    _state = State()
    return _state


def redacted(text: str) -> str:
    """The text without the secrets of this run."""
    for secret in current_state().secrets:
        text = text.replace(secret, "***")
    return text
