"""What is a vector and what is none: the check that every format with a server shares, and OpenAI's own form."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core import LollmsError, ProtocolError, ServerError
from lollms_core.http._embeddings import checked_vectors
from lollms_core.protocols.openai import read_embeddings
from tests.openai.conftest import MakeClient
from tests.support.openai_stub import OpenAIStub, Reply

BROKEN = [
    ("a", "the embedding of text 2 is a text: 'a'"),
    ("AACAPwAAAEA=", "the embedding of text 2 is a text"),  # base64, which nobody asked for
    (None, "the embedding of text 2 is null"),
    ({"0": 1.0}, "the embedding of text 2 is an object"),
    (1.5, "the embedding of text 2 is a number: 1.5"),
    ([], "the embedding of text 2 is empty"),
    ([1.0, "2.0"], "number 2 in the embedding of text 2 is a text: '2.0'"),
    ([None, 1.0], "number 1 in the embedding of text 2 is null"),
    ([1.0, True], "number 2 in the embedding of text 2 is true or false"),
    ([[1.0], [2.0]], "number 1 in the embedding of text 2 is a list"),
    ([1.0, math.nan], "number 2 in the embedding of text 2 is not finite: nan"),
    ([math.inf, 1.0], "number 1 in the embedding of text 2 is not finite: inf"),
    ([1, -math.inf], "number 2 in the embedding of text 2 is not finite: -inf"),
    ([math.inf, -math.inf], "number 1 in the embedding of text 2 is not finite: inf"),
    ([1.0, 10**400], "number 2 in the embedding of text 2 is too large"),
    ([1.0], "different lengths: that of text 1 has 2 numbers, that of text 2 has 1"),
    ([1.0, 2.0, 3.0], "different lengths: that of text 1 has 2 numbers, that of text 2 has 3"),
]
"""What stands in the place of the second of two vectors, and what is said about it."""


@pytest.mark.parametrize(("vector", "named"), BROKEN)
def test_what_is_no_vector_is_named(vector: Any, named: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        checked_vectors([[0.5, 1], vector], 2)
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("vectors", "named"),
    [
        ([], "no embeddings for 2 texts"),
        ([[1.0]], "1 embedding for 2 texts"),
        ([[1.0]] * 3, "3 embeddings for 2 texts"),
        (None, "null in place of a list of embeddings"),
        ("ab", "a text in place of a list of embeddings"),
        ({"a": [1.0], "b": [1.0]}, "an object in place of a list of embeddings"),
    ],
)
def test_each_text_has_one_vector(vectors: Any, named: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        checked_vectors(vectors, 2)
    assert named in caught.value.message


def test_one_text_is_spoken_of_as_one() -> None:
    with pytest.raises(ProtocolError, match=r"2 embeddings for 1 text$"):
        checked_vectors([[1.0], [1.0]], 1)


def test_large_finite_numbers_are_numbers() -> None:
    """Their sum is not finite, though they are."""
    assert checked_vectors([[1.7e308, 1.7e308]], 1) == [[1.7e308, 1.7e308]]


@given(st.lists(st.lists(st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False),
                         min_size=3, max_size=3), max_size=4))  # fmt: skip
def test_vectors_are_given_as_floats(vectors: list[list[float]]) -> None:
    checked = checked_vectors(vectors, len(vectors))
    assert checked == [[float(number) for number in vector] for vector in vectors]
    assert all(type(number) is float for vector in checked for number in vector)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "embedding", "index", "error", "object"]), inner)
    ),
    max_leaves=10,
)
entries = st.fixed_dictionaries(
    {"embedding": st.lists(st.floats() | st.just(1), max_size=2)}, optional={"index": st.integers(-1, 3) | st.none()}
)


@given(anything | st.builds(dict, data=st.lists(anything | entries, max_size=3)), st.integers(0, 3))
def test_anything_is_vectors_or_an_error_of_ours(value: Any, count: int) -> None:
    try:
        vectors = read_embeddings(json.loads(json.dumps(value)), count)
    except LollmsError:
        return
    assert len(vectors) == count
    assert len({len(vector) for vector in vectors}) <= 1
    assert all(vector and all(type(n) is float and math.isfinite(n) for n in vector) for vector in vectors)


# --- OpenAI's form ----------------------------------------------------------------------------------------------------


def entry(index: Any, *vector: Any) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": list(vector)}


def test_the_index_gives_the_order() -> None:
    assert read_embeddings({"data": [entry(2, 2), entry(0, 0), entry(1, 1)]}, 3) == [[0.0], [1.0], [2.0]]


@pytest.mark.parametrize("index", [None, "absent"])
def test_without_an_index_the_place_in_the_list_counts(index: Any) -> None:
    """Gemini's server leaves out the index 0, others leave out each."""
    first, second = entry(None, 0), entry(None, 1)
    if index == "absent":
        del first["index"], second["index"]
    for data in ([first, second], [first, entry(1, 1)], [entry(0, 0), second]):
        assert read_embeddings({"data": data}, 2) == [[0.0], [1.0]]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ([entry(0, 1), entry(0, 2)], "two embeddings with the index 0"),
        ([entry(1, 1), entry(None, 2)], "two embeddings with the index 1"),
        ([entry(0, 1), entry(2, 2)], "an index that is none of 0 to 1: 2"),
        ([entry(0, 1), entry(-1, 2)], "an index that is none of 0 to 1: -1"),
        ([entry(0, 1), entry(10**30, 2)], "an index that is none of 0 to 1: 1000"),
        ([entry(0, 1), entry("1", 2)], "an index that is a text: '1'"),
        ([entry(0, 1), entry(True, 2)], "an index that is true or false"),
        ([entry(0, 1), entry(1.0, 2)], "an index that is none of 0 to 1: 1.0"),
        ([entry(0, 1), entry(math.nan, 2)], "an index that is none of 0 to 1: nan"),
        ([entry(0, 1), entry([], 2)], "an index that is a list"),
        ([entry(0, 1), {"index": 1}], "entry 2 of the server's embeddings has none"),
        ([entry(0, 1), [2.0]], "entry 2 of the server's embeddings is a list"),
        ([entry(0, 1), None], "entry 2 of the server's embeddings is null"),
        ([entry(0, 1)], "1 embedding for 2 texts"),
        ([entry(0, 1), entry(1, 2), entry(2, 3)], "3 embeddings for 2 texts"),
        (None, "null in place of a list of embeddings"),
        ({"0": entry(0, 1)}, "an object in place of a list of embeddings"),
    ],
)
def test_a_list_of_embeddings_that_is_none(data: Any, named: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_embeddings({"data": data}, 2)
    assert named in caught.value.message


@pytest.mark.parametrize("value", [None, [], "a", 5])
def test_an_answer_that_is_no_object(value: Any) -> None:
    with pytest.raises(ProtocolError, match="in place of an object with embeddings"):
        read_embeddings(value, 2)


@pytest.mark.parametrize(
    "value", [{"error": {"message": "boom"}}, {"detail": "boom"}, {"object": "error", "message": "boom"}]
)
def test_an_error_in_place_of_embeddings(client: MakeClient, stub: OpenAIStub, value: Any) -> None:
    stub.on("/v1/embeddings", lambda _: Reply(value))
    with pytest.raises(ServerError, match="boom"):
        client().embed("four")


@pytest.mark.parametrize(("vector", "named"), BROKEN)
def test_a_client_gets_the_error(client: MakeClient, stub: OpenAIStub, vector: Any, named: str) -> None:
    data = [{"index": 1, "embedding": vector}, {"index": 0, "embedding": [0.5, 1.0]}]
    stub.on("/v1/embeddings", lambda _: Reply({"data": data}))
    with pytest.raises(ProtocolError) as caught:
        client().embed(["a", "b"])
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("vector", "named"),
    [
        ([1.0], "different lengths: that of text 1 has 2 numbers, that of text 2049 has 1"),
        ([1.0, None], "number 2 in the embedding of text 2049 is null"),
    ],
)
def test_several_requests_are_one_answer(client: MakeClient, stub: OpenAIStub, vector: Any, named: str) -> None:
    stub.rules.append(lambda request: Reply({"data": [entry(0, *vector)]}) if len(request.body["input"]) == 1 else None)
    with pytest.raises(ProtocolError) as caught:
        client().embed(["four"] * 2049)
    assert named in caught.value.message
