"""Raw UTF-8 text: bytes in, text out."""

from __future__ import annotations

import codecs

__all__ = ["TextDecoder"]

_Incremental = codecs.getincrementaldecoder("utf-8")


class TextDecoder:
    """Decodes one stream of text without framing.

    A character whose bytes are split between two pieces is held back until it is whole; bytes that are not UTF-8
    become U+FFFD. Nothing else is touched: newlines and spaces are content.
    """

    __slots__ = ("_decode",)

    def __init__(self) -> None:
        self._decode = _Incremental("replace").decode

    def feed(self, data: bytes) -> str:
        """The text that these bytes complete; may be empty."""
        return self._decode(data)

    def close(self) -> str:
        """The body has ended: U+FFFD for a character that never became whole, else nothing."""
        return self._decode(b"", True)
