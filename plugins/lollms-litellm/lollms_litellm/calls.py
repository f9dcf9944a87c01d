"""Making one call: opening the stream, retrying before the first chunk, giving up options that a model refuses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from lollms_core import (
    Chunk,
    ContextWindowError,
    InvalidRequestError,
    LollmsError,
    Timeouts,
)
from lollms_core.http import Retries, answer_error
from lollms_core.protocols.refusals import LIMITS, Memory, Refusal, room_left
from lollms_litellm.arguments import Arguments
from lollms_litellm.chunks import ChunkReader
from lollms_litellm.clients import Witness
from lollms_litellm.faults import refusal
from lollms_litellm.loading import litellm
from lollms_litellm.relay import Relay

__all__ = ["BACKOFF", "Call", "Learned"]

BACKOFF = 0.5
"""Seconds before the first repetition of a failed call."""
_MOST_REVISIONS = 12
_SMALLEST_LIMIT = 16
_TOO_MANY = re.compile(
    r"max_(?:completion_|new_)?tokens.{0,80}"
    r"(?:>|at most|less than|maximum|exceed|too large|too high|greater|larger|range|between)"
    r"|(?:maximum|exceed\w*|largest).{0,80}max_(?:completion_|new_)?tokens",
    re.IGNORECASE,
)


class Call:
    """One generation, from its arguments to its chunks.

    Args:
        call: the keyword arguments.
        common: those that every call of the client has: key, address, headers, timeout.
        translate: makes our error of LiteLLM's; told whether the answer had begun.
        learned: what models have refused; added to here.
        not_honoured: says that a chosen option has no effect. May raise.
    """

    def __init__(
        self,
        call: Arguments,
        common: dict[str, Any],
        *,
        timeouts: Timeouts,
        max_retries: int,
        translate: Callable[[BaseException, bool], LollmsError],
        learned: Learned,
        not_honoured: Callable[[Collection[str]], None],
    ) -> None:
        self._call = call
        self._common = common
        self._timeouts = timeouts
        self._max_retries = max_retries
        self._translate = translate
        self._learned = learned
        self._not_honoured = not_honoured
        self._reading: list[ChunkReader] = []
        """Who reads the answer, once there is one."""

    async def produce(self, pipe: Relay) -> None:
        """Send the answer's chunks to `pipe`. Raises `LollmsError` only."""
        retries, revisions = Retries(self._max_retries, BACKOFF), 0
        while True:
            failure = await self._attempt(pipe)
            if failure is None:
                return
            error, refusal = failure
            pipe.patience(None, "")
            if pipe.begun:
                raise error
            if revisions < _MOST_REVISIONS and self._revised(error, refusal):
                revisions += 1
                continue
            wait = retries.wait(error)
            if wait is None:
                raise error
            await asyncio.sleep(wait)

    async def _attempt(self, pipe: Relay) -> tuple[LollmsError, Refusal] | None:
        self._reading.clear()
        try:
            await self._stream(pipe)
        except Warning:  # which the caller's filters have made an error
            raise
        except Exception as error:
            told = next((reader.error for reader in self._reading), None)
            if told is not None and not isinstance(error, LollmsError):
                status = getattr(error, "status_code", None)
                error = answer_error(told, where="the provider")
                error.status_code = error.status_code or status
            failure = self._translate(error, pipe.begun), refusal(error)
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
        self._reading.append(reader)
        try:
            async for event in stream:
                for chunk in reader.read(event):
                    await pipe.send(chunk)
                pipe.patience(self._timeouts.idle, "go on answering")
            # At the end LiteLLM builds a summary, which is no waiting.
            pipe.patience(None, "")
            if reader.error is not None:  # which LiteLLM has passed over
                raise answer_error(reader.error, where="the provider")
            closing = reader.close()
            for call in reader.tool_calls():
                await pipe.send(Chunk(part=call))
            await pipe.send(closing)
        finally:
            await stream.aclose()

    def _revised(self, error: LollmsError, refusal: Refusal) -> bool:
        """Take out of the call, or change, what the model does not take; `False` if the error is about something else.

        A default goes in silence, since nobody asked for it.
        """
        if not isinstance(error, InvalidRequestError):
            return False
        call = self._call
        candidates = [theirs for theirs in call.ours if theirs in call.values]
        spare = [theirs for theirs in candidates if call.ours[theirs] not in call.chosen]
        # LiteLLM has one name for the limit, and gives some providers the other.
        both = {name: theirs for theirs in candidates for name in (LIMITS if theirs in LIMITS else (theirs,))}
        theirs = both.get(refusal.field(both, spare) or "")
        if theirs is None:
            return self._lowered(error, refusal)
        ours, value = call.ours.pop(theirs), call.values.pop(theirs)
        if theirs in LIMITS and (other := self._learned.memory.rename_limit(call.key, theirs)):
            call.values[other], call.ours[other] = value, ours
            return True
        self._learned.memory.drop(call.key, theirs, value)
        if ours in call.chosen and ours != "stop":  # the client looks for stop sequences itself
            self._not_honoured({ours})
        return True

    def _lowered(self, error: LollmsError, refusal: Refusal) -> bool:
        """Lower a token limit that nobody chose: of a model that is not in the price list the largest is unknown."""
        call = self._call
        name = next((name for name in LIMITS if call.ours.get(name) == "n_predict"), None)
        if name is None or "n_predict" in call.chosen:
            return False
        about_it = refusal.param in LIMITS or _TOO_MANY.search(refusal.text)
        if not isinstance(error, ContextWindowError) and not about_it:
            return False
        limit, room = call.values[name], room_left(refusal.text)
        if room is not None and room <= 0:
            return False  # the prompt alone is too long
        lower = room if room is not None and room < limit else limit // 2
        if lower < _SMALLEST_LIMIT:
            return False
        call.values[name] = lower
        if not isinstance(error, ContextWindowError):  # which is about this prompt too
            self._learned.limits[call.key] = lower
        return True


@dataclass(slots=True)
class Learned:
    """What models have refused. Entries are only ever added, so threads need no lock."""

    memory: Memory = field(default_factory=Memory)
    limits: dict[str, int] = field(default_factory=dict)
    """The largest limit of new tokens that was not refused, by model."""
