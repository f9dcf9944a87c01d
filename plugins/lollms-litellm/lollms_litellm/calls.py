"""Making one call: opening the stream, retrying before the first chunk, giving up options that a model refuses."""

from __future__ import annotations

import asyncio
import random
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
from lollms_litellm.arguments import Arguments
from lollms_litellm.chunks import ChunkReader
from lollms_litellm.loading import litellm
from lollms_litellm.relay import Relay

__all__ = ["Call", "give_up", "wait_before_retry"]

_LONGEST_WAIT = 60.0
"""A server that asks for more gets its error reported in place of a caller that seems to hang."""
_FIRST_WAIT = 0.5
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
        self._retries = max_retries
        self._translate = translate
        self._refused = refused

    async def produce(self, pipe: Relay) -> None:
        """Send the answer's chunks to `pipe`. Raises `LollmsError` only."""
        attempt = revisions = 0
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
            wait = wait_before_retry(error, attempt)
            if attempt >= self._retries or wait is None:
                raise error
            attempt += 1
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
        reader = ChunkReader(stream, canned="mock_response" in values)
        try:
            async for event in stream:
                for chunk in reader.read(event):
                    await pipe.send(chunk)
                if pipe.begun:
                    pipe.patience(self._timeouts.idle, "go on answering")
            # At the end LiteLLM builds a summary, which is no waiting.
            pipe.patience(None, "")
            closing = reader.close()
            for call in reader.tool_calls():
                await pipe.send(Chunk(part=call))
            await pipe.send(closing)
        finally:
            await stream.aclose()


def wait_before_retry(error: LollmsError, attempt: int) -> float | None:
    """Seconds to wait before trying again, with jitter; `None` where that makes no sense."""
    if not error.retryable:
        return None
    if error.retry_after is not None:
        return error.retry_after if error.retry_after <= _LONGEST_WAIT else None
    return float(_FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311


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
