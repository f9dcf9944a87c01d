"""Dialogues: several questions that are one task, run by sync and async clients alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from lollms_core import (
    Ask,
    Backend,
    BackendError,
    CallCancelledError,
    Capabilities,
    Chunk,
    Completion,
    Dialogue,
    GenerationRequest,
    InvalidAnswerError,
    InvalidRequestError,
    LollmsClient,
    LollmsError,
    Message,
    ToolCall,
    ask_until_valid,
    hookimpl,
)


class Remembering(Backend):
    """Answers with the next of its answers, and keeps what it was asked."""

    capabilities = Capabilities(options=frozenset({"messages", "temperature", "n_predict", "json_schema"}))
    answers: Iterator[str] = iter(())
    seen: ClassVar[list[GenerationRequest]] = []

    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        Remembering.seen.append(request)
        answer = next(Remembering.answers)
        if answer == "fail":
            raise BackendError("no more", partial_text="half")
        yield Chunk(answer)
        yield Chunk(finish_reason="stop")


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Runs a dialogue over given answers."""
    Remembering.seen = []
    with LollmsClient(default_generation_mode=Remembering, raise_errors=True) as client:

        def go(dialogue: Any, *answers: str, **options: Any) -> Any:
            Remembering.answers = iter(answers)
            if request.param == "sync":
                return client.run(dialogue, **options)
            return asyncio.run(client.arun(dialogue, **options))

        yield go


def twice(first: str) -> Dialogue[tuple[str, str]]:
    one: Completion = yield Ask(first, {"temperature": 0.5})
    two: Completion = yield Ask([Message("user", first), one.message, Message("user", "And?")], {"n_predict": 7})
    return one.text, two.text


def test_asks_is_answered_and_returns(run: Any) -> None:
    pieces: list[str] = []
    assert run(twice("Hi"), "a", "b", n_predict=5, streaming_callback=lambda piece, _: pieces.append(piece)) == (
        "a",
        "b",
    )
    first, second = Remembering.seen
    assert (first.prompt, first.sampling.temperature, first.sampling.n_predict) == ("Hi", 0.5, 5)
    assert second.messages == (Message("user", "Hi"), Message("assistant", "a"), Message("user", "And?"))
    assert (second.sampling.temperature, second.sampling.n_predict) == (0.1, 7)
    assert pieces == ["a", "b"]


def test_an_error_is_thrown_in(run: Any) -> None:
    def careful() -> Dialogue[str]:
        try:
            yield Ask("x")
        except LollmsError as error:
            return f"kept {error.partial_text}"
        return "never"

    assert run(careful(), "fail") == "kept half"
    with pytest.raises(BackendError, match="no more"):
        run(twice("x"), "fail")


def test_an_error_of_the_dialogue_reaches_the_caller(run: Any) -> None:
    def wrong() -> Dialogue[str]:
        yield Ask("x")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(wrong(), "a")


def test_what_is_no_dialogue(run: Any) -> None:
    with pytest.raises(TypeError, match="a dialogue is a generator that yields Ask, not list"):
        run([Ask("x")])
    with pytest.raises(TypeError, match="a dialogue must yield Ask, not str"):
        run(iter_of_texts())
    with pytest.raises(TypeError, match="the options of an Ask are a mapping, not NoneType"):
        run(one_question(None))
    with pytest.raises(TypeError, match="'temprature' is not an option"):
        run(misspelt(), "a")


def iter_of_texts() -> Any:
    yield "text"


def one_question(options: Any) -> Dialogue[None]:
    yield Ask("x", options)


def misspelt() -> Dialogue[None]:
    yield Ask("x", {"temprature": 1})


class City(BaseModel):
    name: str


