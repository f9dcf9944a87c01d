"""Surrogates: halves of a character that JSON's \\u escapes can tear apart, and that no encoding can carry alone."""

from __future__ import annotations

__all__ = ["joined"]


def joined(text: str) -> str:
    """The text with halves that follow each other joined, and U+FFFD for each that stands alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
