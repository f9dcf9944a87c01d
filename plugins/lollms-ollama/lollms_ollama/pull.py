"""Downloading a model: `/api/pull` as a stream of progress."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass

from lollms_core import Chunk, GenerationRequest, PullProgress
from lollms_core.http import HTTPStream

__all__ = ["PullRequest", "PullStream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest(GenerationRequest):
    """A download, in the form in which the backend's streams are asked for."""


class PullStream:
    """The steps of one download. Iterate it once, with `for` or with `async for`.

    A cancelled download ends; what is already there stays on the server, and the next one goes on from it.
    """

    def __init__(self, stream: HTTPStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[PullProgress]:
        with closing(self._stream):
            for chunk in self._stream:
                if (step := _progress(chunk)) is not None:
                    yield step

    async def __aiter__(self) -> AsyncIterator[PullProgress]:
        async with aclosing(self._stream):
            async for chunk in self._stream:
                if (step := _progress(chunk)) is not None:
                    yield step


def _progress(chunk: Chunk) -> PullProgress | None:
    """`None` for the record that says that it was cancelled."""
    if chunk.finish_reason is not None:
        return None
    sizes = chunk.metadata or {}
    return PullProgress(chunk.text, sizes.get("completed"), sizes.get("total"))
