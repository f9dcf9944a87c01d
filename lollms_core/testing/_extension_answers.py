"""What an extension does to answers: nothing of them is lost or mixed, and every question gets its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    Backend,
    Chunk,
    Completion,
    Image,
    LollmsClient,
    Message,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
)
from lollms_core.testing._extension_setting import ExtensionSetting, outcome, shown
from lollms_core.testing._known_backends import ANSWERING, RICH, Telling
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import png

__all__ = ["ExtensionAnswers"]


class ExtensionAnswers(ExtensionSetting):
    """What the model says reaches whoever asked, and all of it."""

    @ANSWERING
    @behaviour
    def test_answers(self, backend: type[Backend]) -> None:
        with self.client(backend) as client:
            here = client.complete("one two three")
            there = asyncio.run(client.acomplete("one two three"))
        for call, completion in (("complete()", here), ("acomplete()", there)):
            self.must_be_an_answer(call, completion, "one two three ")
            assert isinstance(completion, Completion)
            require(
                not self.transparent or completion.finish_reason == "stop",
                f"{call} gave the finish reason {completion.finish_reason!r} where the backend gave 'stop'",
                "callers cannot tell a whole answer from one that was cut.",
            )
        self.must_be_unchanged("complete().text", str(here), str(there), "one two three ")

    @ANSWERING
    @behaviour
    def test_streams(self, backend: type[Backend]) -> None:
        with self.client(backend) as client:
            here, there = list(client.stream("one two three")), asyncio.run(_astream(client, "one two three"))
        self.must_be_unchanged("the stream", _text(here), _text(there), "one two three ")

    @RICH
    @behaviour
    def test_nothing_of_an_answer_is_lost(self, backend: type[Backend]) -> None:
        with self.bare_client(backend) as client:
            expected = {how: ask() for how, ask in _ways(client).items()}
        with self.client(backend) as client:
            for _ in range(2):  # the second time, a cache has something to give
                for how, ask in _ways(client).items():
                    got = outcome(ask)
                    self.must_not_break(f"{how}, with reasoning, a tool call and a provider's own part,", got)
                    if self.transparent:
                        self._must_be_whole(how, got, expected[how])

    def _must_be_whole(self, how: str, got: Any, expected: Mapping[str, Any]) -> None:
        __tracebackhide__ = True
        require(isinstance(got, dict), f"{how} gave {shown(got)}", "the caller gets no answer.")
        for name, due in expected.items():
            require(
                got[name] == due,
                f"{how} gave the {name} {got[name]!r} where the backend gave {due!r}",
                "what a model thought, which tool it wants, what it used and what its provider has said are part of an "
                "answer. Pass chunks on as they are, or change them with chunk._replace(…); a cache keeps the chunks. "
                "If it is the purpose to leave it out, say transparent = False.",
            )

    @ANSWERING
    @behaviour
    def test_many_calls_at_once_do_not_mix(self, backend: type[Backend]) -> None:
        prompts = [f"{number} " * 20 for number in range(6)]
        got: dict[str, Any] = {}

        def work(client: LollmsClient, prompt: str) -> None:
            got[prompt] = outcome(lambda: client.generate(prompt))

        async def main(client: LollmsClient) -> list[Any]:
            return await asyncio.gather(*map(client.agenerate, prompts))

        with self.client(backend) as client:
            threads = [threading.Thread(target=work, args=(client, prompt), daemon=True) for prompt in prompts]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(self.patience)
            there = asyncio.run(main(client))
        require(len(got) == len(prompts), f"of {len(prompts)} threads, {len(got)} got an answer", "calls get lost.")
        self.must_not_break("generate(), in several threads at once,", *got.values())
        if self.transparent:
            require(
                all(got[prompt] == prompt for prompt in prompts) and there == prompts,
                f"calls at the same time got the answers {list(got.values())} and {there}",
                "one user reads what another one was told.",
            )

    @behaviour
    def test_whatever_is_asked_makes_a_difference(self) -> None:
        with self.client(Telling) as client:
            for _ in range(2):  # the second time, a cache has something to give
                got = [str(ask()) for ask in _questions(client, with_schema=self.transparent)]
                if self.transparent:
                    same = {text for text in got if got.count(text) > 1}
                    require(
                        not same,
                        f"different questions got the same answer: {same}",
                        "whoever asks something else reads what another question was answered.",
                    )


async def _astream(client: LollmsClient, prompt: str) -> list[Chunk]:
    return [chunk async for chunk in client.astream(prompt)]


def _ways(client: LollmsClient) -> Mapping[str, Callable[[], dict[str, Any]]]:
    """The ways to an answer, each of which gives all that is in it."""
    return {
        "complete()": lambda: _of_completion(client.complete("one two")),
        "acomplete()": lambda: _of_completion(asyncio.run(client.acomplete("one two"))),
        "stream()": lambda: _of_stream(list(client.stream("one two"))),
        "astream()": lambda: _of_stream(asyncio.run(_astream(client, "one two"))),
    }


def _of_completion(completion: Any) -> dict[str, Any]:
    names = ("text", "reasoning", "tool_calls", "parts", "finish_reason", "usage", "metadata")
    return {name: getattr(completion, name) for name in names}


def _of_stream(chunks: list[Chunk]) -> dict[str, Any]:
    end = chunks[-1]
    return {
        "text": _text(chunks),
        "reasoning": "".join(chunk.text for chunk in chunks if not chunk.is_answer),
        "parts": [chunk.part for chunk in chunks if chunk.part is not None],
        "finish_reason": end.finish_reason,
        "usage": end.usage,
        "metadata": end.metadata,
    }


def _text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if chunk.is_answer)


def _questions(client: LollmsClient, *, with_schema: bool) -> list[Callable[[], Any]]:
    """Questions that all differ. An answer that was changed on purpose need not satisfy a schema."""
    options: list[dict[str, Any]] = [
        {}, {"system_prompt": "s"}, {"model_name": "m"}, {"completion_format": ELF_COMPLETION_FORMAT.Instruct},
        {"temperature": 0.7}, {"seed": 7}, {"think": True}, {"think": "high"}, {"personality": 3},
        {"extra": {"x": 1}}, *([{"json_schema": {}}] if with_schema else ()),
    ]  # fmt: skip
    red, blue = (Image(data, "image/png") for data in (png(255, 0, 0), png(0, 0, 255)))
    call, other = (ToolCall(name="weather", arguments={"city": city}, id="1") for city in ("Paris", "Rome"))
    rain, sun = (ToolResult(text=text, id="1", name="weather") for text in ("rain", "sun"))
    conversations: list[list[Message]] = [
        [Message("user", "x"), Message("assistant", "y"), Message("user", "x")],
        [Message("user", "x", [red])],
        [Message("user", "x", [blue])],
        *(
            [Message("user", "x"), Message("assistant", [thought, TextPart("y"), calls]), Message("tool", [result])]
            for thought, calls, result in (
                (ReasoningPart("a"), call, rain), (ReasoningPart("b"), call, rain), (ReasoningPart("a"), other, rain),
                (ReasoningPart("a"), call, sun),
            )
        ),
    ]  # fmt: skip
    return [
        *(lambda given=given: client.generate("x", **given) for given in options),
        *(lambda seen=seen: client.generate_with_images("x", [seen.data]) for seen in (red, blue)),
        *(lambda said=said: client.chat(said) for said in conversations),
    ]
