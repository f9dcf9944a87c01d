"""Every kind of call, made in turn on one client: what came of each, in a form that a failing test shows well."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from lollms_core import LollmsClient, LollmsError
from tests.support.framing_server import WHOLE

__all__ = ["GOOD", "WAYS", "Answers", "Way", "answers"]

Answers = dict[str, Any]
Way = Callable[..., Answers]


def nothing() -> None:
    """There is nothing to do."""


def ask_sync(client: LollmsClient, after: Callable[[], object] = nothing) -> Answers:
    """A value, an answer, a stream, and one more answer. `after` is called while the client is still open."""
    with client:
        made = {
            "a value": _shown(client.list_models()),
            "an answer": _shown(client.generate("hi")),
            "a stream": _streamed(client),
            "another answer": _shown(client.generate("hi")),
        }
        after()
    return made


def ask_async(client: LollmsClient, after: Callable[[], object] = nothing) -> Answers:
    """`ask_sync`, async."""

    async def ask() -> Answers:
        async with client:
            made = {
                "a value": _shown(await client.alist_models()),
                "an answer": _shown(await client.agenerate("hi")),
                "a stream": await _astreamed(client),
                "another answer": _shown(await client.agenerate("hi")),
            }
            await asyncio.to_thread(after)
        return made

    return asyncio.run(ask())


WAYS: dict[str, Way] = {"sync": ask_sync, "async": ask_async}


def answers(text: str = WHOLE) -> Answers:
    """What a server whose answer is `text` makes of the calls."""
    return {"a value": ["m"], "an answer": text, "a stream": text, "another answer": text}


GOOD = answers()


def _streamed(client: LollmsClient) -> Any:
    text = ""
    try:
        for chunk in client.stream("hi"):
            text += chunk.text
    except LollmsError as error:
        return _shown(error.to_dict())
    return text


async def _astreamed(client: LollmsClient) -> Any:
    text = ""
    try:
        async with contextlib.aclosing(client.astream("hi")) as chunks:
            async for chunk in chunks:
                text += chunk.text
    except LollmsError as error:
        return _shown(error.to_dict())
    return text


def _shown(value: Any) -> Any:
    """An error as one line of text; anything else as it is."""
    return f"{value['type']}: {value['error']}" if isinstance(value, Mapping) else value
