"""From LiteLLM's stream objects to chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lollms_core import MSG_TYPE, Chunk, FinishReason, ToolCall, Usage
from lollms_core.protocols.openai import Extras, called_functions, finish_reason
from lollms_litellm.faults import cut_short
from lollms_litellm.heard import Heard
from lollms_litellm.loading import module
from lollms_litellm.whole import understand_whole

__all__ = ["ChunkReader", "usage_of"]

_AN_END = frozenset({"stop", "eos", "end_turn", "stop_sequence", "complete", "tool_calls", "tool_call", "tool_use"})
"""Words of providers' for an answer that is whole."""
_BROKEN_OFF = frozenset(
    {"abort", "aborted", "canceled", "cancelled", "error", "insufficient_system_resource", "network_error"}
)
_REASONING = MSG_TYPE.MSG_TYPE_REASONING


class Passing:
    """What passes from a provider's stream to LiteLLM's wrapper, and is listened to."""

    def __init__(self) -> None:
        self._stream: Any = None
        self.heard = Heard()

    def of(self, stream: Any) -> Passing:
        """The same stream, listened to."""
        understand_whole(stream)
        self.heard.listen(stream)
        self._stream = aiter(stream)
        return self

    def __aiter__(self) -> Passing:
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._stream)
        if not self.heard.listening and hasattr(item, "model_dump"):
            self._listen(item)
        return item

    def _listen(self, item: Any) -> None:
        """Hear a piece of OpenAI's library, which has what the server sent, whatever that was."""
        raw = item.model_dump(warnings=False)
        plain = self.heard.hear(raw)
        if not plain:
            return
        kind = module("openai.types.chat.chat_completion_chunk").ChoiceDelta
        for choice, heard in zip(item.choices, raw["choices"], strict=True):
            choice.finish_reason = heard.get("finish_reason")
            choice.delta = kind.construct(**(heard.get("delta") or {}))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _passing(books: Any) -> Passing | None:
    """What listens to a wrapper's stream; some of LiteLLM's providers open theirs with the first piece."""
    stream, make = getattr(books, "completion_stream", None), getattr(books, "make_call", None)
    passing = Passing()
    if hasattr(stream, "__aiter__"):
        books.completion_stream = passing.of(stream)
        return passing
    if stream is not None or make is None:
        return None

    provider = books.custom_llm_provider

    async def made(client: Any = None) -> Any:
        # Not with the client that is given, which is the whole process's and never closed, but with one of the loop.
        of_the_loop = module("litellm.llms.custom_httpx.http_handler").get_async_httpx_client
        opened = await make(client=of_the_loop(llm_provider=provider))
        return passing.of(opened) if hasattr(opened, "__aiter__") else opened

    books.make_call = made
    return passing


class ChunkReader:
    """Reads one stream: pieces one by one, then the closing record.

    LiteLLM says `finish_reason="stop"` and counts tokens by itself when the provider said neither. Its wrapper
    remembers what really came, so an answer that was cut short is told from one that ended.
    """

    def __init__(self, books: Any, *, canned: bool = False) -> None:
        """A reader of one answer, made before anything of it is read.

        Args:
            books: who remembers what the provider said: LiteLLM's stream wrapper, or a `Witness`.
            canned: the answer is LiteLLM's own (`mock_response`), which has no end mark.
        """
        self._books = books
        self._canned = canned
        self._passing: Passing | None = _passing(books)
        self._said = False
        self._finish: str | None = None
        self._usage: Any = None
        self._extras = Extras()

    def read(self, event: Any) -> Iterator[Chunk]:
        """The chunks of one event."""
        usage = getattr(event, "usage", None)
        if usage is not None:
            self._usage = usage
        if not event.choices:
            return
        choice = event.choices[0]
        if choice.index:
            return  # another answer to the same question
        delta = choice.delta
        reasoning = getattr(delta, "reasoning_content", None)
        if reasoning:
            self._said = True
            yield Chunk(reasoning, _REASONING)
        if delta.content:
            self._said = True
            yield Chunk(delta.content)
        if choice.finish_reason is not None:
            self._finish = choice.finish_reason
        said = choice.model_dump(exclude_none=True, include={"delta", "logprobs"})
        self._extras.read_choice(said, said["delta"])

    @property
    def error(self) -> Mapping[str, Any] | None:
        """What the provider itself said of an error, for which LiteLLM's exceptions have other words."""
        return None if self._passing is None else self._passing.heard.error

    def tool_calls(self) -> Iterator[ToolCall]:
        """The functions that the model wants to be called."""
        return called_functions(self._extras.all_calls)

    def close(self) -> Chunk:
        """The closing record.

        Raises:
            IncompleteStreamError: the provider's stream ended without a finish reason.
        """
        books = self._books
        ended = getattr(books, "received_finish_reason", None) or getattr(books, "intermittent_finish_reason", None)
        heard = Heard() if self._passing is None else self._passing.heard
        told = heard.reason or ended
        if not (told or self._canned) or (told or "").lower() in _BROKEN_OFF:
            raise cut_short()
        # LiteLLM takes `[DONE]` for a reason.
        without = heard.says_why and not heard.reason and not self._canned
        if heard.cut_without and without:
            raise cut_short()
        empty = not (self._said or self._extras.all_calls)
        if empty and (without or (heard.listening and not heard.heard)):
            raise cut_short()
        facts = self._extras.metadata()
        measured = any(getattr(piece, "usage", None) is not None for piece in getattr(books, "chunks", ()))
        usage = usage_of(self._usage) if self._usage is not None else None
        if usage is not None and not measured:
            facts["estimated_usage"] = {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
            }
            usage = None
        finish = "unknown" if without else self._reason(told)
        # Some reasons are finer than ours; tell them untouched.
        if told and told != finish and told.lower() not in _AN_END and not without:
            facts["provider_finish_reason"] = told
        return Chunk(finish_reason=finish, usage=usage, metadata=facts or None)

    def _reason(self, told: str | None) -> FinishReason:
        """Why the answer ended, by the provider's word and by LiteLLM's."""
        ours = finish_reason(self._finish or "stop")
        finish = ours if told is None else finish_reason(told)
        if finish == "unknown" and ours != "stop":
            return ours  # LiteLLM knows the word
        return ours if finish == "stop" and ours == "tool_calls" else finish


def usage_of(usage: Any) -> Usage:
    """Token counts, with the details that the provider gave."""
    prompt = getattr(usage, "prompt_tokens_details", None)
    completion = getattr(usage, "completion_tokens_details", None)
    return Usage(
        prompt_tokens=getattr(usage, "prompt_tokens", None),
        completion_tokens=getattr(usage, "completion_tokens", None),
        reasoning_tokens=getattr(completion, "reasoning_tokens", None),
        cached_tokens=getattr(prompt, "cached_tokens", None),
    )
