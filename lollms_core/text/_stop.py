"""Stop sequences over a stream, for backends that cannot stop by themselves."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopFilter"]


class StopFilter:
    """Passes a stream of text on, up to the first occurrence of any stop sequence.

    The output does not depend on how the text is cut into pieces: all pieces together give the text up to the
    smallest index at which a stop sequence begins, or all of it if there is none. Only text that may still turn out
    to be the beginning of a stop sequence is held back. The work is linear in the text for each stop sequence.
    """

    __slots__ = ("_cut", "_held", "_matchers", "_seen", "stopped")

    stopped: bool
    """A stop sequence has been found; whatever is fed from now on is dropped."""

    def __init__(self, stops: Sequence[str]) -> None:
        """`stops`: the sequences; empty ones mean nothing. Without any, `feed` returns its argument."""
        if isinstance(stops, str):
            raise TypeError("stops must be a sequence of strings, not one string")
        self._matchers = [_Matcher(stop) for stop in dict.fromkeys(stops) if stop]
        self._held = ""
        self._seen = 0  # characters fed so far
        self._cut: int | None = None  # where the earliest sequence known so far begins
        self.stopped = False

    def feed(self, text: str) -> str:
        """The text that is now known to belong to the output. Empty once `stopped`."""
        if self.stopped:
            return ""
        if not self._matchers:
            return text
        held_from = self._seen - len(self._held)
        self._seen += len(text)
        pending = self._seen
        for matcher in self._matchers:
            if matcher.begins is None:
                matcher.feed(text, self._seen)
            if matcher.begins is not None:
                self._cut = matcher.begins if self._cut is None else min(self._cut, matcher.begins)
            else:
                pending = min(pending, self._seen - matcher.matched)
        if self._cut is not None and self._cut <= pending:
            # No sequence that began earlier can still be completed.
            self.stopped = True
            pending = self._cut
        held = self._held + text
        keep = pending - held_from
        self._held = "" if self.stopped else held[keep:]
        return held[:keep]

    def flush(self) -> str:
        """The text that was held back, when the stream has ended. Call it once."""
        held, self._held = self._held, ""
        if self._cut is None or self.stopped:
            return held
        self.stopped = True
        return held[: self._cut - (self._seen - len(held))]


class _Matcher:
    """Knuth-Morris-Pratt for one sequence: how much of it the text fed so far ends with."""

    __slots__ = ("begins", "fallback", "matched", "stop")

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.matched = 0
        self.begins: int | None = None
        """Index of the first occurrence in the whole text, once found."""
        self.fallback = _borders(stop)

    def feed(self, text: str, seen: int) -> None:
        """Advance over `text`, which ends at index `seen` of the whole."""
        stop, fallback, matched = self.stop, self.fallback, self.matched
        first, length = stop[0], len(stop)
        position, end = 0, len(text)
        while position < end:
            if matched == 0:
                position = text.find(first, position)
                if position < 0:
                    break
            character = text[position]
            while matched and stop[matched] != character:
                matched = fallback[matched - 1]
            if stop[matched] == character:
                matched += 1
            position += 1
            if matched == length:
                self.begins = seen - end + position - length
                break
        self.matched = matched


def _borders(stop: str) -> list[int]:
    """For each prefix of `stop`: the length of its longest proper prefix that is also its suffix."""
    borders = [0] * len(stop)
    length = 0
    for index in range(1, len(stop)):
        while length and stop[index] != stop[length]:
            length = borders[length - 1]
        if stop[index] == stop[length]:
            length += 1
        borders[index] = length
    return borders
