"""vLLM's engine in this process: one thread with an event loop of its own, started by the first call."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import itertools
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from lollms_core import (
    BackendError,
    BackendSettings,
    Chunk,
    ClientClosedError,
    ConfigurationError,
    DetokenizeRequest,
    FinishReason,
    FuturePending,
    GenerationRequest,
    InvalidRequestError,
    ModelInfo,
    ModelInfoRequest,
    Pending,
    Request,
    TokenizeRequest,
    Usage,
)
from lollms_core.mailbox import LoopThread, Mailbox, MailboxStream
from lollms_vllm.arguments import engine_arguments, set_environment
from lollms_vllm.failures import MAIN_GUARD, generation_error, importing_main, start_error
from lollms_vllm.prompts import prepare

__all__ = ["Engine"]

T = TypeVar("T")

_SHUTDOWN_SECONDS = 20.0
"""How long vLLM's processes may take to end by themselves; then they are killed."""

_FINISH: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "cancelled", "repetition": "stop"}


class Engine:
    """`AsyncLLM`, for one model. Thread-safe.

    Args:
        settings: of the client; `model_name` is the model.
        options: arguments of the engine, passed on as they are.
    """

    def __init__(self, settings: BackendSettings, options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._options = options
        self._lock = threading.Lock()
        self._thread = LoopThread("lollms-vllm")
        self._pid: int | None = None  # of the process in which the thread was started
        self._closed = False
        self._engine: Any = None  # of the loop's thread alone
        self._ids = itertools.count()

    # --- what the backend asks for -----------------------------------------------------------------------------

    def stream(self, request: GenerationRequest) -> MailboxStream:
        """The answer. The engine starts, if it has not, when its first piece is asked for."""

        def start(mailbox: Mailbox) -> tuple[Callable[[], None], Callable[[], bool]]:
            work = self._submit(self._generate(request, mailbox))
            unregister = request.cancel.on_cancel(lambda: _cancel(work, mailbox))

            def stop() -> None:
                unregister()
                work.cancel()

            return stop, self._thread.is_alive

        return MailboxStream(start)

    def tokenize(self, request: TokenizeRequest) -> Pending[list[int] | None]:
        """The token ids of a text, without special tokens around it."""
        return self._pending(lambda: self._encode(request.text), request)

    def detokenize(self, request: DetokenizeRequest) -> Pending[str | None]:
        """The text of token ids. Raises `InvalidRequestError` for one that is not in the vocabulary."""
        return self._pending(lambda: self._decode(request.tokens), request)

    def model_info(self, request: ModelInfoRequest) -> Pending[ModelInfo]:
        """What the running engine knows about its model."""
        return self._pending(self._describe, request)

    def _pending(self, work: Callable[[], Coroutine[Any, Any, T]], request: Request) -> Pending[T]:
        return FuturePending(lambda: self._submit(work()), request.cancel)

    def close(self) -> None:
        """End the engine's process and the thread. Generations under way end as cancelled."""
        with self._lock:
            running = self._pid == os.getpid() and not self._closed
            self._closed = True
        atexit.unregister(self.close)
        if running:
            self._thread.submit(self._shut_down()).result()
            self._thread.close()

    # --- the thread ----------------------------------------------------------------------------------------------

    def _submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        try:
            with self._lock:
                self._check()
                return self._thread.submit(work)
        except BaseException:
            work.close()
            raise

    def _check(self) -> None:
        if self._closed:
            raise ClientClosedError("the vLLM engine has been closed")
        if importing_main():
            raise ConfigurationError("the engine is started while its script is imported", hint=MAIN_GUARD)
        if self._pid is None:
            self._pid = os.getpid()
        elif self._pid != os.getpid():
            raise BackendError(
                "the vLLM engine belongs to the process that started it, and this is a fork of that",
                hint="Make a new client in the child, or use a vLLM server from both.",
            )

    # --- in the thread: coroutines of its loop -------------------------------------------------------------------

    async def _started(self) -> Any:
        """The running engine. Starting it blocks the loop, on which nothing else can be done until it runs."""
        if self._engine is not None and self._engine.errored:
            await self._shut_down()
        if self._engine is None:
            set_environment()
            try:
                arguments = engine_arguments(self._settings, self._options)
                from vllm.v1.engine.async_llm import AsyncLLM

                self._engine = AsyncLLM.from_engine_args(arguments)
            except Exception as error:
                raise start_error(error, str(self._settings.model_name)) from error
            # What was registered last is called first: before vLLM's and multiprocessing's own ends, which kill.
            atexit.unregister(self.close)
            atexit.register(self.close)
        return self._engine

    async def _shut_down(self) -> None:
        current = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task.get_name().startswith("lollms-") and task is not current]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.shutdown(timeout=_SHUTDOWN_SECONDS)
            # Its tasks see that they are cancelled in the next rounds of the loop.
            rest = [task for task in asyncio.all_tasks() if task is not current]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    async def _generate(self, request: GenerationRequest, mailbox: Mailbox) -> None:
        task = asyncio.current_task()
        assert task is not None
        number = next(self._ids)
        task.set_name(f"lollms-{number}")
        try:
            engine = await self._started()
            if not mailbox.over:
                await self._answer(engine, request, mailbox, f"lollms-{number}")
        except asyncio.CancelledError:
            mailbox.put(Chunk(finish_reason="cancelled"))
        except Exception as error:
            known = generation_error(error)
            if known is not error:
                known.__cause__ = error
            mailbox.put(known)

    async def _answer(self, engine: Any, request: GenerationRequest, mailbox: Mailbox, name: str) -> None:
        prepared = await prepare(engine, request)
        if prepared.preface:
            mailbox.put(Chunk(prepared.preface))
        written, cached, reason = 0, None, None
        stream = engine.generate(prepared.prompt, prepared.sampling, name)
        try:
            async for output in stream:
                (part,) = output.outputs
                written += len(part.token_ids)
                cached = output.num_cached_tokens
                reason = part.finish_reason
                if part.text:
                    mailbox.put(Chunk(part.text))
                if mailbox.over:
                    return
        finally:
            await stream.aclose()
        mailbox.put(
            Chunk(
                finish_reason=_FINISH.get(reason or "", "unknown"),
                usage=Usage(prompt_tokens=prepared.prompt_tokens, completion_tokens=written, cached_tokens=cached),
                metadata=None if request.json_schema is None else {"json_schema": "structured outputs of vLLM"},
            )
        )

    async def _encode(self, text: str) -> list[int] | None:
        tokenizer = (await self._started()).get_tokenizer()
        return list(tokenizer.encode(text, add_special_tokens=False))

    async def _decode(self, tokens: Sequence[int]) -> str | None:
        tokenizer = (await self._started()).get_tokenizer()
        size = len(tokenizer)
        unknown = next((token for token in tokens if token >= size), None)
        if unknown is not None:
            raise InvalidRequestError(f"token {unknown} is not in the vocabulary, which has {size}")
        return str(tokenizer.decode(list(tokens), skip_special_tokens=False))

    async def _describe(self) -> ModelInfo:
        config = (await self._started()).model_config
        sees = ("vision",) if config.is_multimodal_model else ()
        chats = ("chat",) if getattr(self._engine.get_tokenizer(), "chat_template", None) else ()
        return ModelInfo(
            name=str(self._settings.model_name),
            context_window=config.max_model_len,
            dtype=str(config.dtype).removeprefix("torch."),
            device=_device(),
            capabilities=("completion", *chats, *sees),
            metadata={"architectures": list(config.architectures), "revision": config.revision},
        )


def _cancel(work: concurrent.futures.Future[None], mailbox: Mailbox) -> None:
    """The consumer learns at once, even while the engine starts; the work ends within a step of the engine."""
    mailbox.put(Chunk(finish_reason="cancelled"))
    work.cancel()


def _device() -> str:
    from vllm.platforms import current_platform

    return str(current_platform.device_type)
