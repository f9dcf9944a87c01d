"""Decoders that go around that of the protocol, for what a server does not do itself."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lollms_core import MSG_TYPE, Chunk, UnsupportedOptionWarning
from lollms_core.http import Decoder
from lollms_core.text import StopFilter

__all__ = ["SchemaDecoder", "StopDecoder"]

_TEXT = MSG_TYPE.MSG_TYPE_CHUNK


class StopDecoder(Decoder):
    """Ends the answer before a stop sequence, for servers that take none, or not so many."""

    def __init__(self, inner: Decoder, stop: tuple[str, ...]) -> None:
        self._inner = inner
        self._filter = StopFilter(stop)
        self._stopped = False

    @property
    def finished(self) -> bool:  # type: ignore[override]
        """The driver reads no further then, and closes the connection if the server writes on."""
        return self._stopped or self._inner.finished

    def feed(self, data: bytes) -> Iterator[Chunk]:
        return self._cut(self._inner.feed(data))

    def close(self) -> Iterator[Chunk]:
        return self._cut(self._inner.close())

    def _cut(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            if chunk.finish_reason is not None:
                if rest := self._filter.flush():
                    yield Chunk(rest)
                yield chunk._replace(finish_reason="stop") if self._filter.stopped else chunk
            elif chunk.type != _TEXT:
                yield chunk
            else:
                if text := self._filter.feed(chunk.text):
                    yield chunk._replace(text=text)
                if self._filter.stopped:
                    self._stopped = True
                    yield Chunk(finish_reason="stop")
                    return


class SchemaDecoder(Decoder):
    """Says how a schema was asked for, and warns if the answer shows that the server took no notice of it.

    Many servers accept `response_format` and ignore it. What is checked is cheap and certain: that the answer is JSON,
    of the schema's type, with the properties that it requires.
    """

    def __init__(self, inner: Decoder, schema: Mapping[str, Any], mechanism: str) -> None:
        self._inner = inner
        self._schema = schema
        self._mechanism = mechanism
        self._text: list[str] = []

    @property
    def finished(self) -> bool:  # type: ignore[override]
        return self._inner.finished

    def feed(self, data: bytes) -> Iterator[Chunk]:
        return self._watch(self._inner.feed(data))

    def close(self) -> Iterator[Chunk]:
        return self._watch(self._inner.close())

    def _watch(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            if chunk.type == _TEXT:
                self._text.append(chunk.text)
            if chunk.finish_reason is None:
                yield chunk
                continue
            problem = _mismatch("".join(self._text), self._schema) if chunk.finish_reason == "stop" else ""
            if problem:
                warnings.warn(
                    f"the server did not honour json_schema: {problem}", UnsupportedOptionWarning, stacklevel=2
                )
            yield chunk._replace(metadata={**(chunk.metadata or {}), "json_schema": self._mechanism})


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": (int, float),
    "boolean": bool,
    "null": type(None),
}


def _mismatch(text: str, schema: Mapping[str, Any]) -> str:
    """Why an answer cannot satisfy a schema; empty if nothing speaks against it."""
    # Reasoning may stand in front, in tags that the core takes out.
    try:
        value = json.loads(text.rpartition("</think>")[2])
    except (ValueError, RecursionError):
        return "the answer is not JSON"
    expected = schema.get("type")
    if isinstance(expected, str) and expected in _TYPES and not isinstance(value, _TYPES[expected]):
        return f"the answer is not of type {expected}"
    if isinstance(value, dict):
        missing = [name for name in schema.get("required", ()) if name not in value]
        if missing:
            return f"the answer lacks {', '.join(map(repr, missing))}"
    return ""
