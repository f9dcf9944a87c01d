"""The LoLLMS format keeps the contract, with the classic and with the current server (stubs over real HTTP)."""

from __future__ import annotations

import re
import time
from typing import ClassVar

import pytest

from lollms_core import Timeouts
from lollms_core.testing import BackendConformance
from tests.support.dialects import LOLLMS, OPENAI
from tests.support.fault_server import FaultServer
from tests.support.lollms_stub import LollmsStub
from tests.support.waiting import PATIENCE

GENERATING = ("/lollms_generate", "/lollms_generate_with_images", "/v1/chat/completions")


def repeat(body):
    """What a model would say that repeats what it is told, and keeps to the JSON schema and the stop sequences."""
    text = body.get("prompt")
    if text is None:
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    return re.findall(r"\s*\S+|\s+\Z", text)


def repeat_slowly(body):
    """The same at a hundred words a second: text without frames melts into one piece if it all comes at once."""
    for word in repeat(body):
        yield word
        time.sleep(0.01)


@pytest.fixture(scope="module")
def classic():
    with LollmsStub("classic", answer=repeat_slowly) as stub:
        yield stub


@pytest.fixture(scope="module")
def current():
    with LollmsStub("current", answer=repeat) as stub:
        yield stub


class OverAStub(BackendConformance):
    """What both servers have in common."""

    patience = PATIENCE

    @pytest.fixture
    def observe(self, stub):
        return lambda: next(r.body for r in reversed(stub.requests) if r.path in GENERATING)

    def expected_answer(self, prompt):
        return prompt


class TestClassicServer(OverAStub):
    deviations: ClassVar = {
        "test_finish_reason_says_why_the_answer_ended": "the classic server's text stream has no place for a reason",
        "test_cut_answer_says_length": "the classic server's text stream has no place for a reason",
    }

    @pytest.fixture
    def stub(self, classic):
        return classic

    @pytest.fixture
    def client_options(self, stub):
        return {"host_address": stub.address}

    @pytest.fixture
    def silent_options(self):
        with FaultServer(LOLLMS) as server:
            yield {"host_address": server.address("stall")}


class TestCurrentServer(OverAStub):
    deviations: ClassVar = {
        "test_two_streams_side_by_side": "the server ends one answer of a user when another one ends, so the second "
        "stream is refused while the first is open in the same thread",
        "test_cut_answer_says_length": "the server says `stop` also at the limit",
    }

    @pytest.fixture
    def stub(self, current):
        return current

    @pytest.fixture
    def client_options(self, stub):
        limits = Timeouts(first_token=20)  # which the second one of two streams in one thread waits for
        return {"host_address": stub.address, "model_name": "stub-model", "timeouts": limits}

    @pytest.fixture
    def silent_options(self):
        with FaultServer(OPENAI) as server:
            yield {"host_address": server.address("stall")}
