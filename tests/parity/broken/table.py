"""What each broken backend, client or extension must be caught at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lollms_core import Backend, Extension

__all__ = ["BACKENDS", "CLIENTS", "EXTENSIONS", "Case", "broken"]


class Case(NamedTuple):
    """Something broken: the behaviours that must fail for it, and attributes of the test class that shows it."""

    subject: Any
    caught: tuple[str, ...]
    attributes: dict[str, Any]


BACKENDS: dict[str, Case] = {}
"""Broken backends by class name; the format's name is the same."""

CLIENTS: dict[str, Case] = {}
"""Functions that break the client itself, given a `MonkeyPatch`: for what the core does for every backend."""

EXTENSIONS: dict[str, Case] = {}
"""Broken extensions by class name. Their attribute `says` is what the message must say, a regular expression."""


def broken(*caught: str, **attributes: Any) -> Callable[[Any], Any]:
    """Enter a backend into `BACKENDS`, an extension into `EXTENSIONS`, or a function into `CLIENTS`."""

    def enter(subject: Any) -> Any:
        tables = {Backend: BACKENDS, Extension: EXTENSIONS, object: CLIENTS}
        kind = subject if isinstance(subject, type) else type(subject)
        table = next(table for base, table in tables.items() if issubclass(kind, base))
        table[subject.__name__] = Case(subject, caught, attributes)
        return subject

    return enter
