"""The echo format keeps the contract."""

from __future__ import annotations

from typing import ClassVar

import pytest

from lollms_core import LollmsClient, Message
from lollms_core.testing import BackendConformance
from tests.support.results import result_of
from tests.support.waiting import PATIENCE


class TestEcho(BackendConformance):
    patience = PATIENCE
    deviations: ClassVar = {"test_earlier_messages_count": "an echo answers what was said last, and nothing else"}

    @pytest.fixture
    def client_options(self):
        return {"default_generation_mode": "echo"}

    @pytest.fixture
    def silent_options(self):
        return {"delay": 3600.0}

    def expected_answer(self, prompt):
        return prompt


def test_a_conversation_is_answered_with_what_was_said_last():
    said = [Message("user", "one"), Message("assistant", "two"), Message("user", "three four")]
    with LollmsClient(default_generation_mode="echo", raise_errors=True) as client:
        assert client.generate(said) == "three four"
        assert result_of(client.complete(said, system_prompt="Be brief.")).text == "Be brief.\nthree four"


@pytest.mark.parametrize(
    ("n_predict", "answer", "finish_reason"),
    [(1, "a", "length"), (2, "a ", "stop"), (3, "a ", "stop"), (None, "a ", "stop")],
)
def test_the_limit_counts_what_is_before_the_stop_sequence(n_predict, answer, finish_reason):
    with LollmsClient(default_generation_mode="echo", raise_errors=True) as client:
        completion = result_of(client.complete("a STOP b c d", n_predict, stop="STOP"))
    assert (completion.text, completion.finish_reason) == (answer, finish_reason)
