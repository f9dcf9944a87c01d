"""The async calls of `LollmsClient`: an `a…` twin, with the same parameters, of every call that does IO."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from lollms_core import queries
from lollms_core.client_base import ClientBase, Run, as_text, prompt_or_messages
from lollms_core.code_generation import CodeConversation, ask_for_codes
from lollms_core.errors import ErrorDict, LollmsError
from lollms_core.parameters import GenerateOptions, TextOptions
from lollms_core.queries import Query
from lollms_core.streaming import adrive, async_from_sync, resolve
from lollms_core.types import (
    MSG_TYPE,
    Chunk,
    CodeBlock,
    Completion,
    GenerationRequest,
    Message,
    ModelInfo,
    Personality,
    PullProgress,
    TokenCount,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["AsyncCalls"]

T = TypeVar("T")

AsyncCallback = Callable[[str, MSG_TYPE], Any]
"""Gets a piece of text and what it is; may be `async`. Returning `False` stops the generation."""


class AsyncCalls(ClientBase):
    """The async half of `LollmsClient`."""

    # --- generating -----------------------------------------------------------------------------------------------

    async def agenerate(
        self,
        prompt: str,
        n_predict: int | None = None,
        *,
        streaming_callback: AsyncCallback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> str | ErrorDict:
        """`generate` for async callers. The callback may be `async`."""
        return as_text(await self.acomplete(prompt, n_predict, streaming_callback=streaming_callback, **options))

    async def agenerate_with_images(
        self,
        prompt: str,
        images: Sequence[Any],
        n_predict: int | None = None,
        *,
        streaming_callback: AsyncCallback | None = None,
        **options: Unpack[TextOptions],
    ) -> str | ErrorDict:
        """`generate_with_images` for async callers."""
        return await self.agenerate(prompt, n_predict, streaming_callback=streaming_callback, images=images, **options)

    async def achat(
        self,
        messages: Iterable[Message | Mapping[str, Any]],
        n_predict: int | None = None,
        *,
        streaming_callback: AsyncCallback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> str | ErrorDict:
        """`chat` for async callers."""
        return as_text(await self._acomplete(None, messages, n_predict, streaming_callback, options))

    async def acomplete(
        self,
        prompt: str | Iterable[Message | Mapping[str, Any]],
        n_predict: int | None = None,
        *,
        streaming_callback: AsyncCallback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Completion | ErrorDict:
        """`complete` for async callers."""
        text, messages = prompt_or_messages(prompt)
        return await self._acomplete(text, messages, n_predict, streaming_callback, options)

    async def astream(
        self,
        prompt: str | Iterable[Message | Mapping[str, Any]],
        n_predict: int | None = None,
        **options: Unpack[GenerateOptions],
    ) -> AsyncGenerator[Chunk, None]:
        """`stream` for async callers. Errors are raised at the first step of the iteration."""
        text, messages = prompt_or_messages(prompt)
        run = self._prepare(text, messages, n_predict, options)
        async with contextlib.aclosing(self._achunks(run)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _achunks(self, run: Run) -> AsyncGenerator[Chunk, None]:
        cancel = run.request.cancel
        self._begin(cancel)
        try:
            async with contextlib.aclosing(adrive(lambda: self._open_async(run.request), run.pipeline)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._finish(cancel)

    async def _open_async(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
        """The backend's stream as an async iterator."""
        stream = await resolve(self._open(request))
        if hasattr(stream, "__aiter__"):
            chunks: AsyncIterator[Chunk] = stream.__aiter__()
            return chunks
        if hasattr(stream, "__iter__"):
            return async_from_sync(stream, request.cancel)
        raise self._not_a_stream(stream)

    async def _acomplete(
        self,
        prompt: str | None,
        messages: Iterable[Message | Mapping[str, Any]] | None,
        n_predict: int | None,
        callback: AsyncCallback | None,
        options: GenerateOptions,
    ) -> Completion | ErrorDict:
        try:
            run = self._prepare(prompt, messages, n_predict, options)
        except LollmsError as error:
            return self._error(error)
        async with contextlib.aclosing(self._achunks(run)) as chunks:
            while True:
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    break
                except LollmsError as error:
                    return self._error(error)
                # Outside of any `except`: what a callback raises reaches the caller as itself.
                if callback is not None and chunk.text and await resolve(callback(chunk.text, chunk.type)) is False:
                    run.request.cancel.cancel()
                    break
        return run.pipeline.completion(run.request.model)

    # --- code -----------------------------------------------------------------------------------------------------

    async def agenerate_code(
        self,
        prompt: str,
        n_predict: int | None = None,
        *,
        language: str = "",
        template: str = "",
        max_continuations: int = 3,
        streaming_callback: AsyncCallback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> str | ErrorDict:
        """`generate_code` for async callers."""
        conversation = ask_for_codes(
            prompt, language=language, template=template, single=True, max_continuations=max_continuations
        )
        blocks = await self._aconverse(conversation, n_predict, streaming_callback, options)
        return blocks if isinstance(blocks, dict) else str(blocks[0]["content"])

    async def agenerate_codes(
        self,
        prompt: str,
        n_predict: int | None = None,
        *,
        language: str = "",
        template: str = "",
        max_continuations: int = 3,
        streaming_callback: AsyncCallback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> list[CodeBlock] | ErrorDict:
        """`generate_codes` for async callers."""
        conversation = ask_for_codes(
            prompt, language=language, template=template, single=False, max_continuations=max_continuations
        )
        return await self._aconverse(conversation, n_predict, streaming_callback, options)

    async def _aconverse(
        self,
        conversation: CodeConversation,
        n_predict: int | None,
        callback: AsyncCallback | None,
        options: GenerateOptions,
    ) -> list[CodeBlock] | ErrorDict:
        question = next(conversation)
        while True:
            completion = await self._acomplete(question.prompt, question.messages, n_predict, callback, options)
            if isinstance(completion, dict):
                return completion
            try:
                question = conversation.send(completion)
            except StopIteration as end:
                blocks: list[CodeBlock] = end.value
                return blocks
            except LollmsError as error:
                return self._error(self._known(error))

    # --- tokens, models, personalities ----------------------------------------------------------------------------

    async def _aask(self, build: Callable[..., Query[T]], *args: Any) -> T | ErrorDict:
        try:
            value: T | Query[T] = build(self, *args)
            while isinstance(value, Query):
                value = value.interpret(await self._ahook(value.hook, value.request))
            return value
        except LollmsError as error:
            return self._error(error)

    async def _ahook(self, name: str, request: Any) -> Any:
        self._check_open()
        try:
            # A sync hook may block; an async one comes back as a coroutine and runs here.
            return await resolve(await asyncio.to_thread(getattr(self._manager.hook, name), request=request))
        except Exception as error:
            known = self._known(error)
            raise known from known.__cause__

    async def atokenize(self, prompt: str) -> list[int] | ErrorDict:
        """`tokenize` for async callers."""
        return await self._aask(queries.tokenize, prompt)

    async def adetokenize(self, tokens_list: Sequence[int]) -> str | ErrorDict:
        """`detokenize` for async callers."""
        return await self._aask(queries.detokenize, tokens_list)

    async def acount_tokens(self, text: str) -> TokenCount | ErrorDict:
        """`count_tokens` for async callers."""
        return await self._aask(queries.count_tokens, text)

    @overload
    async def aembed(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self, text: str
    ) -> list[float] | ErrorDict: ...
    @overload
    async def aembed(self, text: Sequence[str]) -> list[list[float]] | ErrorDict: ...
    async def aembed(self, text: str | Sequence[str]) -> list[float] | list[list[float]] | ErrorDict:
        """`embed` for async callers."""
        return await self._aask(queries.embed, text)

    @overload
    async def alist_models(self, *, details: Literal[False] = False) -> list[str] | ErrorDict: ...
    @overload
    async def alist_models(self, *, details: Literal[True]) -> list[ModelInfo] | ErrorDict: ...
    async def alist_models(self, *, details: bool = False) -> list[str] | list[ModelInfo] | ErrorDict:
        """`list_models` for async callers."""
        return await self._aask(queries.list_models, details)

    async def amodel_info(self, model_name: str | None = None) -> ModelInfo | ErrorDict:
        """`model_info` for async callers."""
        return await self._aask(queries.model_info, model_name)

    @overload
    async def alist_personalities(self, *, details: Literal[False] = False) -> list[str] | ErrorDict: ...
    @overload
    async def alist_personalities(self, *, details: Literal[True]) -> list[Personality] | ErrorDict: ...
    async def alist_personalities(self, *, details: bool = False) -> list[str] | list[Personality] | ErrorDict:
        """`list_personalities` for async callers."""
        return await self._aask(queries.list_personalities, details)

    async def apull_model(self, model_name: str) -> AsyncGenerator[PullProgress, None]:
        """`pull_model` for async callers."""
        query = queries.pull_model(self, model_name)
        progress = queries.pulling(self, await self._ahook(query.hook, query.request))
        stream = progress if hasattr(progress, "__aiter__") else async_from_sync(progress, query.request.cancel)
        try:
            async for step in stream:
                yield step
        except Exception as error:
            known = self._known(error)
            raise known from known.__cause__
        finally:
            aclose = getattr(stream, "aclose", None)
            if aclose is not None:
                await aclose()

    # --- the end --------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """`close` for async callers."""
        if self._closed:
            return
        await asyncio.to_thread(self._close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
