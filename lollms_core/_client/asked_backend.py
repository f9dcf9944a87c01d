"""A client's backend, asked in the world of whoever calls, whichever it was written for."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from lollms_core._bridges.loop_thread import LoopThread
from lollms_core._bridges.tasks import await_unless_cancelled, iterate_in_loop, iterate_unless_cancelled
from lollms_core._bridges.threads import iterate_in_thread, run_in_thread
from lollms_core._client.fitting import fitted
from lollms_core._client.hook_checks import value_problem
from lollms_core._client.pipeline import as_lollms_error
from lollms_core._client.registry import nonblocking_hooks, plugin_manager
from lollms_core._client.streams import returning_nothing
from lollms_core.contract.backend import Backend, capabilities_problem
from lollms_core.contract.errors import ClientClosedError, ContractError, LollmsError, a_kind
from lollms_core.contract.pending import Pending
from lollms_core.contract.types import CancelToken, Chunk, CloseRequest, GenerationRequest

__all__ = ["AskedBackend"]

_NO_STREAMS = (str, bytes, Chunk, Mapping, type)
"""What can be iterated and is no stream: a chunk is a tuple."""


_HAVE_VALUES = ("list_models", "model_info", "embed", "list_personalities", "pull_model")
"""Hooks for which nothing is no value. The others may leave their question to tiktoken."""


class AskedBackend:
    """What lies below a client's extensions. Knows nothing of the client, which may be dropped at any time."""

    def __init__(self, backend: Backend, format: str) -> None:
        self.format = format
        self.portal = LoopThread()
        """Where coroutines run for sync callers."""
        self.closed = False
        self._backend = backend
        self._seen = backend.capabilities
        manager = plugin_manager(backend, format)
        self._hooks = manager.hook
        self._nonblocking = nonblocking_hooks(manager)
        self._must_give = frozenset(name for name in _HAVE_VALUES if getattr(manager.hook, name).get_hookimpls())

    @property
    def looks_for_stops(self) -> bool:
        return "stop" in self._backend.capabilities.options

    def check_open(self) -> None:
        """Raise `ClientClosedError` for a client that is closed."""
        if self.closed:
            raise ClientClosedError("the client is closed", format=self.format)

    # --- streams --------------------------------------------------------------------------------------------------

    def open_sync(self, request: GenerationRequest) -> Iterable[Chunk]:
        return self.sync_iterable("generate", self._opened(request), request.cancel)

    async def open_async(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
        if "generate" in self._nonblocking:
            stream = self._opened(request)
        else:
            stream = await run_in_thread(self._opened, request, cancel=request.cancel)
        return self.async_iterator("generate", stream, request.cancel)

    def _opened(self, request: GenerationRequest) -> Any:
        self.check_open()
        stream = self._hooks.generate(request=request)
        if stream is None:
            raise ContractError(f"`generate` of the {self.format} format returned nothing", format=self.format)
        return stream

    def sync_iterable(self, hook: str, stream: Any, cancel: CancelToken) -> Iterable[Any]:
        """What a hook streams, for `for`."""
        if hasattr(stream, "__iter__") and not isinstance(stream, _NO_STREAMS):
            return self._pieces(hook, stream)
        if inspect.isawaitable(stream) or hasattr(stream, "__aiter__"):
            return iterate_in_loop(lambda: self._aiter(hook, stream, cancel), self.portal, cancel)
        raise self._no_stream(hook, stream)

    def async_iterator(self, hook: str, stream: Any, cancel: CancelToken) -> AsyncIterator[Any]:
        """What a hook streams, for `async for`."""
        if getattr(stream, "ends_when_cancelled", False) and hasattr(stream, "__aiter__"):
            pieces: AsyncIterator[Any] = stream.__aiter__()
            return pieces
        if inspect.isawaitable(stream) or hasattr(stream, "__aiter__"):
            return iterate_unless_cancelled(lambda: self._aiter(hook, stream, cancel), cancel)
        if hasattr(stream, "__iter__") and not isinstance(stream, _NO_STREAMS):
            return iterate_in_thread(lambda: self._pieces(hook, stream), cancel)
        raise self._no_stream(hook, stream)

    def _pieces(self, hook: str, stream: Any) -> Iterable[Any]:
        if not inspect.isgenerator(stream):
            pieces: Iterable[Any] = stream
            return pieces
        return returning_nothing(
            stream, lambda problem: ContractError(f"`{hook}` of the {self.format} format {problem}", format=self.format)
        )

    async def _aiter(self, hook: str, stream: Any, cancel: CancelToken) -> AsyncIterator[Any]:
        if inspect.isawaitable(stream):
            stream = await stream
        if not hasattr(stream, "__aiter__"):
            if hasattr(stream, "__iter__") and not isinstance(stream, _NO_STREAMS):
                return iterate_in_thread(lambda: self._pieces(hook, stream), cancel)
            raise self._no_stream(hook, stream)
        pieces: AsyncIterator[Any] = stream.__aiter__()
        return pieces

    def _no_stream(self, hook: str, value: object) -> ContractError:
        pieces = "steps" if hook == "pull_model" else "chunks"
        return ContractError(
            f"`{hook}` of the {self.format} format returned {a_kind(value)}, which is not a stream: "
            f"yield {pieces}, or return an iterator of them",
            format=self.format,
        )

    def fitted(self, request: GenerationRequest) -> GenerationRequest:
        """The request as the backend can take it. Raises and warns as `requests.fitted` does."""
        found = self._backend.capabilities
        if found is not self._seen:  # a backend may learn them late
            if problem := capabilities_problem(found):
                raise ContractError(f"the {self.format} format is not a usable backend: {problem}", format=self.format)
            self._seen = found
        return fitted(request, self._backend)

    # --- values ---------------------------------------------------------------------------------------------------

    def ask_sync(self, hook: str, request: Any) -> Any:
        """What a hook gives; `None` if the backend does not have it."""
        value = getattr(self._hooks, hook)(request=request)
        if inspect.isawaitable(value) and not isinstance(value, Pending):
            value = self.portal.run(value, request.cancel)
        if isinstance(value, Pending):
            value = value.wait()
        return self._checked(hook, request, value)

    async def ask_async(self, hook: str, request: Any) -> Any:
        """The twin of `ask_sync`."""
        ask = getattr(self._hooks, hook)
        if hook in self._nonblocking:
            value = ask(request=request)
        else:
            value = await run_in_thread(lambda: ask(request=request), cancel=request.cancel)
        if inspect.isawaitable(value) and not isinstance(value, Pending):
            value = await await_unless_cancelled(value, request.cancel)
        if isinstance(value, Pending):
            value = await value
        return self._checked(hook, request, value)

    def _checked(self, hook: str, request: Any, value: Any) -> Any:
        problem = value_problem(hook, request, value)
        if value is None and hook in self._must_give:
            problem = "gave nothing: it must return a value, or raise UnsupportedError"
        if problem:
            raise ContractError(f"`{hook}` of the {self.format} format {problem}", format=self.format)
        return value

    def close(self) -> list[Any]:
        """What the hook `close` gives: `None`, or something to be awaited."""
        ended: list[Any] = self._hooks.close(request=CloseRequest())
        return ended

    # --- errors ---------------------------------------------------------------------------------------------------

    def known(self, error: BaseException) -> LollmsError:
        """The error to raise for one of the backend's."""
        return as_lollms_error(error, self.format)

    def complain(self, problem: str) -> ContractError:
        """The error for a breach of the contract by what `generate` yields."""
        return ContractError(f"`generate` of the {self.format} format {problem}", format=self.format)
