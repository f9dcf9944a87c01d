"""What `/api/embed` gives in place of vectors, and `/api/tags` in place of names, is an error that says what it is."""

from __future__ import annotations

import math
from typing import Any

import pytest
from lollms_ollama.models import listed_models

from lollms_core import ProtocolError, ServerError
from tests.support.ollama_server import Reply


@pytest.mark.parametrize(
    ("vectors", "named"),
    [
        ([[1.0], ["2.0"]], "number 1 in the embedding of text 2 is a text: '2.0'"),
        ([[1.0], "AACAPw=="], "the embedding of text 2 is a text"),
        ([[], [1.0]], "the embedding of text 1 is empty"),
        ([[1.0], [math.nan]], "number 1 in the embedding of text 2 is not finite: nan"),
        ([[1.0], [math.inf]], "number 1 in the embedding of text 2 is not finite: inf"),
        ([[1.0], [True]], "number 1 in the embedding of text 2 is true or false"),
        ([[1.0], [10**400]], "number 1 in the embedding of text 2 is too large"),
        ([[1.0], [1.0, 2.0]], "different lengths"),
        ([[1.0]], "1 embedding for 2 texts"),
        ([[1.0]] * 3, "3 embeddings for 2 texts"),
        (None, "null in place of a list of embeddings"),
        ({"0": [1.0], "1": [1.0]}, "an object in place of a list of embeddings"),
    ],
)
def test_what_is_no_vector(connect: Any, server: Any, vectors: Any, named: str) -> None:
    server.replies["/api/embed"].append(Reply(lines=[{"model": "tiny-embed", "embeddings": vectors}]))
    with pytest.raises(ProtocolError) as caught:
        connect("tiny-embed").embed(["The sea", "A tower"])
    assert named in caught.value.message


@pytest.mark.parametrize("answer", [{}, {"embedding": [1.0]}])
def test_an_answer_without_embeddings(connect: Any, server: Any, answer: Any) -> None:
    server.replies["/api/embed"].append(Reply(lines=[answer]))
    with pytest.raises(ProtocolError, match="sent no embeddings"):
        connect("tiny-embed").embed("The sea")


def test_an_error_in_place_of_embeddings(connect: Any, server: Any) -> None:
    server.replies["/api/embed"].append(Reply(lines=[{"error": "out of memory"}]))
    with pytest.raises(ServerError, match="out of memory"):
        connect("tiny-embed").embed("The sea")


def test_whole_numbers_are_numbers(connect: Any, server: Any) -> None:
    server.replies["/api/embed"].append(Reply(lines=[{"embeddings": [[1, 0.5]]}]))
    vector = connect("tiny-embed").embed("The sea")
    assert vector == [1.0, 0.5]
    assert [type(number) for number in vector] == [float, float]


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({}, "model 2 in the list of /api/tags has no name"),
        ({"name": "", "model": None}, "model 2 in the list of /api/tags has no name"),
        ({"name": 5}, "the name of model 2 in the list of /api/tags is a number: 5"),
        ({"name": ["b"]}, "the name of model 2 in the list of /api/tags is a list"),
    ],
)
def test_a_model_without_a_name(model: Any, named: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        listed_models({"models": [{"name": "a"}, model]})
    assert named in caught.value.message


def test_either_field_is_a_name() -> None:
    models = listed_models({"models": [{"name": "a", "model": "b"}, {"model": "c"}]})
    assert [model.name for model in models] == ["a", "c"]
