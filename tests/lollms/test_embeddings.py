"""What a LoLLMS server gives in place of vectors is an error that says what it is. Without IO."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from lollms_core._backends.lollms_classic import ClassicServer
from lollms_core._backends.lollms_current import CurrentServer
from lollms_core.contract.errors import ProtocolError, ServerError
from lollms_core.contract.types import EmbedRequest
from lollms_core.http import Exchange, Headers, HTTPResponse

BROKEN = [
    (["1.0"], "number 1 in the embedding of text 2 is a text: '1.0'"),
    ("AACAPw==", "the embedding of text 2 is a text"),
    (None, "the embedding of text 2 is null"),
    ([], "the embedding of text 2 is empty"),
    ([math.nan], "number 1 in the embedding of text 2 is not finite: nan"),
    ([-math.inf], "number 1 in the embedding of text 2 is not finite: -inf"),
    ([False], "number 1 in the embedding of text 2 is true or false"),
    ([10**400], "number 1 in the embedding of text 2 is too large"),
    ([1.0, 2.0], "different lengths: that of text 1 has 1 number, that of text 2 has 2"),
]


def embed(server: ClassicServer | CurrentServer, *answers: Any) -> list[list[float]]:
    """The vectors of two texts, from what the server answers to one request after another."""
    exchange: Exchange[list[list[float]]] = server.embed(EmbedRequest(texts=("one", "two")))
    next(exchange)
    try:
        for answer in answers:
            exchange.send(HTTPResponse(200, Headers(), json.dumps(answer).encode()))
    except StopIteration as end:
        vectors: list[list[float]] = end.value
        return vectors
    raise AssertionError("it asks for more")


@pytest.mark.parametrize(("vector", "named"), BROKEN)
def test_no_vector_of_a_classic_server(vector: Any, named: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        embed(ClassicServer(None), {"vector": [1]}, {"vector": vector})
    assert named in caught.value.message


@pytest.mark.parametrize("answer", [{}, {"embedding": [1.0]}, [1.0], "a"])
def test_an_answer_of_a_classic_server_without_a_vector(answer: Any) -> None:
    with pytest.raises(ProtocolError, match="no vector"):
        embed(ClassicServer(None), answer)


def test_a_wrong_vector_is_noticed_before_the_next_text_is_sent() -> None:
    with pytest.raises(ProtocolError, match="text 1 is empty"):
        embed(ClassicServer(None), {"vector": []})


@pytest.mark.parametrize(("vector", "named"), BROKEN)
def test_no_vector_of_a_current_server(vector: Any, named: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        embed(CurrentServer(None), {"data": [{"index": 1, "embedding": vector}, {"index": 0, "embedding": [1]}]})
    assert named in caught.value.message


def test_an_error_of_a_current_server_in_place_of_vectors() -> None:
    with pytest.raises(ServerError, match="boom"):
        embed(CurrentServer(None), {"error": {"message": "boom"}})


def test_vectors() -> None:
    assert embed(ClassicServer(None), {"vector": [1, 0.5]}, {"vector": [2.0, 0]}) == [[1.0, 0.5], [2.0, 0.0]]
