"""The HTTP clients below LiteLLM: their time limits, their certificates, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
import threading
from collections.abc import AsyncGenerator
from typing import Any

from lollms_core import BackendSettings, Timeouts
from lollms_litellm.loading import litellm, module
from lollms_litellm.whole import understand_whole

__all__ = ["Clients", "Witness"]

_FOREVER = 7 * 24 * 3600.0
"""LiteLLM takes `None` for its own ten minutes."""
_SLACK = 5.0
"""Our own limits come first: they tell the first token from the next ones."""

_SOON = 0.1
_LONGEST_CLOSE = 5.0

_lock = threading.Lock()
_users: dict[asyncio.AbstractEventLoop, set[int]] = {}
"""Which backends have made calls in which loop: LiteLLM keeps its clients by loop, for all callers together."""


class Clients:
    """What one backend knows about the HTTP clients that LiteLLM makes for it."""

    def __init__(self, settings: BackendSettings) -> None:
        self._settings = settings
        self._own: list[tuple[asyncio.AbstractEventLoop, str | None, Any]] = []
        self._keepers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}

    async def used(self) -> None:
        """Note that a call is made in the running loop, whose connections close with it or with `close`."""
        loop = asyncio.get_running_loop()
        if loop in self._keepers:
            return
        with _lock:
            _users.setdefault(loop, set()).add(id(self))
        keeper = self._keepers[loop] = self._close_with_loop(loop)
        # Begun, so that the loop closes it on its way out, as it does with every async generator that is still open.
        await anext(keeper)

    async def _close_with_loop(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._keepers.pop(loop, None)
            own = [client for known, _, client in self._own if known is loop]
            self._own = [each for each in self._own if each[0] is not loop]
            for client in own:
                with contextlib.suppress(Exception):  # the connection may already be gone
                    await client.close()
            if self._leave(loop):
                await _close_clients_of_running_loop()

    def _leave(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Note that this backend is done with a loop; whether it was the last one there."""
        with _lock:
            users = _users.get(loop, set())
            users.discard(id(self))
            if not users:
                _users.pop(loop, None)
            return not users

    @staticmethod
    def timeout(timeouts: Timeouts) -> Any:
        """LiteLLM's `timeout`: the connect limit, and a silence that is longer than both of the other limits.

        For providers other than OpenAI, Azure and Bedrock LiteLLM uses the second number for everything.
        """
        waits = (timeouts.first_token, timeouts.idle)
        silence = _FOREVER if None in waits else max(wait for wait in waits if wait is not None) + _SLACK
        return module("httpx").Timeout(silence, connect=_FOREVER if timeouts.connect is None else timeouts.connect)

    def unverified(self, provider: str, api_base: str | None, key: str | None) -> dict[str, Any]:
        """Arguments for a certificate check other than the usual: none, or against a CA bundle of the user's.

        LiteLLM's handlers take `ssl_verify`. The routes that use OpenAI's library know only a switch for the whole
        process, which would weaken strangers' connections too: they get a client of their own.
        """
        verify = self._settings.verify_ssl_certificate
        values: dict[str, Any] = {"ssl_verify": verify}
        library = litellm()
        if provider == "openai" or provider in library.openai_compatible_providers:
            values["client"] = self.openai(api_base, key)
        return values

    def staying(self, provider: str) -> Any:
        """A client of LiteLLM's for the running loop that follows no redirect.

        What LiteLLM makes by itself follows them to other hosts, with a key that is not in `Authorization`.
        """
        verify = self._settings.verify_ssl_certificate
        params = {"follow_redirects": False, "ssl_verify": None if verify is True else verify}
        of_the_loop = module("litellm.llms.custom_httpx.http_handler").get_async_httpx_client
        return of_the_loop(llm_provider=provider, params=params)

    def openai(self, address: str | None, key: str | None) -> Any:
        """A client of OpenAI's library for the running loop, made once.

        LiteLLM's route for raw text makes a new one for every call otherwise, and closes none.
        """
        verify = self._settings.verify_ssl_certificate
        loop = asyncio.get_running_loop()
        for known, where, client in self._own:
            if known is loop and where == address:
                return client
        context: Any = ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify
        client = _without_retries()(
            api_key=key or "none",
            base_url=address,
            timeout=self.timeout(self._settings.timeouts),
            http_client=module("httpx").AsyncClient(verify=context),
        )
        self._own.append((loop, address, client))
        return client

    async def close(self) -> None:
        """Close our own clients, and LiteLLM's for each loop that no other backend uses."""
        here = asyncio.get_running_loop()
        for loop, keeper in list(self._keepers.items()):
            await _in_loop(loop, here, keeper.aclose)
            # Of a loop that stands still nothing can be closed; it is forgotten.
            self._keepers.pop(loop, None)
            self._leave(loop)
        self._own.clear()


