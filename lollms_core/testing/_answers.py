"""Answers: what a question gives, whole and in pieces."""

from __future__ import annotations

from typing import Any

from lollms_core import Message
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting

__all__ = ["Answers"]

NASTY = (
    'First line\nsecond line\n\n\ttab, two  spaces, "quotes", back\\slash, {braces}, <tags> & 50 %\n'
    "日本語 한국어 العربية עברית ελληνικά 👩‍👩‍👧‍👦 🇫🇷 é e\u0301 𝔘"
)
"""Text that is lost or changed where newlines are framing, bytes are cut, or escapes are forgotten."""


class Answers(Setting):
    """What a plain question gives."""

    @behaviour
    def test_answer_comes_in_pieces(self) -> None:
        pieces = self.pieces()
        require(
            len(pieces) > 1,
            f"the whole answer came as one piece: {pieces!r}",
            "nothing is shown until the last word is there, and a callback cannot stop what is already finished. "
            "Yield a Chunk as soon as there is text.",
        )

    @behaviour
    def test_closing_record_is_last_and_the_only_one(self) -> None:
        chunks = list(self.client.stream(self.prompt, **self.settings()))
        closings = [n for n, chunk in enumerate(chunks) if chunk.finish_reason is not None]
        require(
            closings == [len(chunks) - 1],
            f"of {len(chunks)} chunks those at {closings} carry a finish reason; only the last may",
            "programs take the first finish reason for the end, and what follows is lost.",
        )

    @behaviour
    def test_finish_reason_says_why_the_answer_ended(self) -> None:
        completion = self.complete(**self.settings())
        require(
            completion.finish_reason in ("stop", "length"),
            f"the finish reason of an undisturbed answer is {completion.finish_reason!r}",
            "nobody can tell a complete answer from one that was cut off. End the stream with "
            'Chunk(finish_reason="stop") or "length".',
        )

    @behaviour
    def test_newlines_and_unicode_survive(self) -> None:
        expected = self.expected_answer(NASTY)
        why = "code loses its indentation, lists become one line, and other languages than English turn into noise."
        if expected is not None:
            roomy = {"n_predict": 4096} if self.declares("n_predict") else {}
            whole = self.complete(NASTY, **self.settings(**roomy)).text
            require(whole == expected, f"the prompt {NASTY!r}\nshould give {expected!r}\nbut gave    {whole!r}", why)
            streamed = "".join(self.pieces(NASTY, **roomy))
            require(streamed == expected, f"streamed, it should give {expected!r}\nbut gave {streamed!r}", why)
        else:
            self.complete(NASTY, **self.settings())
        sent = self.observed()
        if sent is not None:
            require(_contains(sent, NASTY), f"the prompt {NASTY!r} is not in what was sent: {sent!r}", why)

    @behaviour
    def test_same_question_same_answer(self) -> None:
        answers = [self.answer() for _ in range(3)]
        require(
            len(set(answers)) == 1,
            f"the same question under {self.settings()} gave different answers: {answers}",
            "nobody can test a program, or repeat a result, whose answers change under temperature 0. Declare "
            "`temperature` and `seed` in Capabilities.options if the backend honours them.",
        )

    @behaviour
    def test_conversation_is_answered(self) -> None:
        said = ["My name is Ada.", "Hello Ada, what can I do for you?", self.prompt]
        conversation = [Message("user", said[0]), Message("assistant", said[1]), Message("user", said[2])]
        answer = self.client.chat(conversation, **self.settings())
        require(
            isinstance(answer, str) and answer.strip(),
            f"chat() over three messages gave {answer!r}",
            "a chat program cannot use this backend. `request.messages` has the conversation; `request.as_messages()` "
            "gives a prompt and a conversation alike.",
        )
        sent = self.observed()
        if sent is not None:
            missing = [text for text in said if not _contains(sent, text)]
            require(
                not missing, f"of the conversation, {missing} was not sent", "the model forgets what was said before."
            )
        dictionaries = [{"role": m.role, "content": m.text} for m in conversation]
        again = self.client.chat(dictionaries, **self.settings())
        if self.deterministic:
            require(
                again == answer,
                f"as dictionaries the conversation gave {again!r}, as Messages {answer!r}",
                "same words, same answer.",
            )

    @behaviour
    def test_usage_is_plausible(self) -> None:
        completion = self.complete(**self.settings())
        usage = completion.usage
        for name in ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens"):
            count = getattr(usage, name)
            least = 1 if name == "prompt_tokens" else 0
            require(
                count is None or (isinstance(count, int) and count >= least),
                f"usage.{name} is {count!r} after an answer of {len(completion.text)} characters",
                "users are billed by these numbers. Leave a count at None where it is not known.",
            )
        if usage.completion_tokens is not None and completion.text:
            require(
                usage.completion_tokens > 0,
                "usage.completion_tokens is 0 for an answer that has text",
                "users are billed by it.",
            )
            if self.declares("n_predict"):
                require(
                    usage.completion_tokens <= self.limit,
                    f"usage.completion_tokens is {usage.completion_tokens} under n_predict={self.limit}",
                    "either the limit is not kept or the count is wrong; both cost money.",
                )
        if usage.prompt_tokens is not None and self._observe is None:
            longer = self.complete(f"{self.prompt} " * 3, **self.settings()).usage.prompt_tokens
            require(
                longer is not None and longer > usage.prompt_tokens,
                f"a prompt of three times the length has {longer} prompt tokens, the short one {usage.prompt_tokens}",
                "the count does not follow the prompt, so nobody can plan for the context window.",
            )

    @behaviour
    def test_default_call_does_not_warn(self) -> None:
        import warnings

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # Not asked any further than the first piece: without n_predict the answer may be long.
            stream = self.client.stream(self.prompt)
            next(stream)
            stream.close()
        ours = [str(w.message) for w in caught if "does not honour" in str(w.message)]
        require(
            not ours,
            f"a call that chose nothing warned: {ours}",
            "users learn to ignore warnings that they did not cause.",
        )


def _contains(sent: Any, text: str) -> bool:
    """Whether some string inside of the payload contains the text, unescaped."""
    if isinstance(sent, str):
        return text in sent
    if isinstance(sent, dict):
        return any(_contains(value, text) for value in sent.values())
    if isinstance(sent, (list, tuple)):
        return any(_contains(value, text) for value in sent)
    return False
