"""The gate: a few basic behaviours run first. Where one of them fails, the others are skipped."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

__all__ = ["Gate"]

_SHUT = pytest.StashKey[str]()
"""Why nothing else is tried in a class."""
_HUNG = pytest.StashKey[bool]()
"""It is because something hung."""


class Gate:
    """Stands before the behaviours of a class."""

    basics: ClassVar[frozenset[str]] = frozenset()
    """The behaviours that run first."""

    basics_first: ClassVar[bool] = True
    """Skip the others where a basic behaviour fails."""

    _home: Any

    def pass_the_gate(self, request: pytest.FixtureRequest) -> None:
        """Skip a behaviour that says nothing because a basic one failed, or that may hang as another one did."""
        self._home = request.node.getparent(pytest.Class)
        stash = self._home.stash
        if not self.basics_first or _SHUT not in stash:
            return
        if stash[_HUNG] or request.node.originalname not in self.basics:
            pytest.skip(f"{stash[_SHUT]}: mend that first")

    def note_failure(self, name: str, *, hung: bool = False) -> None:
        """Shut the gate if it was a basic behaviour that failed, or any that hung: each may take its whole patience."""
        if hung or name in self.basics:
            self.shut_the_gate(name, hung)

    def shut_the_gate(self, name: str, hung: bool) -> None:
        """Nothing else is tried: a behaviour failed that the others stand on, or hung."""
        stash = self._home.stash
        if _SHUT not in stash or (hung and not stash[_HUNG]):
            stash[_SHUT] = f"{name} " + ("hung, as this may" if hung else "failed, without which this says nothing")
            stash[_HUNG] = hung
