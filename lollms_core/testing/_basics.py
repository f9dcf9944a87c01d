"""The basics: five behaviours that run first. Where one of them fails, no other is tried: it would say nothing."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from lollms_core import MSG_TYPE, Chunk
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting

__all__ = ["Basics"]


class Basics(Setting):
    """A question gets an answer, whole and in pieces, from sync and async code, and a client ends."""

    basics: ClassVar[frozenset[str]] = frozenset(
        {
            "test_answer_is_text", "test_pieces_are_whole_text", "test_streamed_answer_equals_the_answer",
            "test_an_async_call_answers", "test_a_client_that_answered_ends",
        }
    )  # fmt: skip

    @behaviour
    def test_answer_is_text(self) -> None:
        answer = self.client.generate(self.prompt, **self.settings())
        require(
            isinstance(answer, str) and answer.strip(),
            f"generate() gave {answer!r}, not a text with something in it",
            "this is the first thing that anybody tries.",
        )

    @behaviour
    def test_streamed_answer_equals_the_answer(self) -> None:
        answer = self.answer()
        pieces = self.pieces()
        require(pieces, "stream() gave no text", "a program that shows answers as they come shows nothing.")
        if self.deterministic:
            require(
                "".join(pieces) == answer,
                f"the pieces of the stream make {''.join(pieces)!r}, generate() gave {answer!r}",
                "text is lost or added on one of the two ways, and users see only one of them.",
            )

    @behaviour
    def test_pieces_are_whole_text(self) -> None:
        for chunk in self.client.stream(self.prompt, **self.settings()):
            require(
                isinstance(chunk, Chunk) and isinstance(chunk.text, str) and chunk.type in tuple(MSG_TYPE),
                f"the stream gave {chunk!r}, which is no Chunk with a str and a MSG_TYPE",
                "programs read chunk.text and chunk.type.",
            )
            broken = [c for c in chunk.text if c == "\ufffd" or 0xD800 <= ord(c) <= 0xDFFF]
            require(
                not broken,
                f"a piece holds half a character: {chunk.text!r}",
                "emoji and most scripts of the world arrive broken. Decode incrementally; hold back only the bytes of "
                "a character that is not complete.",
            )

    @behaviour
    def test_an_async_call_answers(self) -> None:
        answer = asyncio.run(self.client.agenerate(self.prompt, **self.settings()))
        require(
            isinstance(answer, str) and answer.strip(),
            f"agenerate() gave {answer!r}, not a text with something in it",
            "programs that are written with asyncio get nothing.",
        )

    @behaviour
    def test_a_client_that_answered_ends(self) -> None:
        with self.own_client() as client:
            client.generate(self.prompt, **self.settings())
