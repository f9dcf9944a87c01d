"""Making one call: opening the stream, retrying before the first chunk, giving up options that a model refuses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from lollms_core import (
    Chunk,
    ContextWindowError,
    InvalidRequestError,
    LollmsError,
    Timeouts,
    UnsupportedOptionWarning,
)
from lollms_core.contract.errors import warn_caller
from lollms_core.http import Retries
from lollms_litellm.arguments import Arguments
from lollms_litellm.chunks import ChunkReader
from lollms_litellm.clients import Witness
from lollms_litellm.loading import litellm
from lollms_litellm.relay import Relay

__all__ = ["BACKOFF", "Call", "give_up"]

BACKOFF = 0.5
"""Seconds before the first repetition of a failed call."""
_MOST_REVISIONS = 12
_SMALLEST_LIMIT = 16


class Call:
    """One generation, from its arguments to its chunks.

    Args:
        call: the keyword arguments.
        common: those that every call of the client has: key, address, headers, timeout.
        translate: makes our error of LiteLLM's; told whether the answer had begun.
        refused: names of options that the model has turned down; added to here.
    """

    def __init__(
        self,
        call: Arguments,
        common: dict[str, Any],
        *,
        timeouts: Timeouts,
        max_retries: int,
        translate: Callable[[BaseException, bool], LollmsError],
        refused: set[str],
    ) -> None:
        self._call = call
        self._common = common
        self._timeouts = timeouts
        self._max_retries = max_retries
        self._translate = translate
        self._refused = refused

    async def produce(self, pipe: Relay) -> None:
        """Send the answer's chunks to `pipe`. Raises `LollmsError` only."""
        retries, revisions = Retries(self._max_retries, BACKOFF), 0
        while True:
            error = await self._attempt(pipe)
            if error is None:
                return
            pipe.patience(None, "")
            if pipe.begun:
                raise error
            if revisions < _MOST_REVISIONS and give_up(error, self._call, self._refused):
                revisions += 1
                continue
            wait = retries.wait(error)
            if wait is None:
                raise error
            await asyncio.sleep(wait)

    async def _attempt(self, pipe: Relay) -> LollmsError | None:
        try:
            await self._stream(pipe)
        except Warning:  # which the caller's filters have made an error
            raise
        except Exception as error:
            failure = self._translate(error, pipe.begun)
        else:
            return None
        # Returned, not raised in the handler: LiteLLM's exception, whose text may hold a key, must not come along as
        # the context of ours.
        return failure

    async def _stream(self, pipe: Relay) -> None:
        values = {**self._common, **self._call.values}
        pipe.patience(self._timeouts.first_token, "begin to answer")
        stream = await litellm().acompletion(**values)
        client = values.get("client")
        books = client if isinstance(client, Witness) else stream
        reader = ChunkReader(books, canned="mock_response" in values)
        try:
            async for event in stream:
                for chunk in reader.read(event):
                    await pipe.send(chunk)
                pipe.patience(self._timeouts.idle, "go on answering")
            # At the end LiteLLM builds a summary, which is no waiting.
            pipe.patience(None, "")
            closing = reader.close()
            for call in reader.tool_calls():
                await pipe.send(Chunk(part=call))
            await pipe.send(closing)
        finally:
            await stream.aclose()


def give_up(error: LollmsError, call: Arguments, refused: set[str]) -> bool:
    """Take what the model refused out of the call; `False` if that is not what the error is about.

    A default goes in silence, since nobody asked for it. An option that the caller chose goes with a warning, and is
    remembered for the model.
    """
    if not isinstance(error, InvalidRequestError):
        return False
    if isinstance(error, ContextWindowError):
        return _lower_limit(call)
    named = [theirs for theirs in call.ours if theirs in call.values and _names(error.message, theirs)]
    unchosen = [theirs for theirs in named if call.ours[theirs] not in call.chosen]
    for theirs in unchosen or named:
        ours = call.ours[theirs]
        del call.values[theirs]
        refused.add(ours)
        if ours in call.chosen:
            warn_caller(f"{call.values['model']} does not honour: {ours} ({error.message})", UnsupportedOptionWarning)
    return bool(named)


def _names(message: str, parameter: str) -> bool:
    spellings = {parameter, "max_completion_tokens"} if parameter == "max_tokens" else {parameter}
    return any(re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", message) for name in spellings)


def _lower_limit(call: Arguments) -> bool:
    """Halve a token limit that nobody chose: the window of a model that is not in the price list is unknown."""
    limit = call.values.get("max_tokens")
    if "n_predict" in call.chosen or not isinstance(limit, int) or limit // 2 < _SMALLEST_LIMIT:
        return False
    call.values["max_tokens"] = limit // 2
    return True
