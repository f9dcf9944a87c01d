"""Which process this is, without asking the system for each call."""

from __future__ import annotations

import os

__all__ = ["current"]

current = 0
"""How many forks lie between this process and the one that imported this module first."""


def _forked() -> None:
    global current
    current += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
