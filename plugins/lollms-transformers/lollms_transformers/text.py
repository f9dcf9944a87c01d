"""Tokens to text while they arrive: nothing held back but an unfinished character."""

from __future__ import annotations

from typing import Any

__all__ = ["IncrementalDecoder"]

_UNFINISHED = "�"
_PATIENCE = 8
"""Tokens after which bytes that still form no character are given up as such."""
_MOST_MISSING = 3
"""Tokens at the end that may yet become a character: UTF-8 has at most four bytes for one."""


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
        new = self._unshown(len(self._tokens))
        if not new.endswith(_UNFINISHED):
            return self._given(len(self._tokens), new) if new else ""
        if len(self._tokens) - self._shown < _PATIENCE:
            return ""
        end = self._end_of_rubbish(new)
        return self._given(end, self._unshown(end))

    def flush(self) -> str:
        """Whatever is left at the end; bytes that form no character become U+FFFD."""
        end = len(self._tokens)
        return self._given(end, self._unshown(end) if self._shown < end else "")

    def _end_of_rubbish(self, new: str) -> int:
        """Up to which token text that ends in bytes without a character is given up, so that no character is cut."""
        end = len(self._tokens)
        for missing in range(_MOST_MISSING, 0, -1):
            tail = self._text(self._tokens[end - missing :])
            if not tail.strip(_UNFINISHED) and self._unshown(end - missing) + tail == new:
                return end - missing
        return end

    def _unshown(self, end: int) -> str:
        """The text of the tokens up to `end` that has not been given out."""
        before = self._text(self._tokens[self._start : self._shown])
        return self._text(self._tokens[self._start : end])[len(before) :]

    def _given(self, end: int, text: str) -> str:
        """Note that the text up to `end` has been given out."""
        self._start, self._shown = self._shown, end
        if self._start > 256:  # keep the list short, it is sliced at every token
            del self._tokens[: self._start]
            self._shown -= self._start
            self._start = 0
        return text

    def _text(self, tokens: list[int]) -> str:
        text: str = self._decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text
