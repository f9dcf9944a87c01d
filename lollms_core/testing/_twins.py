"""Sync equals async, one equals many: the same calls by other ways, and many at once."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from lollms_core import Chunk, Completion, LollmsError, Message
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting

__all__ = ["Twins"]

_CALLS = (
    "generate", "chat", "complete", "stream", "tokenize", "detokenize", "count_tokens", "embed", "list_models",
    "model_info", "list_personalities",
)  # fmt: skip

_TASKS = ("Apples", "Bridges", "Clocks", "Dolphins")


class Twins(Setting):
    """Every way to the same question leads to the same answer."""

    @pytest.mark.parametrize("call", _CALLS)
    @behaviour
    def test_async_twin(self, call: str) -> None:
        arguments, options = self._arguments(call)
        here = self._sync(call, arguments, options)
        there = asyncio.run(self._async(f"a{call}", arguments, options))
        if self.deterministic or call not in ("generate", "chat", "complete", "stream"):
            require(
                _same(here, there),
                f"{call}() gave {here!r}, a{call}() gave {there!r}",
                "a program that is made async must not change its behaviour.",
            )
        else:
            require(
                type(here) is type(there), f"{call}() gave {here!r}, a{call}() gave {there!r}", "same call, same type."
            )

    @behaviour
    def test_async_callback(self) -> None:
        got: list[str] = []

        async def callback(text: str, _: object) -> bool:
            await asyncio.sleep(0)
            got.append(text)
            return False

        answer = asyncio.run(self.client.agenerate(self.prompt, streaming_callback=callback, **self.settings()))
        require(
            len(got) == 1 and isinstance(answer, str) and answer.startswith(got[0]),
            f"an async callback that returns False was called with {got}, and agenerate() gave {answer!r}",
            "async programs could not stop an answer.",
        )

    @behaviour
    def test_one_client_in_many_event_loops(self) -> None:
        answers = [asyncio.run(self.client.agenerate(self.prompt, **self.settings())) for _ in range(3)]
        require(
            all(isinstance(answer, str) and answer for answer in answers),
            f"one client under three event loops, one after the other, gave {answers}",
            'scripts and notebooks call asyncio.run more than once; "Event loop is closed" is what they get where '
            "connections outlive their loop.",
        )

    @behaviour
    def test_many_threads_do_not_mix(self) -> None:
        expected = {task: self.answer(f"{self.prompt} {task}") for task in _TASKS}
        got: dict[str, Any] = {}
        barrier = threading.Barrier(len(_TASKS))

        def work(task: str) -> None:
            barrier.wait()
            try:
                got[task] = self.client.generate(f"{self.prompt} {task}", **self.settings())
            except Exception as error:  # to be shown with the others
                got[task] = error

        threads = [threading.Thread(target=work, args=(task,), daemon=True) for task in _TASKS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._must_not_mix(expected, got, "threads")

    @behaviour
    def test_many_tasks_do_not_mix(self) -> None:
        expected = {task: self.answer(f"{self.prompt} {task}") for task in _TASKS}

        async def main() -> list[Any]:
            calls = [self.client.agenerate(f"{self.prompt} {task}", **self.settings()) for task in _TASKS]
            return await asyncio.gather(*calls, return_exceptions=True)

        self._must_not_mix(expected, dict(zip(_TASKS, asyncio.run(main()), strict=True)), "tasks")

    @behaviour
    def test_two_streams_side_by_side(self) -> None:
        expected = {task: self.answer(f"{self.prompt} {task}") for task in _TASKS[:2]}
        got = dict.fromkeys(expected, "")
        with contextlib.ExitStack() as stack:
            streams = {
                task: stack.enter_context(
                    contextlib.closing(self.client.stream(f"{self.prompt} {task}", **self.settings()))
                )
                for task in expected
            }
            running = dict(streams)
            while running:
                for task, stream in list(running.items()):
                    chunk = next(stream, None)
                    if chunk is None:
                        del running[task]
                    elif chunk.type == 0:
                        got[task] += chunk.text
        self._must_not_mix(expected, dict(got), "interleaved streams")

    # --- how ------------------------------------------------------------------------------------------------------

    def _must_not_mix(self, expected: Mapping[str, str], got: Mapping[str, Any], how: str) -> None:
        __tracebackhide__ = True
        wrong = {
            task: (got.get(task), answer)
            for task, answer in expected.items()
            if not isinstance(got.get(task), str) or (self.deterministic and got[task] != answer)
        }
        require(
            not wrong,
            f"{len(expected)} {how} at once, these gave (this, where alone they give that): {wrong}",
            "one user's answer shows up in another's, or calls fail as soon as there are two.",
        )

    def _arguments(self, call: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if call in ("generate", "complete", "stream"):
            return (self.prompt,), self.settings()
        if call == "chat":
            return ([Message("user", self.prompt)],), self.settings()
        if call == "detokenize":
            tokens = self.client.tokenize("Hello, world!")
            return (tokens,), {}
        if call in ("tokenize", "count_tokens", "embed"):
            return ("Hello, world!",), {}
        return (), {}

    def _sync(self, call: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        try:
            value = getattr(self.client, call)(*arguments, **options)
            return list(value) if call == "stream" else value
        except LollmsError as error:
            return error.to_dict()

    async def _async(self, call: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        try:
            value = getattr(self.client, call)(*arguments, **options)
            return [chunk async for chunk in value] if call == "astream" else await value
        except LollmsError as error:
            return error.to_dict()


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and one and isinstance(one[0], Chunk):
        return isinstance(other, list) and _summary(one) == _summary(other)
    if isinstance(one, Completion) and isinstance(other, Completion):
        # Timings differ, and a cache may have served the second.
        return (one.text, one.reasoning, one.finish_reason) == (other.text, other.reasoning, other.finish_reason) and (
            one.usage.prompt_tokens,
            one.usage.completion_tokens,
        ) == (other.usage.prompt_tokens, other.usage.completion_tokens)
    if isinstance(one, list) and one and isinstance(one[0], float):
        return len(one) == len(other) and all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _summary(chunks: list[Chunk]) -> tuple[str, str, Any]:
    texts = {kind: "".join(c.text for c in chunks if (c.type == 0) is kind) for kind in (True, False)}
    return texts[True], texts[False], chunks[-1].finish_reason
