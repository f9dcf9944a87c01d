"""Which process this is, without asking the system for each call, and what a forked child must not touch."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["current", "keep_for_good"]

current = 0
"""How many forks lie between this process and the one that imported this module first."""

_inherited: list[Any] = []


def keep_for_good(thing: Any) -> None:
    """Keep what a child has inherited from ever being collected.

    An event loop, or what belongs to one, that ends in the child takes its entries out of an epoll object that the
    child shares with its parent, who would then wait for ever.
    """
    _inherited.append(thing)


def _forked() -> None:
    global current
    current += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
