"""When a failed request is worth repeating, and how long to wait before. Pure: the drivers do the waiting."""

from __future__ import annotations

import random

from lollms_core.contract.errors import APITimeoutError, LollmsError

__all__ = ["MAX_WAIT", "Retries"]

MAX_WAIT = 60.0
"""Seconds. A server that asks for a longer wait gets none: the error is raised, and carries `retry_after`."""

_LONGEST_BACKOFF = 8.0


class Retries:
    """Counts the attempts of one call.

    Args:
        limit: how many repetitions there may be.
        backoff: seconds before the first; doubled each time, up to eight seconds, and varied by a quarter either way
            so that many clients do not come back in the same instant.
    """

    __slots__ = ("_backoff", "_done", "_limit")

    def __init__(self, limit: int, backoff: float) -> None:
        self._limit = limit
        self._backoff = backoff
        self._done = 0

    def wait(self, error: LollmsError) -> float | None:
        """How many seconds to wait before the request is repeated, or `None` if `error` must be raised."""
        if self._done >= self._limit or not _passing(error):
            return None
        self._done += 1
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= MAX_WAIT else None
        longest = min(self._backoff * 2.0 ** (self._done - 1), _LONGEST_BACKOFF)
        return longest * random.uniform(0.75, 1.25)  # noqa: S311 -- spreads load, keeps no secret


def _passing(error: LollmsError) -> bool:
    """Whether it may be over in seconds.

    Nothing listening is `retryable`, but only a person can change it. A server that did not begin to answer within the
    first-token limit may still be working on the request: asking again would double its load.
    """
    if isinstance(error, APITimeoutError) and error.status_code is None:
        return False
    return error.retryable and not isinstance(error.__cause__, ConnectionRefusedError)
