"""Decoders that go around that of the protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lollms_core import MSG_TYPE, Chunk, LollmsError
from lollms_core.http import Decoder
from lollms_core.text import StopFilter

__all__ = ["NotingDecoder", "StopDecoder"]

_TEXT = MSG_TYPE.MSG_TYPE_CHUNK


class StopDecoder(Decoder):
    """Ends the answer before a stop sequence, for servers that take none, or not so many."""

    def __init__(self, inner: Decoder, stop: tuple[str, ...]) -> None:
        self._inner = inner
        self._filter = StopFilter(stop)
        self._stopped = False

    @property
    def finished(self) -> bool:  # type: ignore[override]
        return self._stopped or self._inner.finished

    @property
    def cut(self) -> bool:  # type: ignore[override]
        return self._stopped and not self._inner.finished

    @property
    def whole(self) -> bool:  # type: ignore[override]
        return self._inner.whole

    def feed(self, data: bytes) -> Iterator[Chunk]:
        return self._cut(self._inner.feed(data))

    def close(self) -> Iterator[Chunk]:
        return self._cut(self._inner.close())

    def _cut(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        try:
            yield from self._up_to_stop(chunks)
        except LollmsError:
            # What was held back as the possible beginning of a stop sequence belongs to the text that has arrived.
            if rest := self._filter.flush():
                yield Chunk(rest)
            raise

    def _up_to_stop(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            if chunk.finish_reason is not None:
                if rest := self._filter.flush():
                    yield Chunk(rest)
                yield chunk._replace(finish_reason="stop") if self._filter.stopped else chunk
            elif chunk.type != _TEXT:
                yield chunk
            elif not chunk.text:  # a call of a tool, say: what was held back stands before it
                if rest := self._filter.flush():
                    yield Chunk(rest)
                yield chunk
            else:
                if text := self._filter.feed(chunk.text):
                    yield chunk._replace(text=text)
                if self._filter.stopped:
                    self._stopped = True
                    yield Chunk(finish_reason="stop")
                    return


class NotingDecoder(Decoder):
    """Adds to the closing record what the backend has to say about the answer."""

    def __init__(self, inner: Decoder, note: Mapping[str, Any]) -> None:
        self._inner = inner
        self._note = note

    @property
    def finished(self) -> bool:  # type: ignore[override]
        return self._inner.finished

    @property
    def cut(self) -> bool:  # type: ignore[override]
        return self._inner.cut

    @property
    def whole(self) -> bool:  # type: ignore[override]
        return self._inner.whole

    def feed(self, data: bytes) -> Iterator[Chunk]:
        return map(self._noted, self._inner.feed(data))

    def close(self) -> Iterator[Chunk]:
        return map(self._noted, self._inner.close())

    def _noted(self, chunk: Chunk) -> Chunk:
        if chunk.finish_reason is None:
            return chunk
        return chunk._replace(metadata={**(chunk.metadata or {}), **self._note})
