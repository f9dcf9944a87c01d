"""Tokens to text while they arrive: nothing held back but an unfinished character."""

from __future__ import annotations

from typing import Any

__all__ = ["IncrementalDecoder"]

_UNFINISHED = "�"
_LONGEST_CHARACTER = 8
"""Tokens after which bytes that still form no character are given up as such. UTF-8 needs at most four."""


class IncrementalDecoder:
    """Decodes a growing sequence of tokens, for any tokenizer.

    Text is found by decoding a short window with and without the new tokens: decoders may treat the first token of a
    sequence specially (a leading space), so single tokens cannot be decoded on their own.
    """

    __slots__ = ("_decode", "_shown", "_start", "_tokens")

    def __init__(self, tokenizer: Any) -> None:
        self._decode = tokenizer.decode
        self._tokens: list[int] = []
        self._start = 0
        """Where the window begins."""
        self._shown = 0
        """Up to where the tokens' text has been given out."""

    def feed(self, token: int) -> str:
        """The text that is known now and was not before."""
        self._tokens.append(token)
        new = self._unshown()
        if not new or (new.endswith(_UNFINISHED) and len(self._tokens) - self._shown < _LONGEST_CHARACTER):
            return ""
        self._advance()
        return new

    def flush(self) -> str:
        """Whatever is left at the end; bytes that form no character become U+FFFD."""
        new = self._unshown() if self._shown < len(self._tokens) else ""
        self._advance()
        return new

    def _unshown(self) -> str:
        before = self._text(self._tokens[self._start : self._shown])
        return self._text(self._tokens[self._start :])[len(before) :]

    def _advance(self) -> None:
        self._start, self._shown = self._shown, len(self._tokens)
        if self._start > 256:  # keep the list short, it is sliced at every token
            del self._tokens[: self._start]
            self._shown -= self._start
            self._start = 0

    def _text(self, tokens: list[int]) -> str:
        text: str = self._decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text
