"""`LollmsClient`: one client for every format."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from lollms_core import text as text_tools
from lollms_core._bridges.whole_calls import WholeCall
from lollms_core._client import value_calls
from lollms_core._client.async_calls import AsyncCalls
from lollms_core._client.base import Run, as_text, finishing, next_question, prompt_or_messages, question_parts
from lollms_core._client.code_generation import ask_for_codes
from lollms_core._client.dialogues import Dialogue
from lollms_core._client.given_messages import some_images
from lollms_core._client.requests import GenerateOptions, TextOptions
from lollms_core._client.streams import drive
from lollms_core._client.value_calls import ValueCall
from lollms_core.contract.errors import ErrorDict, LollmsError
from lollms_core.contract.types import (
    MSG_TYPE,
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

__all__ = ["LollmsClient"]

T = TypeVar("T")

Callback = Callable[[str, MSG_TYPE], Any]
"""Gets a piece of text and what it is. Returning `False` stops the generation; anything else goes on."""


class LollmsClient(AsyncCalls):
    """One client for any model.

        client = LollmsClient(default_generation_mode=ELF_GENERATION_FORMAT.OLLAMA, model_name="llama3.2")
        print(client.generate("What is the capital of France?"))

    Calls return an error as the dictionary `{"status": False, "error": …}` (see `ErrorDict`), or raise it if the client
    was made with `raise_errors=True`. The iterators (`stream`, `astream`, `pull_model`) always raise. Every call that
    does IO has an async twin whose name begins with `a`. A client may be used from many threads and tasks at once;
    use it as a context manager, or `close` it.
    """

    # --- generating -----------------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str | Iterable[Message | Mapping[str, Any]],
        n_predict: int | None = None,
        *,
        streaming_callback: Callback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> str | ErrorDict:
        """Answer a prompt.

        Args:
            prompt: what to ask, or a conversation, as for `chat`. A text is a user's message unless `completion_format`
                is `Instruct`.
            n_predict: limit of new tokens.
            streaming_callback: gets every piece as it arrives, with a `MSG_TYPE`; returning `False` stops.
            **options: see `GenerateOptions`; what is left out has the client's value.

        Returns:
            The answer without reasoning text; what there is of it if the generation was stopped.
        """
        return as_text(self.complete(prompt, n_predict, streaming_callback=streaming_callback, **options))

    generate_text = generate
    """The name in earlier clients."""

    def generate_with_images(
        self,
        prompt: str,
        images: Sequence[Any],
        n_predict: int | None = None,
        *,
        streaming_callback: Callback | None = None,
        **options: Unpack[TextOptions],
    ) -> str | ErrorDict:
        """Answer a prompt about images: paths, bytes, data URLs, PIL images, or URLs for the server to resolve."""
        given = some_images(images)
        return self.generate(prompt, n_predict, streaming_callback=streaming_callback, images=given, **options)

    def chat(
        self,
        messages: Iterable[Message | Mapping[str, Any]],
        n_predict: int | None = None,
        *,
        streaming_callback: Callback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> str | ErrorDict:
        """Answer a conversation: `Message`s, or dictionaries with `role`, `content` and perhaps `images`."""
        return as_text(self._complete(None, messages, n_predict, streaming_callback, options))

    def complete(
        self,
        prompt: str | Iterable[Message | Mapping[str, Any]],
        n_predict: int | None = None,
        *,
        streaming_callback: Callback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Completion | ErrorDict:
        """Like `generate`, or `chat` where messages are given, with all that is known about the answer.

        Returns:
            A `Completion`: text, reasoning, finish reason, token usage, timings.
        """
        text, messages = prompt_or_messages(prompt)
        return self._complete(text, messages, n_predict, streaming_callback, options)

    def stream(
        self,
        prompt: str | Iterable[Message | Mapping[str, Any]],
        n_predict: int | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Generator[Chunk, None, None]:
        """Answer as an iterator of chunks; the last one carries the finish reason and the usage.

        Closing or abandoning the iterator stops the generation.

        Raises:
            LollmsError: wrong input at once, other errors while iterating; `partial_text` has the text so far.
        """
        text, messages = prompt_or_messages(prompt)
        return self._chunks(self._prepare(text, messages, n_predict, options))

    def _chunks(self, run: Run) -> Generator[Chunk, None, None]:
        return drive(lambda: self._open_sync(run.request), run.pipeline, self._running)

    def _complete(
        self,
        prompt: str | None,
        messages: Iterable[Message | Mapping[str, Any]] | None,
        n_predict: int | None,
        callback: Callback | None,
        options: GenerateOptions,
    ) -> Completion | ErrorDict:
        answer = self._answer(prompt, messages, n_predict, callback, options)
        return self._error(answer) if isinstance(answer, LollmsError) else answer

    def _answer(
        self,
        prompt: str | None,
        messages: Iterable[Message | Mapping[str, Any]] | None,
        n_predict: int | None,
        callback: Callback | None,
        options: GenerateOptions,
    ) -> Completion | LollmsError:
        """The answer, or what kept it from being given: returned, so that it is not mistaken for the callback's own."""
        try:
            run = self._prepare(prompt, messages, n_predict, options)
        except LollmsError as error:
            return error
        with WholeCall(), contextlib.closing(self._chunks(run)) as chunks:
            while True:
                try:
                    chunk = next(chunks)
                except StopIteration:
                    break
                except LollmsError as error:
                    return error
                # Outside of any `except`: what a callback raises reaches the caller as itself.
                if callback is not None and chunk.text and _wants_no_more(callback, chunk):
                    run.request.cancel.cancel()
                    break
        return run.pipeline.completion()

    # --- dialogues ------------------------------------------------------------------------------------------------

    def run(
        self,
        dialogue: Dialogue[T],
        n_predict: int | None = None,
        *,
        streaming_callback: Callback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> T | ErrorDict:
        """Run a dialogue: ask what it yields, send it the answers, and return what it returns.

        Args:
            dialogue: see `Dialogue`.
            n_predict: limit of new tokens in each answer.
            streaming_callback: gets the model's text as it arrives.
            **options: of every call; see `GenerateOptions`. A question may have options of its own.
        """
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
                answer = self._answer(text, messages, limit, streaming_callback, chosen)

    # --- code -----------------------------------------------------------------------------------------------------

    def generate_code(
        self,
        prompt: str,
        n_predict: int | None = None,
        *,
        language: str = "",
        template: str = "",
        max_continuations: int = 3,
        streaming_callback: Callback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> str | ErrorDict:
        """Generate one code block and return its content.

        Args:
            prompt: what the code shall do.
            n_predict: limit of new tokens in each answer.
            language: the language to ask for, and to take of several blocks; empty leaves it to the model.
            template: code to start from.
            max_continuations: how often at most a block that was cut off is continued.
            streaming_callback: gets the model's text as it arrives.
            **options: see `GenerateOptions`.

        Returns:
            The code. An answer without a code block is an error whose `partial_text` is the answer.
        """
        dialogue = ask_for_codes(
            prompt,
            language=language,
            template=template,
            single=True,
            max_continuations=max_continuations,
            stops=bool(options.get("stop")),
        )
        blocks = self.run(dialogue, n_predict, streaming_callback=streaming_callback, **options)
        return blocks if isinstance(blocks, dict) else str(blocks[0]["content"])

    def generate_codes(
        self,
        prompt: str,
        n_predict: int | None = None,
        *,
        language: str = "",
        template: str = "",
        max_continuations: int = 3,
        streaming_callback: Callback | None = None,
        **options: Unpack[GenerateOptions],
    ) -> list[CodeBlock] | ErrorDict:
        """Generate code blocks, as `extract_code_blocks` returns them; parameters as in `generate_code`."""
        dialogue = ask_for_codes(
            prompt,
            language=language,
            template=template,
            single=False,
            max_continuations=max_continuations,
            stops=bool(options.get("stop")),
        )
        return self.run(dialogue, n_predict, streaming_callback=streaming_callback, **options)

    @staticmethod
    def extract_code_blocks(text: str | Completion | ErrorDict) -> list[CodeBlock]:
        """The fenced code blocks of a text, by CommonMark's rules; an unclosed one is last, `is_complete` false.

        Given what a call returned, it need not be checked before: of an error dictionary, the text that had arrived
        is searched.
        """
        said: Any = text.text if isinstance(text, Completion) else text
        said = said["partial_text"] if isinstance(said, dict) else said
        if not isinstance(said, str):
            raise TypeError(f"text must be a str, not {type(said).__name__}")
        return text_tools.extract_code_blocks(said)

    @staticmethod
    def extract_thinking_blocks(text: str) -> list[str]:
        """What stands between reasoning tags such as `<think>` in a text."""
        return text_tools.extract_thinking_blocks(text)

    @staticmethod
    def remove_thinking_blocks(text: str) -> str:
        """The text without its reasoning blocks; nothing else is touched."""
        return text_tools.remove_thinking_blocks(text)

    # --- tokens, models, personalities ----------------------------------------------------------------------------

    def _ask(self, call: ValueCall[T]) -> T | ErrorDict:
        try:
            question = next(call)
            while True:
                question = call.send(self._hook(*question))
        except StopIteration as end:
            value: T = end.value
            return value
        except LollmsError as error:
            return self._error(error)

    def tokenize(self, prompt: str) -> list[int] | ErrorDict:
        """Token ids of a text, by the model's own tokenizer where there is one, else by tiktoken."""
        return self._ask(value_calls.tokenize(self, prompt))

    def detokenize(self, tokens_list: Sequence[int]) -> str | ErrorDict:
        """The text of token ids that `tokenize` gave."""
        return self._ask(value_calls.detokenize(self, tokens_list))

    def count_tokens(self, text: str) -> TokenCount | ErrorDict:
        """The number of tokens of a text: an `int` whose `exact` says whether the model's tokenizer counted."""
        return self._ask(value_calls.count_tokens(self, text))

    @overload
    def embed(self, text: str) -> list[float] | ErrorDict: ...  # type: ignore[overload-overlap]  # str is a Sequence
    @overload
    def embed(self, text: Sequence[str]) -> list[list[float]] | ErrorDict: ...
    def embed(self, text: str | Sequence[str]) -> list[float] | list[list[float]] | ErrorDict:
        """The embedding of a text, or one embedding for each of several texts, in one request."""
        return self._ask(value_calls.embed(self, text))

    @overload
    def list_models(self, *, details: Literal[False] = False) -> list[str] | ErrorDict: ...
    @overload
    def list_models(self, *, details: Literal[True]) -> list[ModelInfo] | ErrorDict: ...
    def list_models(self, *, details: bool = False) -> list[str] | list[ModelInfo] | ErrorDict:
        """The names of the models that can be used, or `ModelInfo`s with `details=True`."""
        return self._ask(value_calls.list_models(self, details))

    listModels = list_models  # noqa: N815
    """The name in earlier clients."""

    def model_info(self, model_name: str | None = None) -> ModelInfo | ErrorDict:
        """What is known about a model, by default the client's: context window, size, device, capabilities."""
        return self._ask(value_calls.model_info(self, model_name))

    @overload
    def list_personalities(self, *, details: Literal[False] = False) -> list[str] | ErrorDict: ...
    @overload
    def list_personalities(self, *, details: Literal[True]) -> list[Personality] | ErrorDict: ...
    def list_personalities(self, *, details: bool = False) -> list[str] | list[Personality] | ErrorDict:
        """The personalities that the server offers; an error on a format that has none."""
        return self._ask(value_calls.list_personalities(self, details))

    listMountedPersonalities = list_personalities  # noqa: N815
    """Another name for `list_personalities`, of earlier clients."""

    def pull_model(self, model_name: str) -> Generator[PullProgress, None, None]:
        """Make the server download a model; an iterator over the progress.

        Raises:
            LollmsError: wrong input at once, other errors while iterating: the format cannot download, or the download
                failed.
        """
        request = value_calls.pull_request(model_name)
        reader = value_calls.Download(self.format, request.cancel)
        return drive(lambda: self._download(request), reader, self._running)

    # --- the end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop what is under way and free connections, threads and memory. May be called more than once."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _wants_no_more(callback: Callback, chunk: Chunk) -> bool:
    answer = callback(chunk.text, chunk.type)
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise TypeError("streaming_callback is async, and nothing would run it here: use the call's async twin")
    return answer is False
