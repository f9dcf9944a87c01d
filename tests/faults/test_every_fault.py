"""Every fault of a server, for every format that talks HTTP, in every way to ask.

The tables are the documentation of what a program must expect: the type of the error, its status, whether asking again
may help, and how much of the answer it has by then.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults.asking import DOORS, KEY, SO_FAR, WHOLE, Door, Outcome, Way
from tests.faults.conftest import Serve
from tests.support.fault_server import HUGE, refused_address
from tests.support.waiting import PATIENT

OWN = [name for name in DOORS if name != "litellm"]
"""Formats whose transport is lollms' own; LiteLLM's is tested beside them, in `test_litellm.py`."""


class Expected(NamedTuple):
    type: str
    status: int | None = None
    retryable: bool = False
    text: str = ""


REFUSALS = {
    "400": Expected("InvalidRequestError", 400),
    "401": Expected("AuthenticationError", 401),
    "404": Expected("ModelNotFoundError", 404),
    "429": Expected("RateLimitError", 429, True),
    "500": Expected("ServerError", 500, True),
    "503": Expected("ServerError", 503, True),
    "html_error": Expected("ServerError", 502, True),
    "redirect": Expected("APIStatusError", 307),
}
"""The server answers, but not with a success. The connection can be used again."""

BREAKS = {
    "reset": Expected("APIConnectionError", None, True),
    "cut": Expected("IncompleteStreamError", None, True, SO_FAR),
    "cut_in_chunk": Expected("IncompleteStreamError", None, True, SO_FAR),
    "short_length": Expected("IncompleteStreamError", None, True, SO_FAR),
    "reset_in_stream": Expected("IncompleteStreamError", None, True, SO_FAR),
    "slow_headers": Expected("APITimeoutError", None, True),
    "stall": Expected("APITimeoutError", None, True, SO_FAR),
    "not_http": Expected("ProtocolError"),
}
"""The connection breaks, or the client breaks it. It is closed at once, not when the client is."""

NONSENSE = {
    "html_page": Expected("ProtocolError"),
    "error_under_200": Expected("ServerError", None, True),
    "error_as_stream": Expected("ServerError", None, True),
}
"""Answers under status 200 that are none."""

FRAMED = {
    "invalid_json": Expected("ProtocolError", None, False, SO_FAR),
    "error_in_stream": Expected("ServerError", None, True, SO_FAR),
    "no_end_mark": Expected("IncompleteStreamError", None, True, SO_FAR),
    "empty": Expected("IncompleteStreamError", None, True),
}
"""What only a protocol with events and an end mark can tell. The classic LoLLMS server streams bare text."""

CLASSIC = {
    "no_end_mark": None,
    "empty": Expected("ProtocolError"),
}
"""For bare text the end of the body is the end of the answer; an empty body that is labelled as JSON is neither."""

IMPATIENT = {"slow_headers": replace(PATIENT, first_token=0.25), "stall": replace(PATIENT, idle=0.25)}


def check(outcome: Outcome, expected: Expected | None, address: str) -> None:
    if expected is None:
        assert outcome.error == {}
        return
    error = outcome.error
    found = Expected(error.get("type", ""), error["status_code"], error["retryable"], outcome.text)
    assert found == expected, error
    assert error["status"] is False
    assert error["partial_text"] == outcome.text
    assert address in error["error"]
    assert KEY not in outcome.everything_shown()


def settings_for(fault: str) -> dict[str, Any]:
    return {"timeouts": IMPATIENT[fault]} if fault in IMPATIENT else {}


@pytest.fixture(params=OWN)
def door(request: pytest.FixtureRequest) -> Door:
    return DOORS[request.param]


@pytest.mark.parametrize("fault", ["ok", "split_character", "until_close", "compressed"])
def test_a_good_answer_in_any_framing(door: Door, ask: Way, serve: Serve, fault: str) -> None:
    server = serve(door.dialect)
    outcome = ask(door.client(server.address(fault)))
    assert (outcome.text, outcome.error) == (WHOLE, {})
    assert server.generations[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_line_of_ten_megabytes(door: Door, ask: Way, serve: Serve) -> None:
    outcome = ask(door.client(serve(door.dialect).address("huge_line")))
    assert (outcome.text == HUGE, outcome.error) == (True, {})


@pytest.mark.parametrize("fault", [*REFUSALS, *NONSENSE])
def test_an_answer_that_is_none(door: Door, ask: Way, serve: Serve, fault: str) -> None:
    server = serve(door.dialect)
    address = server.address(fault)
    check(ask(door.client(address)), (REFUSALS | NONSENSE)[fault], address)
    assert server.count() == 1


@pytest.mark.parametrize("fault", BREAKS)
def test_a_connection_that_breaks(door: Door, ask: Way, serve: Serve, fault: str) -> None:
    server = serve(door.dialect)
    address = server.address(fault)
    closed: list[bool] = []
    outcome = ask(
        door.client(address, **settings_for(fault)),
        on_text=server.read_by_client.set,
        after=lambda: closed.append(server.wait_for_connections(0)),
    )
    check(outcome, BREAKS[fault], address)
    assert closed == [True], "the connection was still open when the call had failed"
    # On a machine that is busy, the limit may pass while something else is asked, or before the request is read.
    assert server.count() == 1 or (server.count() == 0 and fault == "slow_headers")


@pytest.mark.parametrize(
    ("name", "fault", "expected"),
    [(name, *row) for name in OWN for row in (FRAMED if DOORS[name].dialect.end else CLASSIC).items()],
)
def test_a_fault_of_the_protocol(name: str, fault: str, expected: Expected | None, ask: Way, serve: Serve) -> None:
    door = DOORS[name]
    server = serve(door.dialect)
    address = server.address(fault)
    check(ask(door.client(address)), expected, address)
    # An empty stream of a current LoLLMS server hides an error, which it tells without streaming.
    assert server.count() == (2 if (name, fault) == ("lollms-current", "empty") else 1)


def test_a_chunk_size_that_is_none(door: Door, ask: Way, serve: Serve) -> None:
    server = serve(door.dialect)
    outcome = ask(door.client(server.address("bad_chunks")), on_text=server.read_by_client.set)
    # The library below LiteLLM does not tell this from a connection that breaks.
    other = ["IncompleteStreamError"] if door.format == "litellm" else []
    assert outcome.error["type"] in ("ProtocolError", *other)
    assert outcome.error["partial_text"] == outcome.text == SO_FAR


def test_nothing_listens(door: Door, ask: Way, serve: Serve) -> None:
    with refused_address() as address:
        outcome = ask(door.client(address, max_retries=3))
    check(outcome, Expected("APIConnectionError", None, True), address)
    assert "refused" in outcome.error["error"]
    assert outcome.error["hint"]


def test_no_such_host(door: Door, ask: Way, serve: Serve) -> None:
    outcome = ask(door.client("http://no-such-host.invalid:9"))
    assert outcome.error["type"] == "APIConnectionError"
    assert "no-such-host.invalid" in outcome.error["error"]
    assert "host name" in outcome.error["error"]
    assert KEY not in outcome.everything_shown()


def test_a_certificate_of_nobody(door: Door, ask: Way, serve: Serve, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = serve(door.dialect, tls=context)
    address = server.address("ok")
    check(ask(door.client(address, max_retries=3)), Expected("APIConnectionError"), address)
    assert server.requests == [], "something was said to a server that nobody vouches for"


def test_a_server_without_tls(door: Door, ask: Way, serve: Serve) -> None:
    server = serve(door.dialect)
    address = server.address("ok").replace("http://", "https://")
    outcome = ask(door.client(address))
    check(outcome, Expected("APIConnectionError"), address)
    assert "http://" in outcome.error["hint"]


@pytest.mark.parametrize("fault", ["reset", "slow_headers", "cut", "401", "429", "500", "redirect"])
def test_a_server_of_which_every_route_fails(door: Door, ask: Way, serve: Serve, fault: str) -> None:
    """Some formats ask something before they ask for the answer: those requests meet the same faults."""
    expected = (REFUSALS | BREAKS)[fault]
    if fault == "cut" and door.format != "openai":
        expected = expected._replace(text="")
    server = serve(replace(door.dialect, generation_paths=("",)))
    address = server.address(fault)
    outcome = ask(door.client(address, **settings_for(fault)))
    check(outcome, expected, address)
