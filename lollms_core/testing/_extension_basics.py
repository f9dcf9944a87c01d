"""The basics of an extension: three behaviours that run first. Where one of them fails, no other is tried."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from lollms_core import LollmsClient
from lollms_core.testing._extension_setting import ExtensionSetting
from lollms_core.testing._known_backends import Bare, BareAsync
from lollms_core.testing._requirements import behaviour, require

__all__ = ["ExtensionBasics"]


class ExtensionBasics(ExtensionSetting):
    """A question gets an answer, and so does a second one, from sync and async code, whole and in pieces."""

    basics: ClassVar[frozenset[str]] = frozenset(
        {"test_a_question_is_answered", "test_an_async_question_is_answered", "test_an_answer_is_streamed"}
    )

    @behaviour
    def test_a_question_is_answered(self) -> None:
        with self.client(Bare) as client:
            for number in ("first", "second"):
                self.must_be_an_answer(f"the {number} call of complete()", client.complete("one two"), "one two ")

    @behaviour
    def test_an_async_question_is_answered(self) -> None:
        with self.client(BareAsync) as client:
            for number in ("first", "second"):
                answer = asyncio.run(client.acomplete("one two"))
                self.must_be_an_answer(f"the {number} call of acomplete()", answer, "one two ")

    @behaviour
    def test_an_answer_is_streamed(self) -> None:
        async def main(client: LollmsClient) -> list[str]:
            return [chunk.text async for chunk in client.astream("one two")]

        with self.client(BareAsync) as client:
            here = [chunk.text for chunk in client.stream("one two")]
        with self.client(Bare) as client:
            there = asyncio.run(main(client))
        for what, texts in (("stream()", here), ("astream()", there)):
            require(
                not self.transparent or "".join(texts) == "one two ",
                f"{what} gave {texts}, where the backend said 'one two '",
                "a program that shows answers as they come shows something else than the model said.",
            )
