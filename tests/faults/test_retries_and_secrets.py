"""What is asked again and when, and who never gets to see the key."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest

from tests.faults.asking import DOORS, KEY, SO_FAR, WHOLE, Door, Way, astream, generate, stream
from tests.faults.conftest import Serve
from tests.support.fault_server import FAULTS, Peer, ok, status


@pytest.fixture(params=[name for name in DOORS if name != "litellm"])
def door(request: pytest.FixtureRequest) -> Door:
    return DOORS[request.param]


# --- asking again -----------------------------------------------------------------------------------------------------


def test_twice_unavailable_and_then_an_answer(
    door: Door, ask: Way, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = status("503 Service Unavailable", "loading", "retry-after: 0")
    monkeypatch.setitem(FAULTS, "twice", lambda peer: refuse(peer) if peer.server.count() <= 2 else ok(peer))
    server = serve(door.dialect)
    outcome = ask(door.client(server.address("twice"), max_retries=2))
    assert (outcome.text, outcome.error) == (WHOLE, {})
    assert server.count() == 3
    assert len({request.body for request in server.generations}) == 1, "another question was asked the second time"


@pytest.mark.parametrize("ask", [generate, astream])
def test_retry_after_is_honoured(door: Door, ask: Way, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is more than the client would wait of itself, and waiting never ends early."""
    refuse = status("429 Too Many Requests", "slow down", "retry-after: 1")
    times: list[float] = []

    def busy(peer: Peer) -> None:
        times.append(time.monotonic())
        refuse(peer) if len(times) == 1 else ok(peer)

    monkeypatch.setitem(FAULTS, "busy", busy)
    outcome = ask(door.client(serve(door.dialect).address("busy"), max_retries=1))
    assert (outcome.text, outcome.error) == (WHOLE, {})
    assert times[1] - times[0] >= 1


def test_a_wait_that_is_too_long_is_told_instead(door: Door, serve: Serve) -> None:
    server = serve(door.dialect)
    outcome = stream(door.client(server.address("429"), max_retries=3))
    assert outcome.raised is not None
    assert outcome.raised.retry_after == 7200
    assert "7200 seconds" in outcome.raised.hint
    assert server.count() == 1


@pytest.mark.parametrize("fault", ["cut", "reset_in_stream"])
def test_nothing_is_asked_again_once_text_has_come(door: Door, ask: Way, serve: Serve, fault: str) -> None:
    server = serve(door.dialect)
    outcome = ask(door.client(server.address(fault), max_retries=3), on_text=server.read_by_client.set)
    assert outcome.error["type"] == "IncompleteStreamError"
    assert outcome.error["partial_text"] == SO_FAR
    assert server.count() == 1


# --- the key ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["everywhere", "at the answer"])
def test_where_a_redirect_points_nobody_hears_of_it(door: Door, ask: Way, serve: Serve, where: str) -> None:
    other = serve(door.dialect)
    paths = ("",) if where == "everywhere" else door.dialect.generation_paths
    server = serve(dataclasses.replace(door.dialect, generation_paths=paths))
    server.elsewhere = f"{other.address('ok')}/steal?key={KEY}"
    outcome = ask(door.client(server.address("redirect"), max_retries=3))
    assert other.requests == []
    assert f"127.0.0.1:{other.port}" in outcome.error["error"]
    assert KEY not in outcome.everything_shown()


ECHO = json.dumps({"headers": {"authorization": f"Bearer {KEY}"}, "error": f"the key {KEY} has no rights"})


@pytest.mark.parametrize(
    ("line", "body", "content_type"),
    [
        ("401 Unauthorized", ECHO, "application/json"),
        ("500 Internal Server Error", ECHO, "text/plain"),
        ("200 OK", ECHO.replace('"error"', '"status": false, "error"'), "application/json"),
        ("200 OK", f"<html>you sent {KEY}</html>", "text/html"),
        ("200 OK", f"<html>you sent {KEY}</html>", "text/plain"),
        ("200 OK", f"data: {{you sent {KEY}\n\n", "application/json"),
        ("200 OK", f"{{you sent {KEY}\n", "application/json"),
    ],
)
def test_a_server_that_repeats_the_key(
    door: Door, ask: Way, serve: Serve, monkeypatch: pytest.MonkeyPatch, line: str, body: str, content_type: str
) -> None:
    monkeypatch.setitem(FAULTS, "echo", lambda peer: peer.whole(body.encode(), line, content_type))
    server = serve(door.dialect)
    outcome = ask(door.client(server.address("echo")))
    assert KEY in server.generations[0].headers["authorization"]
    # What stands in the place of an answer, and might be one, is given as it came; an error never shows the key.
    assert KEY not in outcome.everything_shown()


@pytest.mark.parametrize("before", range(170, 201))
def test_a_key_that_an_excerpt_cuts(serve: Serve, monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    body = f"{'x' * before}{KEY}".encode()
    monkeypatch.setitem(FAULTS, "echo", lambda peer: peer.whole(body, "500 Internal Server Error", "text/plain"))
    outcome = stream(DOORS["openai"].client(serve(DOORS["openai"].dialect).address("echo")))
    assert "sk-s" not in outcome.everything_shown()


# --- what errors say --------------------------------------------------------------------------------------------------


def test_of_a_web_page_the_words_are_shown(door: Door, serve: Serve) -> None:
    outcome = stream(door.client(serve(door.dialect).address("html_error")))
    assert outcome.error["error"].endswith("an HTML page: 502 Bad Gateway")
