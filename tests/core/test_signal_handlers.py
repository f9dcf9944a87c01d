"""What a signal handler of the program raises in the middle of a call reaches the program, as it is."""

from __future__ import annotations

import functools
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lollms_core import LollmsClient, ServerError
from tests.support import lollms_stub
from tests.support.lollms_stub import LollmsStub
from tests.support.waiting import PATIENCE, PATIENT

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="Windows has no timer that sends a signal, nor do its programs use one"
)


class SoftTimeLimitExceeded(Exception):
    """As Celery's."""


class Handler:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def method(self, *_: object) -> None:
        raise self.error

    def __call__(self, *_: object) -> None:
        raise self.error


@pytest.fixture
def alarm() -> Iterator[Callable[[Any], None]]:
    """Installs a handler, and lets it be called soon."""
    before = signal.getsignal(signal.SIGALRM)

    def arm(handler: Any) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.3)

    yield arm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def endless(body: object) -> Iterator[str]:
    for number in itertools.count():
        yield f"{number} "
        time.sleep(0.02)


def silent(body: object) -> Iterator[str]:
    time.sleep(PATIENCE)
    yield "too late"


@pytest.fixture
def stub() -> Iterator[LollmsStub]:
    with LollmsStub(answer=endless) as stub:
        yield stub


RAISED = [
    SoftTimeLimitExceeded("mine"), OSError("mine"), TimeoutError("mine"), ConnectionError("mine"), ServerError("mine"),
]  # fmt: skip


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("ask", [LollmsClient.generate, lambda client, text: list(client.stream(text))])
@pytest.mark.parametrize("answer", [endless, silent])
def test_it_is_no_failure_of_the_format(
    stub: LollmsStub, alarm: Callable[[Any], None], error: Exception, ask: Any, answer: Any
) -> None:
    stub.answer = answer
    with LollmsClient(stub.address, timeouts=PATIENT) as client:
        client.list_models()
        alarm(Handler(error).method)
        with pytest.raises(type(error)) as raised:
            ask(client, "hi")
        assert raised.value is error
        stub.over.set()
    assert stub.paths().count("/lollms_generate") == 1


def bound(error: Exception) -> Any:
    def handler(error: Exception, *_: object) -> None:
        raise error

    return functools.partial(handler, error)


def once(error: Exception) -> Any:
    def handler(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise error

    return handler


@pytest.mark.parametrize("handler", [bound, once])
@pytest.mark.parametrize("error", [SoftTimeLimitExceeded("mine"), TimeoutError("mine")])
def test_other_forms_of_handlers(
    stub: LollmsStub, alarm: Callable[[Any], None], handler: Callable[[Exception], Any], error: Exception
) -> None:
    stub.answer = silent
    with LollmsClient(stub.address, timeouts=PATIENT) as client:
        client.list_models()
        alarm(handler(error))
        with pytest.raises(type(error)) as raised:
            client.generate("hi")
        assert raised.value is error
        stub.over.set()


@pytest.mark.parametrize("form", [Handler.__call__, Handler.method], ids=["object", "method"])
def test_a_question_for_a_value(
    stub: LollmsStub, alarm: Callable[[Any], None], form: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Handler(OSError("mine"))

    def takes_its_time(request: Any, body: object) -> None:
        stub.over.wait(PATIENCE)

    with LollmsClient(stub.address, timeouts=PATIENT) as client:
        client.list_models()
        monkeypatch.setitem(lollms_stub._CLASSIC, ("GET", "/list_models"), takes_its_time)
        alarm(handler if form is Handler.__call__ else handler.method)
        with pytest.raises(OSError, match="mine"):
            client.list_models()