class Witness:
    """What LiteLLM takes for OpenAI's client when it asks for raw text; remembers what the provider said.

    On this route LiteLLM's stream wrapper, which knows whether the answer came to its end or was cut, stays inside a
    generator. All that LiteLLM asks of the client is `completions.with_raw_response.create(...).parse()`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._stream: Any = None
        self.received_finish_reason: str | None = None
        self.chunks: list[Any] = []
        """The pieces that had token counts."""

    @property
    def completions(self) -> Witness:
        return self

    @property
    def with_raw_response(self) -> Witness:
        return self

    async def create(self, **values: Any) -> Witness:
        """Ask. Raises what OpenAI's library raises."""
        self.received_finish_reason, self.chunks = None, []
        self._stream = (await self._client.completions.with_raw_response.create(**values)).parse()
        understand_whole(self._stream)
        return self

    def parse(self) -> Witness:
        return self

    def __aiter__(self) -> Witness:
        return self

    async def __anext__(self) -> Any:
        piece = await anext(self._stream)
        for choice in piece.choices or ():
            if not choice.index:  # otherwise another answer to the same question
                self.received_finish_reason = choice.finish_reason or self.received_finish_reason
        if piece.usage is not None:
            self.chunks = [piece]
        return piece

    async def close(self) -> None:
        await self._stream.close()


@functools.cache
def _without_retries() -> Any:
    """OpenAI's client without retries of its own: LiteLLM sets their number to two in whatever client it gets."""
    library: Any = module("openai")

    class Client(library.AsyncOpenAI):  # type: ignore[misc]
        max_retries = property(lambda _: 0, lambda *_: None)

    return Client


async def _in_loop(loop: asyncio.AbstractEventLoop, here: asyncio.AbstractEventLoop, work: Any) -> None:
    with contextlib.suppress(Exception):  # closing must not fail for a connection that is already gone
        if loop is here:
            await work()
        elif loop.is_running():
            begun = threading.Event()

            async def begin() -> None:
                begun.set()
                await work()

            closing = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(begin(), loop))
            # A loop that waits for this very call to return cannot do the work: then it is left to its end.
            await asyncio.wait({closing}, timeout=_SOON)
            if begun.is_set():
                await asyncio.wait({closing}, timeout=_LONGEST_CLOSE)
            closing.cancel()


async def _close_clients_of_running_loop() -> None:
    await _settle()
    cache = litellm().in_memory_llm_clients_cache
    # What LiteLLM appends to a key for the running loop is its own affair and has changed.
    suffix = cache.update_cache_key_with_event_loop("")
    for key in [key for key in cache.cache_dict if key.endswith(suffix)]:
        client = cache.cache_dict.pop(key)
        cache.ttl_dict.pop(key, None)
        close = getattr(client, "aclose", None) or getattr(client, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):
                result = close()
                if asyncio.iscoroutine(result):
                    await result
    # aiohttp lets go of its transports in the next turn of the loop.
    await asyncio.sleep(0)


async def _settle() -> None:
    """End LiteLLM's logging task in this loop, which would otherwise be destroyed while pending."""
    worker = module("litellm.litellm_core_utils.logging_worker").GLOBAL_LOGGING_WORKER
    if getattr(worker, "_bound_loop", None) is asyncio.get_running_loop():
        await worker.stop()
