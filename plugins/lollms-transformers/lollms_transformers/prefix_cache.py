"""Key-value caches of earlier sequences, for prompts that begin like one of them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lollms_transformers.kv import Layers

__all__ = ["PrefixCache"]

_Tokens = npt.NDArray[np.int64]


class PrefixCache:
    """The most recently used sequences with their keys and values, within a bound of memory.

    Args:
        limit: bytes; 0 keeps nothing.
        least: tokens that a match must have to be worth anything.
    """

    def __init__(self, limit: int, least: int = 64) -> None:
        self.limit = limit
        self.least = least
        self.size = 0
        """Bytes held."""
        self._entries: OrderedDict[int, tuple[_Tokens, Layers, int]] = OrderedDict()
        self._next = 0

    def __len__(self) -> int:
        return len(self._entries)

    def match(self, tokens: list[int]) -> int:
        """How many of the first tokens a lookup would serve. At least one token is left to compute."""
        _, length = self._best(np.asarray(tokens, dtype=np.int64))
        return length

    def lookup(self, tokens: list[int]) -> tuple[int, Layers | None]:
        """The longest known beginning of `tokens`: its length and its keys and values; `(0, None)` if there is none."""
        key, length = self._best(np.asarray(tokens, dtype=np.int64))
        if key is None:
            return 0, None
        self._entries.move_to_end(key)
        layers = self._entries[key][1]
        return length, [(keys[:, :, :length], values[:, :, :length]) for keys, values in layers]

    def store(self, tokens: list[int], layers: Layers) -> None:
        """Keep the keys and values of `tokens`. Replaces entries that are beginnings of it."""
        size = sum(keys.nbytes + values.nbytes for keys, values in layers)
        if size > self.limit or len(tokens) < self.least:
            return
        new = np.asarray(tokens, dtype=np.int64)
        for key, (old, _, _) in list(self._entries.items()):
            common = _common(old, new)
            if common == len(new):
                self._entries.move_to_end(key)
                return
            if common == len(old):
                self._drop(key)
        while self._entries and self.size + size > self.limit:
            self._drop(next(iter(self._entries)))
        self._entries[self._next] = (new, layers, size)
        self._next += 1
        self.size += size

    def clear(self) -> None:
        self._entries.clear()
        self.size = 0

    def _drop(self, key: int) -> None:
        self.size -= self._entries.pop(key)[2]

    def _best(self, tokens: _Tokens) -> tuple[int | None, int]:
        best, longest = None, self.least - 1
        for key, (old, _, _) in self._entries.items():
            length = min(_common(old, tokens), len(tokens) - 1)
            if length > longest:
                best, longest = key, length
        return (None, 0) if best is None else (best, longest)


def _common(first: _Tokens, second: _Tokens) -> int:
    length = min(len(first), len(second))
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if different.size else length
