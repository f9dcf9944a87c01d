"""Joining the halves of characters that arrive in two events."""

from __future__ import annotations

from lollms_core.contract._surrogates import joined

__all__ = ["SurrogateJoiner"]


class SurrogateJoiner:
    """Joins the halves of characters that a server sends in two events. A half that stays alone becomes U+FFFD."""

    __slots__ = ("held",)

    held: str
    """The first half of a character whose second half has not come, or nothing."""

    def __init__(self) -> None:
        self.held = ""

    def feed(self, text: str) -> str:
        """The text that is whole now."""
        text = self.held + text
        self.held = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            self.held, text = text[-1], text[:-1]
        return joined(text)

    def flush(self) -> str:
        """What was held back, when the stream has ended."""
        held, self.held = self.held, ""
        return joined(held)
