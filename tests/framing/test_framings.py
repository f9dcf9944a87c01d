"""The whole answer arrives, whatever framing it comes in: every framing, every format, every kind of call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.asking import DOORS, Door
from tests.framing.asking import GOOD, WAYS, Answers, answers
from tests.framing.conftest import Serve
from tests.framing.framings import BROTLI, FRAMINGS
from tests.support.framing_server import FramingServer

IDLE = {"sync": 1, "async": 2}
"""How many connections calls in turn need. Values are asked for in a thread by async calls, on one of their own."""


def problems(door: Door, server: FramingServer, name: str, expected: Answers = GOOD) -> list[str]:
    """What is not as it should be when a client makes every kind of call, first in sync code, then in async code."""
    return [f"{way}, {problem}" for way in WAYS for problem in _problems(door, server, name, way, expected)]


def _problems(door: Door, server: FramingServer, name: str, way: str, expected: Answers) -> Iterator[str]:
    keeps = server.framings[name].after == "keeps"
    limit = IDLE[way] if keeps else 0
    before = server.accepted
    idle: list[bool] = []
    made = WAYS[way](door.client(server.address(name)), lambda: idle.append(server.wait_for_connections(limit)))
    for call, value in made.items():
        if value != expected[call]:
            yield f"{call}: {str(value)[:300]}"
    if not all(idle):
        yield f"more than {limit} connections stayed open between calls"
    if keeps and made == expected and server.accepted - before > limit:
        yield "a connection that the server kept open was not used again"
    if not server.wait_for_connections(0):
        yield "a connection stayed open when the client had been closed"


@pytest.fixture(autouse=True)
def _time_for_the_end(request: pytest.FixtureRequest) -> None:
    """Of answers after which the server keeps the connection; others do not end by themselves."""
    if (FRAMINGS | BROTLI)[request.getfixturevalue("name")].after == "keeps":
        request.getfixturevalue("connections_are_kept")


@pytest.mark.parametrize("name", FRAMINGS)
def test_a_framing(door: Door, serve: Serve[FramingServer], name: str) -> None:
    assert problems(door, serve(FramingServer(door.dialect, FRAMINGS)), name) == []


SOME = ("length-close", "until-close-1.0", "chunked", "chunked-bytewise", "chunked-trailers", "103", "gzip-members")


@pytest.mark.parametrize("name", SOME)
def test_vllm_which_shares_protocol_and_code_with_openai(serve: Serve[FramingServer], name: str) -> None:
    door = DOORS["vllm"]
    assert problems(door, serve(FramingServer(door.dialect, FRAMINGS)), name) == []


LARGE = "Wörter, " * 150_000
LARGE_FRAMINGS = (
    "length", "length-close", "until-close-1.0", "chunked", "chunked-head-apart", "chunked-close", "gzip",
    "gzip-members", "deflate-raw",
)  # fmt: skip


@pytest.mark.parametrize("name", LARGE_FRAMINGS)
def test_more_than_any_buffer_holds(door: Door, serve: Serve[FramingServer], name: str) -> None:
    server = serve(FramingServer(door.dialect, FRAMINGS, texts=(LARGE, " und ", LARGE)))
    assert problems(door, server, name, answers(f"{LARGE} und {LARGE}")) == []


@pytest.mark.parametrize("name", BROTLI)
@pytest.mark.parametrize("installed", [True, False])
def test_brotli_is_read_where_a_package_for_it_is_installed(
    door: Door, serve: Serve[FramingServer], name: str, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed:
        monkeypatch.setattr("lollms_core.http._compression._brotli", lambda: None)
    found = problems(door, serve(FramingServer(door.dialect, BROTLI)), name)
    if installed:
        assert found == []
    else:
        calls = [f"{way}, {call}" for way in WAYS for call in GOOD]
        assert [problem.split(": ")[:2] for problem in found] == [[call, "ProtocolError"] for call in calls]
        assert all("'br'" in problem for problem in found)
