"""`HTTPBackend`: what backends that talk to a server derive from.

A subclass describes its protocol without IO; sync and async, retries, timeouts and closing are done here, once:

    class ShoutServer(HTTPBackend):
        default_address = "http://localhost:8000"

        def open_stream(self, request):
            return StreamCall(request=HTTPRequest(path="/shout", json={"text": request.prompt}), decoder=ShoutDecoder)
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from lollms_core._bridges import processes
from lollms_core._bridges.threads import iterate_in_thread, run_in_thread
from lollms_core.contract.backend import ALL_HOOKS, Backend
from lollms_core.contract.errors import (
    BackendError,
    CallCancelledError,
    ClientClosedError,
    ConfigurationError,
    ContractError,
    LollmsError,
    a_kind,
)
from lollms_core.contract.hookspecs import hookimpl
from lollms_core.contract.pending import Pending
from lollms_core.contract.types import BackendSettings, CancelToken, Chunk, CloseRequest, GenerationRequest, Request
from lollms_core.http import _driver as driver
from lollms_core.http._address import Address
from lollms_core.http._environment import Environment
from lollms_core.http._exchange import (
    Exchange,
    HTTPRequest,
    StreamCall,
    broken,
    checked_headers,
    checked_request,
    wrong_value,
)
from lollms_core.http._failures import status_error
from lollms_core.http._retry import Retries
from lollms_core.http._secrets import Secrets, decoded, queried, userinfo
from lollms_core.http._stops import Stops

if TYPE_CHECKING:
    from lollms_core.http._aio import AsyncTransport
    from lollms_core.http._sync import SyncTransport

__all__ = ["HTTPBackend", "HTTPCall", "HTTPStream"]

T = TypeVar("T")


_PLACEHOLDERS = frozenset(
    {
        "dummy", "empty", "fake", "key", "lm-studio", "localhost", "lollms", "no-key", "none", "not-needed", "null",
        "ollama", "openai", "sk-no-key-required", "test", "token", "unused", "vllm",
    }
)  # fmt: skip
"""What people pass where a key is asked for and none is needed. Hidden, it would make sentences unreadable."""


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
    nonblocking = ALL_HOOKS

    def __init__(self, settings: BackendSettings) -> None:
        super().__init__(settings)
        self._check_names()
        self._transports: dict[str, SyncTransport | AsyncTransport | None] = {}
        self._stops = Stops()
        self._lock = processes.Lock()
        self._found: Environment | None = None
        self._closed = False

    def _check_names(self) -> None:
        """Raise `ContractError` for names of the wrong type: a text in place of a tuple is read letter by letter."""
        names: Any = self.key_variables
        address: Any = self.default_address
        variable: Any = self.address_variable
        problem = ""
        if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
            problem = f"key_variables is {a_kind(names)}, not a tuple of names (one name needs a comma: ('NAME',))"
        elif not isinstance(address, str):
            problem = f"default_address is {a_kind(address)}, not a str"
        elif variable is not None and not isinstance(variable, str):
            problem = f"address_variable is {a_kind(variable)}, not a str"
        elif isinstance(getattr(type(self), "address", None), str):
            problem = "address is a str, where a parsed one is due: the server's address belongs in default_address"
        if problem:
            raise ContractError(f"the {self.settings.format} format: its {problem}", format=self.settings.format)

    # --- what subclasses say -----------------------------------------------------------------------------------

    def open_stream(self, request: GenerationRequest) -> Exchange[StreamCall] | StreamCall:
        """How to ask for an answer: a generator, which may yield requests to ask something else first.

        Where there is nothing to ask, it may as well be a plain function that returns the `StreamCall`.
        """
        raise broken("is missing: a method that gives a StreamCall is due", "open_stream", self.settings.format)

    def revise(self, request: GenerationRequest, call: StreamCall, error: LollmsError) -> Exchange[StreamCall | None]:
        """How to ask instead, after `error` came before the first chunk. `None`: there is no other way.

        For a server that refuses one parameter: ask again without it. Asked again for each error; a chain of eight
        revisions is the longest.
        """
        yield from ()
        return None

    def farewell(self, request: GenerationRequest) -> HTTPRequest | None:
        """What asks the server to end an answer that is no longer wanted, where closing the connection does not.

        It is sent while the answer is running; then the answer is read to its end, for two seconds at most.
        """
        return None

    def error_from(self, status: int, headers: Mapping[str, str], body: bytes) -> LollmsError:
        """The error for a response whose status is not a success."""
        return status_error(status, headers, body, where=str(self.address), key_hint=self.key_hint())

    def unreachable_hint(self) -> str:
        """What to do when nobody listens at the address; one or two sentences."""
        return f"Start the server, or check {self.address_place}."

    @property
    def address_place(self) -> str:
        """What says where the server is, for messages: `host_address`, or the environment variable."""
        named = self.address_variable if os.environ.get(self.address_variable or "", "").strip() else None
        return "host_address" if self.settings.host_address or named is None else named

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
        try:
            return Address.parse(self._text_of("base_address"))
        except ConfigurationError as error:
            if self.address_place != "host_address":
                error.hint = f"The variable {self.address_place} says so. {error.hint}"
            raise

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
        if not self.key and self.address.credentials:
            return f"Check the user name and the password in {self.address_place}."
        variables = " or ".join(self.key_variables)
        where = f"service_key, or set {variables}" if variables else "service_key"
        return f"Check the key that was passed as {where}." if self.key else f"Pass a key as {where}."

    def ask(self, exchange: Exchange[T], request: Request) -> Pending[T]:
        """Run an exchange of whole responses, with retries, when its result is waited for or awaited.

        What a hook that gives a value returns. `request` is the hook's: cancelling it ends the exchange.

        Raises:
            ContractError: `exchange` is no generator, such as the method itself that would make one, or `request` is
                none of a hook's.
        """
        if not isinstance(exchange, Generator):
            raise self._no_exchange(exchange)
        if not isinstance(cast("Any", request), Request):
            raise wrong_value(request, "the request of the hook", "ask", self.settings.format, did="was given")
        return HTTPCall(self, exchange, request.cancel)

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

    @property
    def _environment(self) -> Environment:
        # Not a cached property: up to Python 3.11 these have a lock, which a forked child might find taken.
        if self._found is None:
            self._found = Environment.find(self.address, self.settings.verify_ssl_certificate)
        return self._found

    def _make_sync(self) -> SyncTransport:
        from lollms_core.http._sync import SyncTransport

        return SyncTransport(self.address, **self._transport_settings())

    def _make_async(self) -> AsyncTransport | None:
        # aiohttp knows no SOCKS; the sync transport does, in threads.
        if importlib.util.find_spec("aiohttp") is None or self._environment.is_socks:
            return None
        from lollms_core.http._aio import AsyncTransport

        return AsyncTransport(self.address, **self._transport_settings())

    def _transport_settings(self) -> dict[str, Any]:
        return {
            "environment": self._environment,
            "headers": lambda: checked_headers(self.request_headers(), "request_headers", self.settings.format),
            "timeouts": self.settings.timeouts,
            "stops": self._stops,
            "unreachable_hint": self._text_of("unreachable_hint"),
        }

    @functools.cached_property
    def _policy(self) -> driver.Policy:
        return driver.Policy(
            retries=lambda: Retries(self.settings.max_retries, self.backoff),
            # Here and not only in the end: the error may become the cause of another one.
            error_from=lambda status, headers, body: self._without_secrets(self._refusal(status, headers, body)),
            format=self.settings.format,
        )

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> LollmsError:
        error: Any = self.error_from(status, headers, body)
        if isinstance(error, LollmsError):
            return error
        due = f"a LollmsError for the status {status}"
        wrong = wrong_value(error, due, "error_from", self.settings.format)
        raise wrong from (error if isinstance(error, BaseException) else None)

    def _last_word(self, request: GenerationRequest) -> HTTPRequest | None:
        word: Any = self.farewell(request)
        if word is None:
            return None
        return checked_request(word, "farewell", self.settings.format, due="an HTTPRequest or None")

    def _text_of(self, method: str) -> str:
        """What one of the methods that subclasses override says. Raises `ContractError` if that is no text."""
        said: Any = getattr(self, method)()
        if not isinstance(said, str):
            raise wrong_value(said, "a str", method, self.settings.format)
        return said

    def _no_exchange(self, given: Any) -> ContractError:
        """The error for what `ask` was given in the place of a generator."""
        name = getattr(given, "__name__", "")
        due = f"the generator that `{name}()` makes" if name and callable(given) else "a generator of HTTPRequests"
        return wrong_value(given, due, "ask", self.settings.format, did="was given")

    def _named(self, error: LollmsError) -> LollmsError:
        """The error with what a decoder does not know: the format, where the server is, and what must not be shown."""
        if error.format is None:
            error.format = self.settings.format
        if isinstance(error, BackendError) and (where := str(self.address)) not in error.message:
            error.message = f"{where}: {error.message}"
            error.args = (error.message,)
        return self._without_secrets(error)

    def _without_secrets(self, error: LollmsError) -> LollmsError:
        """The error of a server that repeats what it was sent, without keys and passwords."""
        Secrets(self._secrets()).keep_out_of(error)
        return error

    def _secrets(self) -> Iterator[str]:
        if self.key and self.key.lower() not in _PLACEHOLDERS:
            yield self.key
        for name, value in self.settings.headers.items():
            yield value
            yield value.rpartition(" ")[2]  # without `Bearer`
            if name.lower() == "authorization":
                yield from decoded(value)
        yield from userinfo(self.base_address())
        yield from queried(HTTPBackend.base_address(self))  # as it was written
        # Only what has been found: looking might fail, and nothing has been sent before that.
        if self._found is not None:
            yield from decoded(self._found.authorization)
            yield from userinfo(self._found.proxy)


class HTTPCall(Pending[T]):
    """A value that a server is asked for: with `wait()` over the sync transport, with `await` over the async one."""

    def __init__(self, backend: HTTPBackend, exchange: Exchange[T], cancel: CancelToken) -> None:
        self._backend = backend
        self._exchange = exchange
        self._name = getattr(exchange, "__qualname__", "ask").replace("<locals>.", "")
        """Of the function that made the exchange, for errors about what it yields."""
        self._cancel = cancel

    def wait(self) -> T:
        call = self._backend._sync.call()
        unregister = self._cancel.on_cancel(call.abort)
        try:
            return driver.run(driver.carried_out(self._exchange, call, self._backend._policy, self._name))
        except LollmsError as error:
            raise self._known(error) from error.__cause__
        finally:
            unregister()
            call.end()

    def __await__(self) -> Generator[Any, None, T]:
        return self._in_task().__await__()

    async def _in_task(self) -> T:
        transport = self._backend._async
        if transport is None:
            return await run_in_thread(self.wait, cancel=self._cancel)
        call = transport.call()
        unregister = self._cancel.on_cancel(call.abort)
        try:
            return await driver.arun(driver.carried_out(self._exchange, call, self._backend._policy, self._name))
        except LollmsError as error:
            raise self._known(error) from error.__cause__
        finally:
            unregister()
            call.end()

    def _known(self, error: LollmsError) -> LollmsError:
        if self._cancel.cancelled:
            return CallCancelledError("the call was cancelled", format=self._backend.settings.format)
        return self._backend._named(error)


class HTTPStream:
    """One answer. Iterate it once, with `for` or with `async for`; either is native to its caller.

    Nothing is sent before the first chunk is asked for. Closing it, or dropping it half-way, closes the connection.
    """

    ends_when_cancelled = True

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
                self._achunks = iterate_in_thread(iterate, self._request.cancel)
            else:
                self._achunks = driver.achunks(_plan(self._backend, self._request, transport.call()))
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
    # The first step makes the transport, and is not taken before a chunk is asked for.
    yield from driver.chunks(_plan(backend, request, backend._sync.call()))


def _plan(
    backend: HTTPBackend, request: GenerationRequest, call: driver.Call
) -> Generator[driver.Step | Chunk, Any, None]:
    generation = driver.Generation(
        cancel=request.cancel,
        open=lambda: backend.open_stream(request),
        revise=lambda plan, error: backend.revise(request, plan, error),
        farewell=lambda: backend._last_word(request),
    )
    try:
        yield from driver.answer(generation, call, backend._policy)
    except LollmsError as error:
        backend._named(error)
        raise
