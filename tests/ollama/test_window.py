"""The window that is asked for, prompts that do not fit into it, and counting without a tokenizer."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lollms_ollama import TruncatedPromptWarning
from lollms_ollama.meter import TokenMeter
from lollms_ollama.truncation import was_cut

from lollms_core import ELF_COMPLETION_FORMAT, ContextWindowError, Message, ServerError
from lollms_core.testing import png
from tests.ollama.tiny_model import tokens_of
from tests.support.ollama_server import Reply

INSTRUCT = ELF_COMPLETION_FORMAT.Instruct
PROSE = "The old ship sails slowly over the wide blue sea, and nobody on board knows where it is going tonight. "


def num_ctx(server):
    return [body["options"].get("num_ctx") for body in server.bodies("/api/chat")]


# --- what is asked for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "sent", "window"),
    [
        ("tiny", {}, 2048, 2048),  # the guide's 32000 is more than the model has
        ("tiny-large", {}, 32000, 32000),
        ("tiny-large", {"ctx_size": 100000}, 100000, 100000),
        ("tiny-large", {"ctx_size": None}, None, 131072),
        ("tiny", {"ctx_size": 512}, 512, 512),
        ("tiny", {"ctx_size": 32000}, 32000, 2048),  # chosen: sent as it is, the server bounds it
        ("tiny-pinned", {}, None, 512),  # its Modelfile says 512
        ("tiny-pinned", {"ctx_size": 1024}, 1024, 1024),
    ],
)
def test_window(connect, server, model, options, sent, window):
    client = connect(model, **options)
    client.generate("Hello", 3)
    assert num_ctx(server) == [sent]
    assert client.model_info().context_window == window


def test_default_does_not_bound_a_model_that_runs_elsewhere(connect, server):
    model_info = {"general.architecture": "big", "big.context_length": 262144}
    server.replies["/api/show"].append(Reply(lines=[{"remote_host": "https://ollama.com", "model_info": model_info}]))
    connect().generate("Hello", 3)
    assert num_ctx(server) == [None]


@pytest.mark.parametrize("status", [404, 405, 400, 501])
def test_server_without_the_route_is_not_asked_again(connect, server, status):
    server.replies["/api/show"].append(Reply(status, [{"error": "404 page not found"}]))
    client = connect()
    client.generate("Hello", 3)
    client.generate("Hello", 3)
    assert (len(server.bodies("/api/show")), num_ctx(server)) == (1, [None, None])


def test_server_that_fails_is_asked_again(connect, server):
    server.replies["/api/show"].append(Reply(500, [{"error": "out of luck"}]))
    client = connect()
    with pytest.raises(ServerError, match="out of luck"):
        client.generate("Hello", 3)
    client.generate("Hello", 3)
    assert num_ctx(server) == [2048]


@pytest.mark.parametrize(
    "answer", [{}, {"model_info": None, "capabilities": None}, {"model_info": {"a.context_length": "x"}}]
)
def test_a_model_of_which_nothing_is_said(connect, server, answer):
    server.replies["/api/show"].append(Reply(lines=[answer]))
    connect().generate_with_images("Hello", [png(0, 0, 0)])
    assert num_ctx(server) == [None]


# --- cut prompts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["half", "full"])
@pytest.mark.parametrize("format", list(ELF_COMPLETION_FORMAT))
def test_cut_prompt_is_noticed(connect, server, cut, format):
    server.cut = cut
    client = connect(ctx_size=512)
    with pytest.warns(TruncatedPromptWarning, match=r"the model saw \d+; the window \(num_ctx\) is 512\. Set a larger"):
        completion = client.complete(PROSE * 60, 3, completion_format=format)
    assert completion.metadata["prompt_truncated"] is True
    assert completion.usage.prompt_tokens == (512 if cut == "full" else 258)


def test_the_models_own_window_cannot_be_raised(connect):
    with pytest.warns(TruncatedPromptWarning, match=r"is 2048\. Shorten the prompt"):
        connect(ctx_size=100000).generate(PROSE * 200, 3)


async def test_cut_prompt_is_noticed_by_async_callers(connect):
    with pytest.warns(TruncatedPromptWarning):
        await connect(ctx_size=512).agenerate(PROSE * 60, 3)


def test_window_set_for_one_call(connect):
    client = connect()
    with pytest.warns(TruncatedPromptWarning, match="is 256"):
        client.generate(PROSE * 40, 3, extra={"options": {"num_ctx": 256}})


def test_truncate_false_makes_it_an_error(connect):
    with pytest.raises(ContextWindowError, match="exceeds the available context size"):
        connect(ctx_size=512, truncate=False).generate(PROSE * 60, 3)


@pytest.mark.parametrize("length", [1, 5, 10, 15, 19])
def test_prompt_that_fits_is_no_alarm(connect, length):
    text = PROSE * length
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        completion = connect(ctx_size=512).complete(text, 3)
    assert completion.usage.prompt_tokens >= len(tokens_of(text))
    assert "prompt_truncated" not in completion.metadata


@pytest.mark.parametrize("reported", [None, 0, 1, 17, 258, 500])
def test_cached_prompt_is_no_alarm(connect, server, reported):
    """A server may leave the count out, or count only what was not in its cache."""
    done = {"message": {"role": "assistant", "content": "Hi"}, "done": True, "done_reason": "stop"}
    if reported is not None:
        done["prompt_eval_count"] = reported
    client = connect(ctx_size=512)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            server.replies["/api/chat"].append(Reply(lines=[done]))
            client.generate(PROSE * 17, 3)


def test_messages_that_were_left_out_are_noticed(connect, server):
    """By the estimate that earlier reports have corrected; the report alone looks like any other."""
    client = connect(ctx_size=512)
    conversation = [Message(role, PROSE * 6) for role in ("user", "assistant", "user", "assistant", "user")]
    client.generate(PROSE * 10, 3)
    one = len(tokens_of(PROSE * 6)) + 12
    done = {"message": {"role": "assistant", "content": "Hi"}, "done": True, "prompt_eval_count": 3 * one}
    server.replies["/api/chat"].append(Reply(lines=[done]))
    with pytest.warns(TruncatedPromptWarning):
        client.chat(conversation)


HALF, FULL = 2050, 4096


@pytest.mark.parametrize(
    ("reported", "tokens", "corrected", "several", "cut"),
    [
        (HALF, 6000, False, False, True),
        (FULL, 6000, False, False, True),
        (4090, 6000, False, False, True),
        (HALF, 5000, False, False, False),  # not well above the window, and never corrected
        (HALF, 5000, True, False, True),
        (FULL, 4200, True, False, False),
        (HALF, 2100, False, False, False),  # half of the window by chance
        (3000, 6000, True, False, False),  # neither full nor half: part of it came from a cache
        (3000, 6000, True, True, True),  # several messages: some were left out
        (3000, 6000, False, True, False),
        (5000, 9000, True, True, False),  # more than the window: it is not what we think it is
        (None, 9000, True, True, False),
        (0, 9000, True, True, False),
    ],
)
def test_rule(reported, tokens, corrected, several, cut):
    assert was_cut(reported, 4096, 50000, lambda: (tokens, corrected), several_messages=several) is cut


def test_estimate_is_not_made_where_it_cannot_matter():
    def estimate():
        raise AssertionError("not needed")

    for reported, window, size in [(None, 100, 900), (50, None, 900), (50, 100, 100), (70, 100, 900)]:
        assert not was_cut(reported, window, size, estimate, several_messages=False)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.booleans(), st.booleans())
def test_a_prompt_that_fits_by_the_estimate_is_never_an_alarm(reported, window, corrected, several):
    assert not was_cut(reported, window, 10**7, lambda: (window, corrected), several_messages=several)


# --- counting -----------------------------------------------------------------------------------------------


def test_count_is_corrected_by_what_the_server_reports(connect):
    client = connect()
    text = "And what would the captain say, if somebody asked? Nothing at all. " * 5
    assert client.backend.correction() is None
    before = client.count_tokens(text)
    client.generate(PROSE * 10, 3)
    after = client.count_tokens(text)
    truth = len(tokens_of(text))
    assert (before.exact, after.exact) == (False, False)
    assert abs(after - truth) < abs(before - truth)
    assert abs(after - truth) < 0.1 * truth
    assert client.count_tokens("") == 0
    assert client.count_tokens("a") >= 1


def test_count_of_another_model_is_its_own(connect):
    client = connect()
    client.generate(PROSE * 10, 3, model_name="tiny-text")
    assert client.backend.correction() is None
    assert client.backend.correction("tiny-text") is not None


def test_cut_and_illustrated_prompts_teach_nothing(connect):
    client = connect(ctx_size=512)
    with pytest.warns(TruncatedPromptWarning):
        client.generate(PROSE * 60, 3)
    client.generate_with_images(PROSE * 10, [png(1, 2, 3)], n_predict=3)
    client.generate("short", 3)
    assert client.backend.correction() is None


def words(text):
    return len(text.split())


TEXT = "word " * 200


def test_meter_learns_from_long_prompts():
    meter = TokenMeter()
    assert meter.factor("m", "words", words) is None
    meter.learn("m", ["word"], 20, raw=False)
    assert meter.factor("m", "words", words) is None
    meter.learn("m", [TEXT], 306, raw=False)
    assert meter.factor("m", "words", words) == pytest.approx(1.5)
    assert meter.factor("m", "letters", len) == pytest.approx(0.3)
    meter.learn("m", [TEXT], 600, raw=True)
    assert meter.factor("m", "words", words) == pytest.approx(2.25)


def test_meter_leaves_out_what_came_from_a_cache():
    meter = TokenMeter()
    for reported in (400, 20, 0, 100, 420):
        meter.learn("m", [TEXT], reported, raw=True)
    assert meter.factor("m", "words", words) == pytest.approx(2.05)
    only_cached = TokenMeter()
    only_cached.learn("m", [TEXT], 3, raw=True)
    assert only_cached.factor("m", "words", words) is None


def test_meter_forgets():
    meter = TokenMeter()
    for _ in range(8):
        meter.learn("m", [TEXT], 800, raw=True)
    for _ in range(8):
        meter.learn("m", [TEXT], 200, raw=True)
    assert meter.factor("m", "words", words) == pytest.approx(1.0)
    for n in range(16):
        meter.learn(f"other {n}", [TEXT], 200, raw=True)
    assert meter.factor("m", "words", words) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=2000), st.integers(-5, 10**6), st.booleans())))
def test_meter_stays_within_reason(reports):
    meter = TokenMeter()
    for model, text, reported, raw in reports:
        meter.learn(str(model), [text], reported, raw=raw)
    for model in range(4):
        factor = meter.factor(str(model), "letters", len)
        assert factor is None or 0.25 <= factor <= 5.0