def test_asks_until_the_answer_is_valid(run: Any) -> None:
    assert run(ask_until_valid("A city?", City), "Rome", '{"nam": "Rome"}', '{"name": "Rome"}') == City(name="Rome")
    last = Remembering.seen[-1].messages
    assert [message.role for message in last] == ["user", "assistant", "user", "assistant", "user"]
    assert last[1].text == "Rome"
    assert last[2].text.startswith("That is not valid: it is not JSON.")
    assert "$.name: Field required" in last[4].text
    assert run(ask_until_valid([Message("user", "A number?")], {"type": "integer"}), "7") == 7


def test_gives_up_after_some_attempts(run: Any) -> None:
    with pytest.raises(InvalidAnswerError, match="it is not JSON") as caught:
        run(ask_until_valid("A city?", City, attempts=2), "a", "b", "c")
    assert (caught.value.partial_text, caught.value.problem, caught.value.retryable) == ("b", "it is not JSON", True)
    assert len(Remembering.seen) == 2


def test_another_error_is_not_asked_again(run: Any) -> None:
    with pytest.raises(BackendError, match="no more"):
        run(ask_until_valid("A city?", City), "fail", '{"name": "Rome"}')


@pytest.mark.filterwarnings("ignore:the echo format does not honour")
def test_a_client_that_returns_errors_returns_them() -> None:
    with LollmsClient(default_generation_mode="echo", fail_with="ServerError") as client:
        answer = client.run(ask_until_valid("x", {}))
    assert isinstance(answer, dict)
    assert answer["type"] == "ServerError"


@pytest.mark.parametrize(
    ("schema", "kind", "complaint"),
    [
        (int, TypeError, "must be a JSON Schema or a pydantic model class, not type"),
        (BaseModel, InvalidRequestError, "pydantic makes no JSON Schema of BaseModel"),
        ({"type": "wat"}, InvalidRequestError, "not a valid JSON Schema"),
    ],
)
def test_what_is_no_schema(run: Any, schema: Any, kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        run(ask_until_valid("x", schema), "1")
    assert Remembering.seen == []


class Calling(Backend):
    contract_version = 1
    capabilities = Capabilities(options=frozenset({"json_schema"}))

    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        yield Chunk(part=ToolCall(name="look"))
        yield Chunk(finish_reason="stop")


def test_a_call_is_no_answer_by_a_schema() -> None:
    with LollmsClient(default_generation_mode=Calling, raise_errors=True) as client:
        with pytest.raises(InvalidAnswerError, match="the model calls look"):
            client.run(ask_until_valid("x", {"type": "object"}))


def test_a_dialogue_is_closed_when_a_callback_fails() -> None:
    closed = []

    def asks() -> Dialogue[str]:
        try:
            answer = yield Ask("x")
            return answer.text
        finally:
            closed.append(True)

    def fail(*_: object) -> None:
        raise KeyError("mine")

    dialogue = asks()
    with LollmsClient(default_generation_mode="echo", raise_errors=True) as client:
        with pytest.raises(KeyError) as raised:
            client.run(dialogue, streaming_callback=fail)
        assert closed == [True]
        del raised


@pytest.mark.parametrize("wrong", [{"template": b"x"}, {"language": 5}])
def test_code_is_asked_for_with_texts(wrong: dict[str, Any]) -> None:
    with LollmsClient(default_generation_mode="echo", raise_errors=True) as client:
        with pytest.raises(TypeError, match="must be a str, not"):
            client.generate_code("x", **wrong)


def several() -> Any:
    said = []
    for number in range(3):
        answer = yield Ask(f"question {number}")
        said.append(answer.text)
    return said


def keeping() -> Any:
    said = []
    try:
        for number in range(3):
            answer = yield Ask(f"question {number}")
            said.append(answer.text)
    except CallCancelledError:
        said.append("stopped")
    return said


def test_nothing_more_is_asked_once_somebody_has_stopped(run: Any) -> None:
    with pytest.raises(CallCancelledError) as caught:
        run(several(), "one", "two", streaming_callback=lambda *_: False)
    assert caught.value.partial_text == "one"
    assert run(keeping(), "one", "two", streaming_callback=lambda *_: False) == ["one", "stopped"]
    assert len(Remembering.seen) == 2
