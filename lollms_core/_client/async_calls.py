"""The async calls of `LollmsClient`: an `a…` twin, with the same parameters, of every call that does IO."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from lollms_core._bridges.threads import run_in_thread
from lollms_core._client import value_calls
from lollms_core._client.base import (
    ClientBase,
    Run,
    as_text,
    finishing,
    next_question,
    prompt_or_messages,
    question_parts,
)
from lollms_core._client.code_generation import ask_for_codes
from lollms_core._client.dialogues import Dialogue
from lollms_core._client.given_messages import some_images
from lollms_core._client.requests import GenerateOptions, TextOptions
from lollms_core._client.streams import adrive
from lollms_core._client.value_calls import ValueCall
from lollms_core.contract.errors import ErrorDict, LollmsError
from lollms_core.contract.types import (
    MSG_TYPE,
    CancelToken,
    Chunk,
    CodeBlock,
    Completion,
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
        prompt: str | Iterable[Message | Mapping[str, Any]],
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
        given = some_images(images)
        return await self.agenerate(prompt, n_predict, streaming_callback=streaming_callback, images=given, **options)

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

    def astream(
        self,
        prompt: str | Iterable[Message | Mapping[str, Any]],
        n_predict: int | None = None,
        **options: Unpack[GenerateOptions],
    ) -> AsyncGenerator[Chunk, None]:
        """`stream` for async callers."""
        text, messages = prompt_or_messages(prompt)
        return self._achunks(self._prepare(text, messages, n_predict, options))

    def _achunks(self, run: Run) -> AsyncGenerator[Chunk, None]:
        return adrive(lambda: self._open_async(run.request), run.pipeline, self._running)

    async def _acomplete(
        self,
        prompt: str | None,
        messages: Iterable[Message | Mapping[str, Any]] | None,
        n_predict: int | None,
        callback: AsyncCallback | None,
        options: GenerateOptions,
    ) -> Completion | ErrorDict:
        answer = await self._aanswer(prompt, messages, n_predict, callback, options)
        return self._error(answer) if isinstance(answer, LollmsError) else answer

    async def _aanswer(
        self,
        prompt: str | None,
        messages: Iterable[Message | Mapping[str, Any]] | None,
        n_predict: int | None,
        callback: AsyncCallback | None,
        options: GenerateOptions,
    ) -> Completion | LollmsError:
        try:
            run = self._prepare(prompt, messages, n_predict, options)
        except LollmsError as error:
            return error
        async with contextlib.aclosing(self._achunks(run)) as chunks:
            while True:
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    break
                except LollmsError as error:
                    return error
                # Outside of any `except`: what a callback raises reaches the caller as itself.
                if callback is not None and chunk.text:
                    wish = callback(chunk.text, chunk.type)
                    if (await wish if inspect.isawaitable(wish) else wish) is False:
                        run.request.cancel.cancel()
                        break
        return run.pipeline.completion()

    # --- dialogues ------------------------------------------------------------------------------------------------

    async def arun(
        self,
        dialogue: Dialogue[T],
        n_predict: int | None = None,
        *,
        streaming_callback: AsyncCallback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> T | ErrorDict:
        """`run` for async callers."""
        answer: Completion | LollmsError | None = None
        with finishing(dialogue):
            while True:
                try:
                    ask = next_question(dialogue, answer)
                except StopIteration as end:
                    value: T = end.value
                    return value
                except LollmsError as error:
                    return self._error(self._asked.known(error))
                text, messages, limit, chosen = question_parts(ask, n_predict, options)
                answer = await self._aanswer(text, messages, limit, streaming_callback, chosen)

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
        dialogue = ask_for_codes(
            prompt,
            language=language,
            template=template,
            single=True,
            max_continuations=max_continuations,
            stops=bool(options.get("stop")),
        )
        blocks = await self.arun(dialogue, n_predict, streaming_callback=streaming_callback, **options)
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
        dialogue = ask_for_codes(
            prompt,
            language=language,
            template=template,
            single=False,
            max_continuations=max_continuations,
            stops=bool(options.get("stop")),
        )
        return await self.arun(dialogue, n_predict, streaming_callback=streaming_callback, **options)

    # --- tokens, models, personalities ----------------------------------------------------------------------------

    async def _aask(self, call: ValueCall[T]) -> T | ErrorDict:
        try:
            question = next(call)
            while True:
                question = call.send(await self._ahook(*question))
        except StopIteration as end:
            value: T = end.value
            return value
        except LollmsError as error:
            return self._error(error)

    async def atokenize(self, prompt: str) -> list[int] | ErrorDict:
        """`tokenize` for async callers."""
        return await self._aask(value_calls.tokenize(self, prompt))

    async def adetokenize(self, tokens_list: Sequence[int]) -> str | ErrorDict:
        """`detokenize` for async callers."""
        return await self._aask(value_calls.detokenize(self, tokens_list))

    async def acount_tokens(self, text: str) -> TokenCount | ErrorDict:
        """`count_tokens` for async callers."""
        return await self._aask(value_calls.count_tokens(self, text))

    @overload
    async def aembed(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self, text: str
    ) -> list[float] | ErrorDict: ...
    @overload
    async def aembed(self, text: Sequence[str]) -> list[list[float]] | ErrorDict: ...
    async def aembed(self, text: str | Sequence[str]) -> list[float] | list[list[float]] | ErrorDict:
        """`embed` for async callers."""
        return await self._aask(value_calls.embed(self, text))

    @overload
    async def alist_models(self, *, details: Literal[False] = False) -> list[str] | ErrorDict: ...
    @overload
    async def alist_models(self, *, details: Literal[True]) -> list[ModelInfo] | ErrorDict: ...
    async def alist_models(self, *, details: bool = False) -> list[str] | list[ModelInfo] | ErrorDict:
        """`list_models` for async callers."""
        return await self._aask(value_calls.list_models(self, details))

    async def amodel_info(self, model_name: str | None = None) -> ModelInfo | ErrorDict:
        """`model_info` for async callers."""
        return await self._aask(value_calls.model_info(self, model_name))

    @overload
    async def alist_personalities(self, *, details: Literal[False] = False) -> list[str] | ErrorDict: ...
    @overload
    async def alist_personalities(self, *, details: Literal[True]) -> list[Personality] | ErrorDict: ...
    async def alist_personalities(self, *, details: bool = False) -> list[str] | list[Personality] | ErrorDict:
        """`list_personalities` for async callers."""
        return await self._aask(value_calls.list_personalities(self, details))

    def apull_model(self, model_name: str) -> AsyncGenerator[PullProgress, None]:
        """`pull_model` for async callers."""
        request = value_calls.pull_request(model_name)
        return adrive(
            lambda: self._adownload(request), value_calls.Download(self.format, request.cancel), self._running
        )

    # --- the end --------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """`close` for async callers."""
        if not self._asked.closed:
            await run_in_thread(self._close, cancel=CancelToken())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
