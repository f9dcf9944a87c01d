"""Every fault of a server, sync and async: the documented error, the text so far, and nothing stays open."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from lollms_core._backends.lollms import LollmsBackend
from lollms_core._backends.lollms_classic import ClassicServer
from lollms_core.contract.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ContextWindowError,
    IncompleteStreamError,
    InvalidRequestError,
    LollmsError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from lollms_core.contract.types import CloseRequest, GenerationRequest, Timeouts
from lollms_core.http import Exchange
from lollms_core.http._failures import status_error
from tests.http.backends import DIALECTS, make
from tests.support.fault_server import HUGE, TEXT, FaultServer, refused_address
from tests.support.results import known
from tests.support.waiting import PATIENCE, PATIENT, clock_waiting_for, wait_until

WHOLE = "".join(TEXT)
SO_FAR = "".join(TEXT[:2])
HASTY = {limit: replace(PATIENT, **{limit: 0.15}) for limit in ("first_token", "idle")}


@dataclass
class Outcome:
    text: str = ""
    finish: str | None = None
    error: LollmsError | None = None
    pieces: list[str] = field(default_factory=list)


Ask = Callable[..., Outcome]


def ask_sync(
    protocol: str,
    address: str,
    timeouts: Timeouts = PATIENT,
    on_chunk: Callable[[], None] = lambda: None,
    not_before: threading.Event | None = None,
    **settings: object,
) -> Outcome:
    """`not_before` is for `ask_async`; here a limit begins when the request has been sent."""
    backend = make(protocol, address, timeouts=timeouts, **settings)
    outcome = Outcome()
    try:
        for chunk in backend.generate(GenerationRequest(prompt="hi", model="m")):
            outcome.pieces.append(chunk.text)
            on_chunk()
            outcome.finish = chunk.finish_reason or outcome.finish
    except LollmsError as error:
        outcome.error = error
    outcome.text = "".join(outcome.pieces)
    backend.close(CloseRequest())
    return outcome


def ask_async(
    protocol: str,
    address: str,
    timeouts: Timeouts = PATIENT,
    on_chunk: Callable[[], None] = lambda: None,
    not_before: threading.Event | None = None,
    **settings: object,
) -> Outcome:
    """No limit passes `not_before` this event: connecting, however long it takes, counts into the first of them."""

    async def ask() -> Outcome:
        backend = make(protocol, address, timeouts=timeouts, **settings)
        outcome = Outcome()
        try:
            async for chunk in backend.generate(GenerationRequest(prompt="hi", model="m")):
                outcome.pieces.append(chunk.text)
                on_chunk()
                outcome.finish = chunk.finish_reason or outcome.finish
        except LollmsError as error:
            outcome.error = error
        outcome.text = "".join(outcome.pieces)
        if backend._async is None:
            backend.close(CloseRequest())  # natively, the end of the loop closes the connections
        return outcome

    async def ask_by_the_clock() -> Outcome:
        with nullcontext() if not_before is None else clock_waiting_for(not_before):
            return await ask()

    return asyncio.run(ask_by_the_clock())


def ask_in_thread(protocol: str, address: str, *args: Any, **settings: Any) -> Outcome:
    """Async without the extra: the same calls through a thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lollms_core.http._backend.importlib.util.find_spec", lambda name: None)
        return ask_async(protocol, address, *args, **settings)


