"""Surrogates: halves of a character that JSON's \\u escapes can tear apart, and that no encoding can carry alone."""

from __future__ import annotations

__all__ = ["SurrogateJoiner", "joined"]


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


def joined(text: str) -> str:
    """The text with halves that follow each other joined, and U+FFFD for each that stands alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
