"""The package keeps the contract, and does what it is for."""

import pytest

from lollms_core import LollmsClient
from lollms_core.testing import BackendConformance


class TestShoutConformance(BackendConformance):
    """Every behaviour that lollms expects of a backend."""

    @pytest.fixture
    def client_options(self):
        return {"default_generation_mode": "shout"}

    def expected_answer(self, prompt):
        return "".join(word.upper() + " " for word in prompt.split())


@pytest.mark.parametrize(("ending", "answer"), [("", "GOOD MORNING "), ("!!!", "GOOD!!! MORNING!!! ")])
def test_ending(ending, answer):
    with LollmsClient(default_generation_mode="shout", ending=ending) as client:
        assert client.generate("good morning") == answer
