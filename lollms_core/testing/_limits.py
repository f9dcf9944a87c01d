"""Where an answer ends, and what makes it repeatable."""

from __future__ import annotations

import pytest

from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting

__all__ = ["Limits"]


class Limits(Setting):
    """`n_predict`, stop sequences, seed."""

    @behaviour
    def test_n_predict_limits_the_answer(self) -> None:
        if not self.declares("n_predict"):
            pytest.skip("the backend does not declare n_predict, so users are warned that it has no effect")
        if self._observe is not None and self.expected_answer(self.prompt) is None:
            pytest.skip("a server that always answers alike cannot show it: test_option_honesty compares requests")
        whole, short = self.answer(), self.answer(n_predict=3)
        require(
            len(short) < len(whole) and (not self.deterministic or whole.startswith(short)),
            f"with n_predict={self.limit} the answer is {whole!r}, with n_predict=3 {short!r}; the second should be a "
            "shorter beginning of the first",
            "n_predict is how users bound time and cost.",
        )

    @behaviour
    def test_cut_answer_says_length(self) -> None:
        if not self.declares("n_predict"):
            pytest.skip("the backend does not declare n_predict, so users are warned that it has no effect")
        completion = self.complete(**self.settings(n_predict=3))
        require(
            completion.finish_reason == "length",
            f"an answer that n_predict=3 cut off has the finish reason {completion.finish_reason!r}",
            "generate_code continues an unfinished answer, and users raise the limit, only if they are told.",
        )

    @behaviour
    def test_stop_sequence_ends_the_answer(self) -> None:
        pieces = self.pieces()
        whole = "".join(pieces)
        for stop in _stops(pieces):
            cut = whole[: whole.index(stop)]
            completion = self.complete(**self.settings(stop=[stop]))
            if self.deterministic:
                require(
                    completion.text == cut,
                    f"{whole!r} with stop={[stop]!r} should be {cut!r} but is {completion.text!r}",
                    "formats that end at a mark, such as one line or one turn of a dialogue, run on or lose text.",
                )
            require(
                stop not in completion.text and completion.finish_reason in ("stop", "unknown"),
                f"stop={[stop]!r} gave {completion.text!r} with finish reason {completion.finish_reason!r}; the "
                'sequence must not be in the text, and the reason is "stop"',
                "users would have to cut the mark off themselves.",
            )

    @behaviour
    def test_first_of_several_stop_sequences_counts(self) -> None:
        whole = self.answer()
        first, second = whole[len(whole) // 3 :][:3], whole[2 * len(whole) // 3 :][:3]
        cut = whole[: min(whole.index(first), whole.index(second))]
        answer = self.answer(stop=[second, first])
        if self.deterministic:
            require(
                answer == cut,
                f"{whole!r} with stop={[second, first]!r} should be {cut!r} but is {answer!r}",
                "the answer must end at whichever mark comes first, in whatever order they are given.",
            )

    @behaviour
    def test_seed_repeats_the_answer(self) -> None:
        if not self.declares("seed"):
            pytest.skip("the backend does not declare seed, so users are warned that it has no effect")
        for seed in (0, 7):
            first, second = (self.complete(**self.hot_settings(seed)).text for _ in range(2))
            require(
                first == second,
                f"seed={seed} gave {first!r}, then {second!r}",
                "a seed is how users repeat what they saw. Mind that 0 is a seed.",
            )


def _stops(pieces: list[str]) -> list[str]:
    """Sequences of the answer to stop at: one in the middle, and one that is split between two pieces."""
    whole = "".join(pieces)
    middle = len(whole) // 2
    found = [whole[middle : middle + 3]]
    boundary = len("".join(pieces[: max(1, len(pieces) // 2)]))
    if 2 <= boundary <= len(whole) - 2:
        found.append(whole[boundary - 2 : boundary + 2])
    require(
        all(found), f"the answer {whole!r} is too short to be stopped", "set `prompt` to one that has a longer answer."
    )
    return found
