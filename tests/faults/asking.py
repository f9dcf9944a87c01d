"""Clients of every format that talks HTTP, and the four ways to ask them, with the outcome in one shape."""

from __future__ import annotations

import asyncio
import contextlib
import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lollms_core import ErrorDict, LollmsClient, LollmsError
from tests.support.dialects import LOLLMS, OLLAMA, OPENAI, Dialect
from tests.support.fault_server import TEXT
from tests.support.waiting import PATIENT

__all__ = ["DOORS", "KEY", "SO_FAR", "WAYS", "WHOLE", "Door", "Outcome", "Way", "astream", "generate", "stream"]

KEY = "sk-secret-0123456789abcdef"
WHOLE = "".join(TEXT)
SO_FAR = "".join(TEXT[:2])


@dataclass(frozen=True)
class Door:
    """A format, and the protocol that its server speaks."""

    format: str
    dialect: Dialect
    model: str = "m"
    path: str = ""
    """What users of this format write behind the server's address."""

    def client(self, address: str, **settings: Any) -> LollmsClient:
        settings = {"timeouts": PATIENT, "max_retries": 0, **settings}
        return LollmsClient(
            address + self.path, self.model, default_generation_mode=self.format, service_key=KEY, **settings
        )


DOORS = {
    "lollms-classic": Door("lollms", LOLLMS),
    "lollms-current": Door("lollms", OPENAI),
    "openai": Door("openai", OPENAI),
    "vllm": Door("vllm", OPENAI),
    "ollama": Door("ollama", OLLAMA),
    "litellm": Door("litellm", OPENAI, "hosted_vllm/m", "/v1"),
}


@dataclass
class Outcome:
    """What came of asking: the text that arrived, and the error as the dictionary form has it."""

    text: str = ""
    error: Mapping[str, Any] = field(default_factory=dict)
    raised: LollmsError | None = None
    """Of the iterators, which raise."""

    def failed(self, error: LollmsError) -> None:
        self.raised, self.error = error, error.to_dict()

    def answered(self, value: str | ErrorDict) -> None:
        if isinstance(value, dict):
            self.error = value
        else:
            assert value == self.text, "the pieces and the answer differ"

    def everything_shown(self) -> str:
        """Every form in which a program could show the error."""
        shown = [json.dumps(self.error)]
        if self.raised is not None:
            shown += [str(self.raised), repr(self.raised), repr(vars(self.raised))]
            shown += traceback.format_exception(self.raised)
        return "\n".join(shown)


Act = Callable[[], object]
Way = Callable[..., Outcome]


def nothing() -> None:
    """There is nothing to do."""


def stream(client: LollmsClient, *, on_text: Act = nothing, after: Act = nothing) -> Outcome:
    """Iterate. `on_text` is called at each piece; `after` once it is over, while the client is still open."""
    outcome = Outcome()
    with client:
        try:
            for chunk in client.stream("hi"):
                outcome.text += chunk.text
                on_text()
        except LollmsError as error:
            outcome.failed(error)
        after()
    return outcome


def generate(client: LollmsClient, *, on_text: Act = nothing, after: Act = nothing) -> Outcome:
    """Wait for the whole answer."""
    outcome = Outcome()

    def piece(text: str, _: object) -> None:
        outcome.text += text
        on_text()

    with client:
        outcome.answered(client.generate("hi", streaming_callback=piece))
        after()
    return outcome


def astream(client: LollmsClient, *, on_text: Act = nothing, after: Act = nothing) -> Outcome:
    """`stream`, async."""
    outcome = Outcome()

    async def ask() -> None:
        async with client:
            try:
                async with contextlib.aclosing(client.astream("hi")) as chunks:
                    async for chunk in chunks:
                        outcome.text += chunk.text
                        on_text()
            except LollmsError as error:
                outcome.failed(error)
            await asyncio.to_thread(after)

    asyncio.run(ask())
    return outcome


def agenerate(client: LollmsClient, *, on_text: Act = nothing, after: Act = nothing) -> Outcome:
    """`generate`, async."""
    outcome = Outcome()

    def piece(text: str, _: object) -> None:
        outcome.text += text
        on_text()

    async def ask() -> None:
        async with client:
            outcome.answered(await client.agenerate("hi", streaming_callback=piece))
            await asyncio.to_thread(after)

    asyncio.run(ask())
    return outcome


WAYS: dict[str, Way] = {way.__name__: way for way in (stream, generate, astream, agenerate)}