@pytest.fixture(params=[ask_sync, ask_async, ask_in_thread], ids=["sync", "async", "async-in-thread"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return cast(Ask, request.param)


@pytest.fixture(params=list(DIALECTS))
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def with_a(part: str) -> list[str]:
    """The protocols that have such a thing as `part` of a dialect."""
    return [name for name, dialect in DIALECTS.items() if getattr(dialect, part)]


@pytest.fixture
def server(protocol: str) -> Iterator[FaultServer]:
    threads = set(threading.enumerate())
    with FaultServer(DIALECTS[protocol]) as server:
        yield server
        assert server.wait_for_connections(0), "a connection stayed open"
    wait_until(lambda: set(threading.enumerate()) <= threads, "the threads to end")


@pytest.mark.parametrize("fault", ["ok", "split_character", "compressed", "until_close"])
def test_a_good_answer_in_any_framing(ask: Ask, protocol: str, server: FaultServer, fault: str) -> None:
    outcome = ask(protocol, server.address(fault))
    assert outcome.error is None
    assert outcome.text == WHOLE


def test_a_line_of_ten_megabytes(ask: Ask, protocol: str, server: FaultServer) -> None:
    outcome = ask(protocol, server.address("huge_line"))
    assert outcome.error is None
    assert outcome.text == HUGE


@pytest.mark.parametrize("protocol", with_a("end"), indirect=True)
def test_the_end_mark_ends_the_answer_though_the_body_goes_on(ask: Ask, protocol: str, server: FaultServer) -> None:
    outcome = ask(protocol, server.address("lingering"))
    assert (outcome.error, outcome.text) == (None, WHOLE)
    assert server.gone.wait(PATIENCE)


REFUSALS: dict[str, tuple[type[LollmsError], int, bool]] = {
    "400": (InvalidRequestError, 400, False),
    "window": (ContextWindowError, 400, False),
    "401": (AuthenticationError, 401, False),
    "403": (PermissionDeniedError, 403, False),
    "404": (ModelNotFoundError, 404, False),
    "404-route": (APIStatusError, 404, False),
    "408": (APITimeoutError, 408, True),
    "413": (InvalidRequestError, 413, False),
    "422": (InvalidRequestError, 422, False),
    "429": (RateLimitError, 429, True),
    "500": (ServerError, 500, True),
    "503": (ServerError, 503, True),
    "html_error": (ServerError, 502, True),
    "redirect": (APIStatusError, 307, False),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_refusal(ask: Ask, protocol: str, server: FaultServer, fault: str) -> None:
    kind, status, retryable = REFUSALS[fault]
    outcome = ask(protocol, server.address(fault), max_retries=0)
    assert type(outcome.error) is kind
    assert outcome.error.status_code == status
    assert outcome.error.retryable is retryable
    assert outcome.error.format == protocol
    assert server.count() == 1


def test_the_servers_words_are_in_the_message(ask: Ask, protocol: str, server: FaultServer) -> None:
    assert "top_k is not allowed" in known(ask(protocol, server.address("400")).error).message
    assert "502 Bad Gateway" in known(ask(protocol, server.address("html_error"), max_retries=0).error).message


BREAKS: dict[str, tuple[type[LollmsError] | tuple[type[LollmsError], ...], str]] = {
    "cut": (IncompleteStreamError, SO_FAR),
    "cut_in_chunk": (IncompleteStreamError, SO_FAR),
    "short_length": (IncompleteStreamError, SO_FAR),
    "bad_chunks": (ProtocolError, SO_FAR),
    "error_under_200": (ServerError, ""),
    "error_as_stream": (ServerError, ""),
    "html_page": (ProtocolError, ""),
    "not_http": (ProtocolError, ""),
    "reset": (APIConnectionError, ""),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_an_answer_that_breaks(ask: Ask, protocol: str, server: FaultServer, fault: str) -> None:
    kind, text = BREAKS[fault]
    outcome = ask(protocol, server.address(fault), on_chunk=server.read_by_client.set, max_retries=0)
    assert isinstance(outcome.error, kind), outcome.error
    assert outcome.text == text


@pytest.mark.parametrize("protocol", with_a("end"), indirect=True)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [("no_end_mark", IncompleteStreamError), ("invalid_json", ProtocolError), ("error_in_stream", ServerError)],
)
def test_a_break_that_only_a_framed_protocol_can_show(
    ask: Ask, protocol: str, server: FaultServer, fault: str, kind: type[LollmsError]
) -> None:
    outcome = ask(protocol, server.address(fault), max_retries=0)
    assert type(outcome.error) is kind, outcome.error
    assert outcome.text == SO_FAR


def test_a_reset_in_mid_stream(protocol: str, server: FaultServer) -> None:
    backend = make(protocol, server.address("reset_in_stream"))
    stream = iter(backend.generate(GenerationRequest(prompt="hi", model="m")))
    text = ""
    with pytest.raises(IncompleteStreamError):
        for chunk in stream:
            text += chunk.text
            server.read_by_client.set()
    assert SO_FAR.startswith(text)
    assert text


def test_an_empty_body(ask: Ask, protocol: str, server: FaultServer) -> None:
    outcome = ask(protocol, server.address("empty"), max_retries=0)
    if server.dialect.end:
        assert type(outcome.error) is IncompleteStreamError
    else:
        assert outcome.text == ""


def known_server(self: LollmsBackend) -> Exchange[ClassicServer]:
    yield from ()
    return ClassicServer(None)


@pytest.mark.parametrize(
    ("fault", "limit"), [("slow_headers", "first_token"), ("slow_body", "first_token"), ("stall", "idle")]
)
def test_a_timeout_names_its_limit_and_closes(
    ask: Ask, protocol: str, server: FaultServer, fault: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which kind of server it is would be asked under the same limit, and that question is answered.
    monkeypatch.setattr(LollmsBackend, "_which", known_server)
    outcome = ask(protocol, server.address(fault), HASTY[limit], not_before=server.waiting)
    assert type(outcome.error) is APITimeoutError
    assert limit in outcome.error.hint
    assert "0.15 seconds" in outcome.error.message
    assert outcome.text == (SO_FAR if fault == "stall" else "")
    assert server.gone.wait(PATIENCE)
    assert server.count() == 1, "a server that is slow was asked again"


def test_nothing_listens(ask: Ask, protocol: str) -> None:
    with refused_address() as address:
        outcome = ask(protocol, address)
    assert type(outcome.error) is APIConnectionError
    assert address in outcome.error.message
    assert "refused" in outcome.error.message
    assert outcome.error.hint


def test_no_such_host(ask: Ask, protocol: str) -> None:
    outcome = ask(protocol, "http://no-such-host.invalid:9", max_retries=0)
    assert type(outcome.error) is APIConnectionError
    assert "no-such-host.invalid" in outcome.error.message
    assert "host name" in outcome.error.message


def test_the_redirect_is_not_followed_and_names_its_target(ask: Ask, protocol: str, server: FaultServer) -> None:
    with FaultServer(server.dialect) as other:
        server.elsewhere = other.address("ok") + "/steal?token=secret"
        error = known(ask(protocol, server.address("redirect")).error)
        assert other.requests == []
    assert f"127.0.0.1:{other.port}" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize(
    "said",
    [
        "`inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000 `inputs` tokens and 20 `max_new_tokens`",
        "`inputs` must have less than 1024 tokens. Given: 3000",
        "The input token count (40000) exceeds the maximum number of tokens allowed (32768).",
        "Input is too long for requested model.",
    ],
)
def test_a_prompt_that_is_too_long_in_the_words_of_other_servers(said: str) -> None:
    body = json.dumps({"error": {"message": said}}).encode()
    assert isinstance(status_error(422, {}, body, where="the server"), ContextWindowError)


def test_a_web_page_that_speaks_of_a_model_is_not_about_ours() -> None:
    page = b"<html><title>The new model of our car</title>404</html>"
    error = status_error(404, {"content-type": "text/html"}, page, where="the server")
    assert not isinstance(error, ModelNotFoundError)
    assert "right kind of server" in error.hint


@pytest.mark.parametrize(
    ("wait", "told"), [("3600000", "3600000 seconds"), ("1", "1 second;"), ("0.25", "0.25 seconds"), ("12.5", "12 sec")]
)
def test_how_long_to_wait_is_told_as_people_write_it(wait: str, told: str) -> None:
    assert told in status_error(429, {"retry-after": wait}, b"", where="the server").hint
