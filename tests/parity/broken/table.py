"""What each broken backend or client must be caught at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["BACKENDS", "CLIENTS", "Case", "broken"]


class Case(NamedTuple):
    """Something broken: the behaviours that must fail for it, and attributes of the test class that shows it."""

    subject: Any
    caught: tuple[str, ...]
    attributes: dict[str, Any]


BACKENDS: dict[str, Case] = {}
"""Broken backends by class name; the format's name is the same."""

CLIENTS: dict[str, Case] = {}
"""Functions that break the client itself, given a `MonkeyPatch`: for what the core does for every backend."""


def broken(*caught: str, **attributes: Any) -> Callable[[Any], Any]:
    """Enter a class into `BACKENDS`, or a function into `CLIENTS`."""

    def enter(subject: Any) -> Any:
        table = BACKENDS if isinstance(subject, type) else CLIENTS
        table[subject.__name__] = Case(subject, caught, attributes)
        return subject

    return enter
