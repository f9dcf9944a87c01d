"""`HTTPBackend`: what backends that talk to a server derive from.

A subclass describes its protocol without IO; sync and async, retries, timeouts and closing are done here, once:

    class ShoutServer(HTTPBackend):
        default_address = "http://localhost:8000"

        def open_stream(self, request):
            yield from ()  # nothing to ask first
            return StreamCall(request=HTTPRequest(path="/shout", json={"text": request.prompt}), decoder=ShoutDecoder)
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from lollms_core.backend import Backend
from lollms_core.errors import BackendError, ClientClosedError, LollmsError
from lollms_core.hookspecs import hookimpl
from lollms_core.http import driver
from lollms_core.http.address import Address
from lollms_core.http.bridge import in_thread
from lollms_core.http.failures import status_error
from lollms_core.http.messages import Exchange, HTTPRequest, StreamCall
from lollms_core.http.retry import Retries
from lollms_core.types import BackendSettings, Chunk, CloseRequest, GenerationRequest

if TYPE_CHECKING:
    from lollms_core.http.aio import AsyncTransport
    from lollms_core.http.sync import SyncTransport

__all__ = ["HTTPBackend", "HTTPStream"]

T = TypeVar("T")


class HTTPBackend(Backend):
    """A backend whose model is behind an HTTP server."""

    default_address: ClassVar[str] = "http://localhost"
    """Where the server is if nobody says so."""
    address_variable: ClassVar[str | None] = None
    """The environment variable that this ecosystem uses for the address, such as `OLLAMA_HOST`."""
    key_variables: ClassVar[tuple[str, ...]] = ()
    """The environment variables that may hold the key; the first that is set counts."""
    backoff: ClassVar[float] = 0.5
    """Seconds before the first repetition of a failed request."""

    def __init__(self, settings: BackendSettings) -> None:
        super().__init__(settings)
        self._transports: dict[str, SyncTransport | AsyncTransport | None] = {}
        self._lock = threading.Lock()
        self._closed = False

    # --- what subclasses say -----------------------------------------------------------------------------------

    def open_stream(self, request: GenerationRequest) -> Exchange[StreamCall]:
        """How to ask for an answer. A generator: it may yield requests to ask something else first."""
        raise NotImplementedError

    def revise(self, request: GenerationRequest, call: StreamCall, error: LollmsError) -> Exchange[StreamCall | None]:
        """How to ask instead, after `error` came before the first chunk. `None`: there is no other way.

        For a server that refuses one parameter: ask again without it. Asked again for each error; a chain of eight
        revisions is the longest.
        """
        yield from ()
        return None

    def farewell(self, request: GenerationRequest) -> HTTPRequest | None:
        """What to tell the server when an answer is no longer wanted and closing the connection does not stop it."""
        return None

    def error_from(self, status: int, headers: Mapping[str, str], body: bytes) -> LollmsError:
        """The error for a response whose status is not a success."""
        return status_error(status, headers, body, where=str(self.address), key_hint=self.key_hint())

    def unreachable_hint(self) -> str:
        """What to do when nobody listens at the address; one or two sentences."""
        return "Start the server, or check host_address."

    def base_address(self) -> str:
        """The server's address: the client's `host_address`, else the environment's, else the default."""
        if self.settings.host_address:
            return self.settings.host_address
        found = os.environ.get(self.address_variable, "") if self.address_variable else ""
        return found.strip() or self.default_address

    def request_headers(self) -> dict[str, str]:
        """The headers of every request: the key as `Authorization: Bearer`, then the client's own. Asked once."""
        headers = {}
        key = self.key
        if key:
            headers["Authorization"] = f"Bearer {key}"
        headers.update(self.settings.headers)
        return headers

    # --- what subclasses use -----------------------------------------------------------------------------------

    @functools.cached_property
    def address(self) -> Address:
        """The server's address, parsed once. `str()` gives it without credentials. Raises `ConfigurationError`."""
        return Address.parse(self.base_address())

    @property
    def key(self) -> str | None:
        """The key, from the client or the environment. A secret: keep it out of messages."""
        if self.settings.api_key is not None:
            return self.settings.api_key.get_secret_value().strip()
        for name in self.key_variables:
            if value := os.environ.get(name, "").strip():
                return value
        return None

    def key_hint(self) -> str:
        """What to do about a key that is missing or not accepted."""
        variables = " or ".join(self.key_variables)
        where = f"service_key, or set {variables}" if variables else "service_key"
        return f"Check the key that was passed as {where}." if self.key else f"Pass a key as {where}."

    def run(self, exchange: Exchange[T]) -> T:
        """Run a conversation of whole responses, blocking, with retries, and return its result."""
        call = self._sync.call()
        try:
            return driver.run(exchange, call, _Talk(self))
        except LollmsError as error:
            raise self._named(error) from error.__cause__
        finally:
            call.close()

    # --- hooks -------------------------------------------------------------------------------------------------

    @hookimpl
    def generate(self, request: GenerationRequest) -> HTTPStream:
        """The answer, as a stream that sync and async callers iterate natively. Nothing is sent before that."""
        return HTTPStream(self, request)

    @hookimpl
    def close(self, request: CloseRequest) -> None:
        """Close every connection that is idle; those in use close with their streams."""
        with self._lock:
            self._closed = True
            transports = list(self._transports.values())
        for transport in transports:
            if transport is not None:
                transport.close()

    # --- inside ------------------------------------------------------------------------------------------------

    @property
    def _sync(self) -> SyncTransport:
        return cast("SyncTransport", self._transport("sync", self._make_sync))

    @property
    def _async(self) -> AsyncTransport | None:
        """`None` without the extra."""
        return cast("AsyncTransport | None", self._transport("async", self._make_async))

    def _transport(
        self, kind: str, make: Callable[[], SyncTransport | AsyncTransport | None]
    ) -> SyncTransport | AsyncTransport | None:
        """The one transport of its kind, also when two threads ask for it first."""
        try:
            return self._transports[kind]
        except KeyError:
            with self._lock:
                if self._closed:
                    raise ClientClosedError("this client has been closed") from None
                if kind not in self._transports:
                    self._transports[kind] = make()
                return self._transports[kind]

    def _make_sync(self) -> SyncTransport:
        from lollms_core.http.sync import SyncTransport

        return SyncTransport(self.address, **self._transport_settings())

    def _make_async(self) -> AsyncTransport | None:
        if importlib.util.find_spec("aiohttp") is None:
            return None
        from lollms_core.http.aio import AsyncTransport

        return AsyncTransport(self.address, **self._transport_settings())

    def _transport_settings(self) -> dict[str, Any]:
        return {
            "headers": self.request_headers,
            "verify": self.settings.verify_ssl_certificate,
            "timeouts": self.settings.timeouts,
            "unreachable_hint": self.unreachable_hint(),
        }

    def _named(self, error: LollmsError) -> LollmsError:
        """The error with what a decoder does not know: the format, where the server is, and what must not be shown."""
        if error.format is None:
            error.format = self.settings.format
        if isinstance(error, BackendError) and (where := str(self.address)) not in error.message:
            _reword(error, f"{where}: {error.message}")
        return self._without_key(error)

    def _without_key(self, error: LollmsError) -> LollmsError:
        """The error of a server that repeats the key, without it."""
        key = self.key or ""
        if len(key) > 3 and (shown := _hidden(error.message, key)) != error.message:
            _reword(error, shown)
        return error


