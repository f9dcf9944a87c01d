"""Asking the person at the terminal before something that cannot be taken back."""

from __future__ import annotations

import sys

from lollms_core import ConfigurationError
from lollms_core._cli.messages import tell

__all__ = ["confirm"]


def confirm(question: str, *, refused: str, otherwise: str) -> None:
    """Go on only after a yes.

    Args:
        question: without its question mark.
        refused: the error's message after a no.
        otherwise: what to do where nobody can answer.

    Raises:
        ConfigurationError: nobody said yes.
    """
    tell(f"{question}? [y/N]", end=" ")
    answer = sys.stdin.readline()
    if not answer:
        tell("")
        raise ConfigurationError("it was not confirmed", hint=otherwise)
    if answer.strip().lower() not in ("y", "yes"):
        raise ConfigurationError(refused)
