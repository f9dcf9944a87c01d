"""A few framings behind LiteLLM, whose transport is its own: `provider/model` against the same server."""

from __future__ import annotations

import importlib.util

import pytest

from tests.faults.asking import DOORS, Way, agenerate, stream
from tests.framing.conftest import Serve
from tests.framing.framings import FRAMINGS
from tests.support.framing_server import WHOLE, FramingServer

# Looked for, not imported: only the backend imports it the way that keeps it off the network.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("litellm") is None, reason="LiteLLM, which the tests of its format need, is not installed"
)

DOOR = DOORS["litellm"]
SOME = ("length-close", "until-close-1.0", "chunked-bytewise", "chunked-trailers", "103", "gzip-flushed", "odd-case")


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("ask", [stream, agenerate])
def test_a_framing(serve: Serve[FramingServer], ask: Way, name: str) -> None:
    server = serve(FramingServer(DOOR.dialect, FRAMINGS))
    outcome = ask(DOOR.client(server.address(name)))
    assert (outcome.text, outcome.error) == (WHOLE, {})
