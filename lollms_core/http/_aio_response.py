"""A response over aiohttp.

What is used below aiohttp's documented face, why, and the test that fails when it changes (all in
`tests/http/test_below_aiohttp.py`):

- `StreamReader.set_exception(None)` in `AsyncResponse._rescued`: aiohttp drops what has arrived once a connection has
  failed.
- `Connection.protocol.closed`: a reader of a body whose chunked encoding is wrong is not told; aiohttp only closes the
  connection.
- `TCPConnector._factory` and `ResponseHandler`, in `lollms_core.http._aio`: what is wrong behind a head, in one piece
  with it, makes aiohttp drop the head and all that is good (`tests/http/test_heads.py`). Its
  `set_exception` and `connection_lost`: a chunked encoding that is wrong looks like a connection that breaks
  (`bad_chunks` in `tests/http/test_faults.py`), and what lies unread when one breaks is lost
  (`tests/framing/test_uploads.py`).
- `TCPConnector.connect` and `should_close` of what it returns, in `lollms_core.http._aio`: aiohttp takes what a server
  says out of turn for the answer to the next request.
- `TCPConnector._close`, in `lollms_core.http._aio`: `close` leaves a task behind, which an event loop that is about to
  end complains of.
- `ClientResponse.start` and `Connection.transport` in `Answer`: a server that answers before it has read the request
  keeps the connection open until it has.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import aiohttp

from lollms_core._bridges.limits import wait_for
from lollms_core.contract.errors import IncompleteStreamError, LollmsError, ProtocolError
from lollms_core.contract.types import Timeouts
from lollms_core.http import _sockets as sockets
from lollms_core.http._compression import Decompressor
from lollms_core.http._exchange import Headers
from lollms_core.http._failures import timeout_error
from lollms_core.http._wire import DRAIN_SECONDS, DRAIN_SIZE, ERROR_SECONDS, MAX_BODY, UPLOAD_SIZE

__all__ = ["Answer", "AsyncResponse"]


class Answer(aiohttp.ClientResponse):
    """A response that knows whether it came before the server had the whole request."""

    _cut: asyncio.Transport | None = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        protocol, transport = connection.protocol, connection.transport
        await super().start(connection)
        if transport is not None and (transport.get_write_buffer_size() or self._refuses_upload(transport)):
            self._cut = transport
            protocol.force_close()
            if self.content.is_eof():  # the connection may be in the pool already
                self.reset()
        return self

    def _refuses_upload(self, transport: asyncio.Transport) -> bool:
        """Whether a large request was refused over TLS, whose transport does not know what has not been sent."""
        size = self.request_info.headers.get("Content-Length", "0")
        return self.status >= 400 and int(size) > UPLOAD_SIZE and transport.get_extra_info("ssl_object") is not None

    def reset(self) -> None:
        """Close a connection over which the server has no more to say. Closed as usual, it would stay open until the
        server has taken what is not sent.
        """
        cut, self._cut = self._cut, None
        if cut is not None:
            sockets.abort(cut)


class AsyncResponse:
    """A response whose body is read in pieces."""

    __slots__ = (
        "_answer", "_content", "_deadline", "_decompress", "_loop", "_lost", "_protocol", "_started", "_timed_out",
        "_timeouts", "_timer", "_until_close", "_where", "headers", "status",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        answer: aiohttp.ClientResponse,
        timeouts: Timeouts,
        first_token: float | None,
        where: str,
    ) -> None:
        self.status = answer.status
        self.headers = Headers(answer.headers.items())
        self._loop = loop
        self._answer = answer
        self._content = answer.content
        self._timeouts = timeouts
        self._where = where
        self._until_close = not ({"content-length", "transfer-encoding"} & self.headers.keys())
        self._started = False
        self._timed_out = False
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._decompress: Decompressor | None = None
        self._protocol = None if answer.connection is None else answer.connection.protocol
        self._lost: asyncio.Future[None] | None = getattr(self._protocol, "closed", None)
        if self._lost is not None:
            self._lost.add_done_callback(self._on_lost)
        if first_token is not None:
            self._arm(max(0.001, first_token))

    async def read(self) -> bytes:
        """What has arrived of the body; `b""` at its end. Errors as `SyncResponse.read`."""
        try:
            if not self._started:
                self._decompress = Decompressor.of(self.headers)
            data = await self._next()
            if self._decompress is not None:
                while not (text := self._decompress(data)) and data:
                    data = await self._next()
                data = text
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self.close()
            raise self._failure(error) from error
        except LollmsError:
            self.close()
            raise
        if not data:
            self._disarm()
        return data

    def hurry(self, seconds: float) -> None:
        """All of the answer has come: what may follow is not waited for any longer than this."""
        if self._timeouts.idle is None or self._timeouts.idle > seconds:
            self._timeouts = replace(self._timeouts, idle=seconds)
            self._stop_timer()  # it may be set for much later

    async def _next(self) -> bytes:
        idle = self._timeouts.idle
        if self._started and idle is not None:
            self._deadline = self._loop.time() + idle
            if self._timer is None:
                self._arm(idle)
        try:
            data = await self._content.readany()
            if not data and (lost := self._content.exception()) is not None:  # see `_on_lost`
                raise lost
        except (aiohttp.ClientError, OSError) as error:
            data = self._rescued(error)
        except RuntimeError:  # the connection is being closed, which the content has not been told yet
            raise aiohttp.ClientPayloadError("the connection was lost") from None
        self._deadline = None  # the time that the caller takes for what it got does not count
        if not self._started:
            self._started = True
            self._stop_timer()
        return data

    def _rescued(self, error: Exception) -> bytes:
        """What had arrived before the failure, which aiohttp would drop. The next read meets the failure again."""
        self._content.set_exception(None)  # type: ignore[arg-type]
        data = self._content.read_nowait()
        self._content.set_exception(error)
        if not data:
            raise error
        return data

    def _on_lost(self, lost: asyncio.Future[None]) -> None:
        _seen(lost)  # it reaches the reader by its own way
        # Where the end of the connection is that of the body, aiohttp takes a connection that breaks for the end.
        cut = not self._content.is_eof() or (
            self._until_close and not lost.cancelled() and lost.exception() is not None
        )
        if cut and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))

    def _disarm(self) -> None:
        self._stop_timer()
        if self._lost is not None:
            self._lost.remove_done_callback(self._on_lost)
            if self._lost.done():
                _seen(self._lost)
            else:
                # The connection may break in the pool, too. It serves many responses, and is to hold this only once.
                self._lost.remove_done_callback(_seen)
                self._lost.add_done_callback(_seen)
            self._lost = None

    # One timer serves a whole stream: setting one for each read would cost more than the read.

    def _arm(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._deadline, self._check)

    def _check(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._deadline is None:
            return
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check)
        else:
            self._timed_out = True
            self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def read_all(self, limit: int = MAX_BODY) -> bytes:
        """The whole body. Raises `ProtocolError` if it is larger than `limit` bytes."""
        pieces, size = [], 0
        while data := await self.read():
            pieces.append(data)
            size += len(data)
            if size > limit:
                self.close()
                raise ProtocolError(f"{self._where} sent an answer larger than {limit} bytes")
        return b"".join(pieces)

    async def read_some(self, limit: int) -> bytes:
        """The beginning of the body: what comes soon and without an error, about `limit` bytes at most. Closes."""
        pieces: list[bytes] = []

        async def read() -> None:
            size = 0
            while size < limit and (data := await self.read()):
                pieces.append(data)
                size += len(data)

        # What has come must do: the caller wants it for a message.
        with contextlib.suppress(LollmsError, asyncio.TimeoutError, TimeoutError):
            await wait_for(read(), ERROR_SECONDS)
        self.close()
        return b"".join(pieces)

    async def drain(self) -> None:
        """The end mark has come: read the little that may follow, so that the connection can be used again."""
        self._deadline = None
        # aiohttp's RuntimeError is what reading from a connection gives that it is about to close.
        with contextlib.suppress(aiohttp.ClientError, OSError, ValueError, RuntimeError, asyncio.TimeoutError):
            await wait_for(self._drain(), DRAIN_SECONDS)
        self.close()

    async def _drain(self) -> None:
        size = 0
        while size < DRAIN_SIZE and (data := await self._content.readany()):
            size += len(data)

    def abort(self) -> None:
        """Close the connection under a reader, who gets the end of it as an error."""
        if isinstance(self._answer, Answer):
            self._answer.reset()  # first: a transport of TLS that has been closed twice cannot be asked any more
        self._answer.close()

    def close(self) -> None:
        """Close the connection, unless the body was read to its end and it has been given back."""
        self._disarm()
        self.abort()

    def _failure(self, error: Exception) -> LollmsError:
        if self._timed_out:
            kind = "idle" if self._started else "first_token"
            return timeout_error(kind, getattr(self._timeouts, kind), self._where)
        if getattr(self._protocol, "broken", False):
            return ProtocolError(f"{self._where}: the chunked encoding of the answer is broken")
        return IncompleteStreamError(f"{self._where} closed the connection before its answer was complete")


def _seen(lost: asyncio.Future[None]) -> None:
    """Look at the exception, so that asyncio does not complain that nobody did."""
    if not lost.cancelled():
        lost.exception()