def _hidden(text: str, key: str) -> str:
    text = text.replace(key, "***")
    # An excerpt, which is what messages end with, may end in the middle of it.
    cut = text.removesuffix("…")
    for size in range(len(key) - 1, 3, -1):
        if cut.endswith(key[:size]):
            return f"{cut[:-size]}***"
    return text


def _reword(error: LollmsError, message: str) -> None:
    error.message = message
    error.args = (message,)


class _Talk:
    """A backend, as the drivers see it."""

    def __init__(self, backend: HTTPBackend) -> None:
        self._backend = backend

    def retries(self) -> Retries:
        return Retries(self._backend.settings.max_retries, self._backend.backoff)

    def error_from(self, status: int, headers: Mapping[str, str], body: bytes) -> LollmsError:
        # Here and not only in the end: the error may become the cause of another one.
        return self._backend._without_key(self._backend.error_from(status, headers, body))


class _Generation(_Talk):
    """One generation, as the drivers see it."""

    def __init__(self, backend: HTTPBackend, request: GenerationRequest) -> None:
        super().__init__(backend)
        self._request = request
        self.cancel = request.cancel

    def open(self) -> Exchange[StreamCall]:
        return self._backend.open_stream(self._request)

    def revise(self, call: StreamCall, error: LollmsError) -> Exchange[StreamCall | None]:
        return self._backend.revise(self._request, call, error)

    def farewell(self) -> HTTPRequest | None:
        return self._backend.farewell(self._request)


class HTTPStream:
    """One answer. Iterate it once, with `for` or with `async for`; either is native to its caller.

    Nothing is sent before the first chunk is asked for. Closing it, or dropping it half-way, closes the connection.
    """

    def __init__(self, backend: HTTPBackend, request: GenerationRequest) -> None:
        self._backend = backend
        self._request = request
        self._chunks: Iterator[Chunk] | None = None
        self._achunks: AsyncIterator[Chunk] | None = None

    def __iter__(self) -> Iterator[Chunk]:
        if self._chunks is None:
            self._chunks = _iterate(self._backend, self._request)
        return self._chunks

    def __next__(self) -> Chunk:
        return next(iter(self))

    def close(self) -> None:
        """Stop. From any thread; a thread that waits for the next chunk gets the end."""
        if self._chunks is not None:
            try:
                self._chunks.close()  # type: ignore[attr-defined]
            except ValueError:  # it is running, in another thread
                self._request.cancel.cancel()

    def __aiter__(self) -> AsyncIterator[Chunk]:
        if self._achunks is None:
            transport = self._backend._async
            if transport is None:
                iterate = functools.partial(_iterate, self._backend, self._request)
                self._achunks = in_thread(iterate, self._request.cancel.cancel)
            else:
                self._achunks = _aiterate(self._backend, self._request, transport)
        return self._achunks

    async def __anext__(self) -> Chunk:
        return await anext(aiter(self))

    async def aclose(self) -> None:
        """Stop."""
        if self._achunks is not None:
            await self._achunks.aclose()  # type: ignore[attr-defined]


# These are functions, not methods: a stream and its generator that hold one another would wait for the garbage
# collector, and an abandoned stream must close its connection at once.


def _iterate(backend: HTTPBackend, request: GenerationRequest) -> Iterator[Chunk]:
    try:
        yield from driver.chunks(_Generation(backend, request), backend._sync.call())
    except LollmsError as error:
        backend._named(error)
        raise


async def _aiterate(
    backend: HTTPBackend, request: GenerationRequest, transport: AsyncTransport
) -> AsyncGenerator[Chunk, None]:
    async with contextlib.aclosing(driver.achunks(_Generation(backend, request), transport.call())) as stream:
        try:
            async for chunk in stream:
                yield chunk
        except LollmsError as error:
            backend._named(error)
            raise
