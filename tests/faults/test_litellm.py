"""Faults behind LiteLLM, which has a transport of its own: `provider/model` against the same servers."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.faults.asking import DOORS, KEY, SO_FAR, WHOLE, Way, agenerate, stream
from tests.faults.conftest import Serve
from tests.support.fault_server import FAULTS, HUGE, ok, refused_address, status
from tests.support.waiting import PATIENT

# Looked for, not imported: only the backend imports it the way that keeps it off the network.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("litellm") is None, reason="LiteLLM, which the tests of its format need, is not installed"
)

DOOR = DOORS["litellm"]

EXPECTED = {
    "400": ("InvalidRequestError", 400, ""),
    "401": ("AuthenticationError", 401, ""),
    "404": ("ModelNotFoundError", 404, ""),
    "429": ("RateLimitError", 429, ""),
    "500": ("ServerError", 500, ""),
    "503": ("ServerError", 503, ""),
    "html_error": ("ServerError", 502, ""),
    "error_under_200": ("ServerError", 500, ""),
    "error_in_stream": ("ServerError", 500, SO_FAR),
    "empty": ("IncompleteStreamError", None, ""),
    "html_page": ("ProtocolError", None, ""),
    "no_end_mark": ("IncompleteStreamError", None, SO_FAR),
    "cut": ("IncompleteStreamError", None, SO_FAR),
    "short_length": ("IncompleteStreamError", None, SO_FAR),
    "reset_in_stream": ("IncompleteStreamError", None, SO_FAR),
    "reset": ("APIConnectionError", None, ""),
    "slow_headers": ("APITimeoutError", None, ""),
    "stall": ("APITimeoutError", None, SO_FAR),
}
IMPATIENT = {"slow_headers": replace(PATIENT, first_token=0.3), "stall": replace(PATIENT, idle=2)}
"""LiteLLM counts the time that it takes for what has arrived into `idle`, so that is to be more than it ever takes."""


@pytest.fixture(params=[stream, agenerate], ids=["stream", "agenerate"])
def ask(request: pytest.FixtureRequest) -> Way:
    """LiteLLM's own calls are always async and streamed; these two go every way of the client's."""
    return cast(Way, request.param)


@pytest.mark.parametrize("fault", ["ok", "split_character", "huge_line"])
def test_a_good_answer_in_any_framing(ask: Way, serve: Serve, fault: str) -> None:
    server = serve(DOOR.dialect)
    outcome = ask(DOOR.client(server.address(fault)))
    assert outcome.error == {}
    assert outcome.text == (HUGE if fault == "huge_line" else WHOLE)
    assert server.generations[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("fault", EXPECTED)
def test_a_fault(ask: Way, serve: Serve, fault: str) -> None:
    server = serve(DOOR.dialect)
    settings: dict[str, Any] = {"timeouts": IMPATIENT[fault]} if fault in IMPATIENT else {}
    outcome = ask(DOOR.client(server.address(fault), **settings), on_text=server.read_by_client.set)
    error = outcome.error
    assert (error["type"], error["status_code"], outcome.text) == EXPECTED[fault], error
    assert error["partial_text"] == outcome.text
    assert KEY not in outcome.everything_shown()


def test_nothing_listens(ask: Way, serve: Serve) -> None:
    with refused_address() as address:
        outcome = ask(DOOR.client(address))
    assert outcome.error["type"] == "APIConnectionError"
    assert address.rpartition(":")[2] in outcome.error["error"]
    assert KEY not in outcome.everything_shown()


def test_twice_unavailable_and_then_an_answer(ask: Way, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = status("503 Service Unavailable", "loading", "retry-after: 0")
    monkeypatch.setitem(FAULTS, "twice", lambda peer: refuse(peer) if peer.server.count() <= 2 else ok(peer))
    server = serve(DOOR.dialect)
    outcome = ask(DOOR.client(server.address("twice"), max_retries=2))
    assert (outcome.text, outcome.error, server.count()) == (WHOLE, {}, 3)


def test_nothing_is_asked_again_once_text_has_come(ask: Way, serve: Serve) -> None:
    server = serve(DOOR.dialect)
    outcome = ask(DOOR.client(server.address("cut"), max_retries=3))
    assert outcome.error["partial_text"] == SO_FAR
    assert server.count() == 1


def test_the_key_does_not_follow_a_redirect(ask: Way, serve: Serve) -> None:
    other = serve(DOOR.dialect)
    server = serve(DOOR.dialect)
    server.elsewhere = f"{other.address('ok')}/v1/chat/completions"
    ask(DOOR.client(server.address("redirect")))
    assert server.count()
    assert not [request for request in other.requests if KEY in repr(request)]
