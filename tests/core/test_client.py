"""What `LollmsClient` promises, over the echo format."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pydantic
import pytest

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    ELF_GENERATION_FORMAT,
    MSG_TYPE,
    BackendError,
    ClientClosedError,
    Completion,
    ContractError,
    IncompleteStreamError,
    LollmsClient,
    LollmsError,
    Message,
    UnknownFormatError,
    UnsupportedError,
    UnsupportedOptionError,
    UnsupportedOptionWarning,
)
from tests.support.results import error_of, known, result_of
from tests.support.waiting import in_background, wait_until


def echo(**options) -> LollmsClient:
    return LollmsClient(default_generation_mode="echo", **options)


def test_generate_returns_the_answer():
    with echo() as client:
        assert client.generate("The capital of France?\n\tParis.") == "The capital of France?\n\tParis."


def test_n_predict_is_the_second_positional_parameter():
    with echo() as client:
        assert client.generate("one two three", 2) == "one two"


def test_the_streamed_pieces_are_the_answer():
    pieces = []
    with echo(script=["a", "\n", " b"]) as client:
        answer = client.generate("x", streaming_callback=lambda piece, kind: pieces.append((piece, kind)))
    assert answer == "a\n b"
    assert pieces == [("a", MSG_TYPE.MSG_TYPE_CHUNK), ("\n", MSG_TYPE.MSG_TYPE_CHUNK), (" b", MSG_TYPE.MSG_TYPE_CHUNK)]


@pytest.mark.parametrize("returned", [None, 0, "", True, []])
def test_only_an_explicit_false_stops(returned):
    with echo(script=["a", "b", "c"]) as client:
        assert client.generate("x", streaming_callback=lambda *_: returned) == "abc"


def test_false_stops_and_the_text_so_far_is_returned():
    seen = []

    def callback(piece, kind):
        seen.append(piece)
        return len(seen) < 2

    with echo(script=["a", "b", "c"]) as client:
        completion = result_of(client.complete("x", streaming_callback=callback))
    assert completion.text == "ab"
    assert completion.finish_reason == "cancelled"


@pytest.mark.parametrize("raised", [ValueError("mine"), BackendError("also mine")])
def test_an_exception_of_the_callback_reaches_the_caller_as_itself(raised):
    def callback(piece, kind):
        raise raised

    with echo() as client:
        with pytest.raises(type(raised)) as caught:
            client.generate("x", streaming_callback=callback)
        assert caught.value is raised
        assert not client._running


def test_complete_knows_usage_finish_reason_and_timings():
    with echo() as client:
        completion = client.complete("one two three", 2)
    assert isinstance(completion, Completion)
    assert completion.finish_reason == "length"
    assert completion.usage.prompt_tokens == 3
    assert completion.usage.completion_tokens == 2
    assert completion.usage.total_tokens == 5
    assert 0 <= known(completion.timings.first_chunk) <= completion.timings.total


def test_the_closing_record_is_the_last_chunk_and_the_only_one():
    with echo() as client:
        chunks = list(client.stream("one two"))
    assert [bool(chunk.finish_reason) for chunk in chunks] == [False, False, True]
    assert known(chunks[-1].usage).completion_tokens == 2


def test_reasoning_tags_become_reasoning():
    with echo(script=["<th", "ink>hm", "m</thi", "nk>yes"]) as client:
        completion = result_of(client.complete("x"))
        kinds = {chunk.type for chunk in client.stream("x") if chunk.text}
    assert (completion.reasoning, completion.text) == ("hmm", "yes")
    assert kinds == {MSG_TYPE.MSG_TYPE_CHUNK, MSG_TYPE.MSG_TYPE_REASONING}


def test_reasoning_of_the_backend_stays_apart():
    with echo(reasoning=["hm"], script=["yes"]) as client:
        assert client.generate("x") == "yes"
        assert result_of(client.complete("x")).reasoning == "hm"


def test_errors_are_dictionaries_by_default():
    with echo(script=["some ", "text"], fail_with="IncompleteStreamError", fail_after=1) as client:
        error = error_of(client.generate("x"))
    assert error["status"] is False
    assert error["type"] == "IncompleteStreamError"
    assert error["partial_text"] == "some "
    assert error["retryable"] is True
    assert set(error) == {"status", "error", "type", "hint", "retryable", "status_code", "partial_text"}


def test_raise_errors_raises_with_the_text_so_far():
    with echo(script=["some ", "text"], fail_with="IncompleteStreamError", fail_after=1, raise_errors=True) as client:
        with pytest.raises(IncompleteStreamError) as caught:
            client.generate("x")
    assert caught.value.partial_text == "some "
    assert caught.value.format == "echo"


def test_text_held_back_for_a_stop_sequence_is_not_lost_in_an_error(strangers):
    strangers.install(
        """
        from lollms_core import Backend, Chunk, ServerError, hookimpl
        class Half(Backend):
            @hookimpl
            def generate(self, request):
                yield Chunk("answer EN")
                raise ServerError("gone")
        """,
        half="Half",
    )
    with LollmsClient(default_generation_mode="half") as client:
        assert error_of(client.generate("x", stop=["END"]))["partial_text"] == "answer EN"


def test_cancel_from_another_thread_returns_the_text_so_far():
    with echo(script=["a", "b"], delay=3600) as client:
        completion = in_background(lambda: client.complete("x"))
        wait_until(lambda: client._running, "the call to begin")
        client.cancel()
        assert result_of(completion.result()).finish_reason == "cancelled"


def test_text_that_arrives_as_the_cancel_does_is_kept(strangers):
    strangers.install(
        """
        from lollms_core import Backend, Chunk, hookimpl
        class Deaf(Backend):
            @hookimpl
            def generate(self, request):
                yield Chunk("a")
                request.cancel.cancel()
                yield Chunk("b")
                yield Chunk("c")
        """,
        deaf="Deaf",
    )
    with LollmsClient(default_generation_mode="deaf") as client:
        assert result_of(client.complete("x")).text == "ab"


@pytest.mark.parametrize("error", [ValueError("mine"), LollmsError("mine")])
def test_what_is_thrown_into_a_stream_is_the_callers(error: Exception):
    with LollmsClient(default_generation_mode="echo") as client:
        stream = client.stream("one two three")
        next(stream)
        with pytest.raises(type(error)) as caught:
            stream.throw(error)
        assert caught.value is error
        assert not client._running

        async def main() -> None:
            astream = client.astream("one two three")
            await anext(astream)
            with pytest.raises(type(error)) as caught:
                await astream.athrow(error)
            assert caught.value is error

        asyncio.run(main())
        assert not client._running


def test_abandoning_the_iterator_ends_the_generation():
    with echo(script=list("abc")) as client:
        stream = client.stream("x")
        next(stream)
        stream.close()
        assert not client._running


def test_wrong_input_raises_when_stream_is_called_not_later():
    with echo() as client, pytest.raises(Exception, match="empty"):
        client.stream("")


def test_a_conversation_is_answered():
    with echo() as client:
        assert client.chat([{"role": "user", "content": "hello"}]) == "hello"
        assert result_of(client.complete([Message("user", "hello")])).text == "hello"


def test_the_names_of_earlier_clients():
    with echo() as client:
        assert client.generate_text("x") == "x"
        assert client.listModels() == ["echo"]
        assert client.listMountedPersonalities() == ["generic/echo"]
        assert client.extract_thinking_blocks("<think>a</think>b") == ["a"]
        assert client.remove_thinking_blocks("<think>a</think>b") == "b"
        assert client.separator_template
        assert client.user_full_header.startswith(client.separator_template[:1])


def test_tokens_round_trip_and_say_whether_they_are_exact():
    with echo() as client:
        tokens = result_of(client.tokenize("héllo"))
        assert client.detokenize(tokens) == "héllo"
        count = result_of(client.count_tokens("héllo"))
        assert count == 6
        assert count.exact


def test_a_backend_may_count_tokens_by_itself(strangers):
    strangers.install(
        """
        from lollms_core import Backend, Chunk, TokenCount, hookimpl
        class Counter(Backend):
            @hookimpl
            def generate(self, request):
                yield Chunk("x")
            @hookimpl
            def count_tokens(self, request):
                return TokenCount(7, exact=False)
        """,
        counter="Counter",
    )
    with LollmsClient(default_generation_mode="counter") as client:
        assert client.count_tokens("x") == asyncio.run(client.acount_tokens("x")) == 7


class Answer(pydantic.BaseModel):
    capital: str


@pytest.mark.filterwarnings("ignore:the echo format does not honour")
@pytest.mark.parametrize("schema", [Answer, Answer.model_json_schema()])
def test_an_answer_that_should_be_json_is_checked(schema):
    with echo() as client:
        assert client.generate('{"capital": "Paris"}', json_schema=schema) == '{"capital": "Paris"}'
        error = error_of(client.generate("The capital is Paris", json_schema=schema))
        assert (error["type"], error["partial_text"]) == ("InvalidAnswerError", "The capital is Paris")
        assert error_of(asyncio.run(client.agenerate("nonsense", json_schema=schema)))["status"] is False


def test_code_blocks_of_an_answer_that_failed():
    with echo(script=["```python\n", "x = 1\n", "y"], fail_with="ServerError", fail_after=2) as client:
        blocks = client.extract_code_blocks(client.generate("x"))
    assert [(block["content"], block["is_complete"]) for block in blocks] == [("x = 1\n", False)]


def test_embed_one_text_or_several():
    with echo() as client:
        assert client.embed("two words") == [9.0, 2.0]
        assert client.embed(["a", "b c"]) == [[1.0, 1.0], [3.0, 2.0]]


def test_after_close_calls_say_so():
    client = echo()
    client.close()
    client.close()
    assert error_of(client.generate("x"))["type"] == "ClientClosedError"
    with pytest.raises(ClientClosedError):
        client.stream("x")


def test_an_unknown_format_lists_what_is_installed():
    with pytest.raises(UnknownFormatError) as caught:
        echo_typo = "ecco"
        LollmsClient(default_generation_mode=echo_typo)
    assert "'echo'" in caught.value.hint
    assert "lollms" in caught.value.hint


def test_an_unknown_backend_option_is_an_error_with_a_near_miss():
    with pytest.raises(UnsupportedOptionError) as caught:
        echo(scrip=["x"])
    assert "'script'" in caught.value.hint


def test_a_chosen_option_without_effect_warns_once():
    with echo() as client:
        with pytest.warns(UnsupportedOptionWarning, match="top_p") as seen:
            client.generate("x", top_p=0.5)
            client.generate("x", top_p=0.5)
    assert len(seen) == 1


def test_the_warning_points_at_the_callers_line():
    with echo() as client, pytest.warns(UnsupportedOptionWarning) as seen:
        client.generate("x", temperature=0.5)
    assert seen[0].filename == __file__


def test_what_a_local_format_cannot_use_is_said_when_the_client_is_made():
    with pytest.warns(UnsupportedOptionWarning, match="ctx_size, headers, host_address"):
        echo(host_address="http://localhost:1", headers={"X": "y"}, ctx_size=100).close()
    with pytest.raises(UnsupportedOptionError, match="host_address"):
        echo(host_address="http://localhost:1", strict=True)


def test_strict_raises_for_an_option_without_effect():
    with echo(strict=True, raise_errors=True) as client, pytest.raises(UnsupportedOptionError, match="seed"):
        client.generate("x", seed=0)


def test_an_unknown_option_of_a_call_is_a_type_error():
    with echo() as client, pytest.raises(TypeError, match="temperature"):
        client.generate("x", temprature=1.0)  # type: ignore[call-arg]
    with echo() as client, pytest.raises(TypeError, match="Did you mean 'n_predict'"):
        client.generate("x", n_predic=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["raise_errors", "strict", "timeouts", "host_address"])
def test_an_argument_of_the_client_is_sent_where_it_belongs(name: str) -> None:
    options: dict[str, Any] = {name: True}
    with echo() as client, pytest.raises(TypeError, match=rf"belongs to the client: LollmsClient\({name}=…\)"):
        client.generate("hello", **options)


def test_members_and_names_choose_the_same_format():
    with echo() as client:
        assert client.format == "echo"
    member = LollmsClient(default_generation_mode=ELF_GENERATION_FORMAT.LOLLMS)
    name = LollmsClient(default_generation_mode="LOLLMS")
    assert type(member.backend) is type(name.backend)


def test_no_key_appears_in_a_repr():
    client = LollmsClient(service_key="sk-verysecret", host_address="http://user:sk-verysecret@localhost:1")
    assert "verysecret" not in repr(client) + repr(client.backend.settings.api_key)
    assert "verysecret" not in repr(client.backend.settings).replace("user:sk-verysecret", "")


# --- defaults and choices -------------------------------------------------------------------------------------------

RECORDER = """
from lollms_core import Backend, Capabilities, Chunk, hookimpl
class Recorder(Backend):
    seen = []
    capabilities = Capabilities(options=frozenset(
        {"n_predict", "temperature", "top_k", "top_p", "repeat_penalty", "seed", "messages"}))
    @hookimpl
    def generate(self, request):
        self.seen.append(request)
        yield Chunk("ok")
class Neutral(Recorder):
    neutral = {}
"""


@pytest.fixture
def recorded(strangers):
    strangers.install(RECORDER, recorder="Recorder", neutral="Neutral")

    def run(format="recorder", client_options=None, **call):
        with LollmsClient(default_generation_mode=format, **(client_options or {})) as client:
            client.generate("x", **call)
            backend: Any = client.backend
            return backend.seen[-1].sampling

    return run


def test_the_guides_defaults_reach_the_backend_unchosen(recorded):
    sampling = recorded()
    assert (sampling.n_predict, sampling.temperature, sampling.top_k, sampling.top_p) == (4096, 0.1, 50, 0.95)
    assert sampling.chosen == frozenset()
    assert type(sampling.n_predict) is int
    assert type(sampling.temperature) is float


def test_an_unchosen_repeat_penalty_reaches_only_a_backend_for_which_it_is_not_a_reward(recorded):
    assert recorded().repeat_penalty is None
    assert recorded("neutral").repeat_penalty == 0.8


def test_a_chosen_value_reaches_the_backend_even_if_it_equals_the_default(recorded):
    assert recorded(repeat_penalty=0.8).repeat_penalty == 0.8
    assert recorded(client_options={"repeat_penalty": 0.8}).repeat_penalty == 0.8
    assert recorded(client_options={"repeat_penalty": 0.8}).chosen == {"repeat_penalty"}


def test_the_call_wins_over_the_client_and_zero_is_a_value(recorded):
    sampling = recorded(client_options={"temperature": 0.7, "seed": 7}, temperature=0, seed=0)
    assert (sampling.temperature, sampling.seed) == (0, 0)


def test_none_means_the_clients_value(recorded):
    assert recorded(client_options={"temperature": 0.7}, temperature=None).temperature == 0.7


def test_a_changed_attribute_of_the_client_counts_as_chosen(recorded, strangers):
    strangers.install(RECORDER, second="Recorder")
    with LollmsClient(default_generation_mode="second") as client:
        client.temperature = 0.9
        client.generate("x")
        backend: Any = client.backend
        assert backend.seen[-1].sampling.chosen == {"temperature"}


def test_the_guides_signature_shows_its_defaults():
    parameters = inspect.signature(LollmsClient).parameters
    shown = {name: parameters[name].default for name in ("n_predict", "temperature", "top_k", "top_p", "n_threads")}
    assert shown == {"n_predict": 4096, "temperature": 0.1, "top_k": 50, "top_p": 0.95, "n_threads": 8}
    assert parameters["host_address"].default == "http://localhost:9600"
    assert (parameters["ctx_size"].default, parameters["repeat_penalty"].default) == (32000, 0.8)


# --- backends by strangers ----------------------------------------------------------------------------------------


def test_the_least_a_stranger_writes(strangers):
    strangers.install(
        """
        from lollms_core import Backend, Chunk, hookimpl

        class ShoutBackend(Backend):
            @hookimpl
            def generate(self, request):
                for word in request.prompt.split():
                    yield Chunk(word.upper() + " ")
        """,
        shout="ShoutBackend",
    )
    with LollmsClient(default_generation_mode="shout") as client:
        assert client.generate("hello big world") == "HELLO BIG WORLD "
        assert client.generate("hello END world", stop="END") == "HELLO "
        assert asyncio.run(client.agenerate("hi")) == "HI "
        assert error_of(client.list_models())["type"] == "UnsupportedError"
        assert "hello" in result_of(client.chat([{"role": "user", "content": "hello"}])).lower()


def test_an_async_backend_serves_sync_callers(strangers):
    strangers.install(
        """
        import asyncio
        from lollms_core import Backend, Chunk, ModelInfo, hookimpl

        class Slow(Backend):
            closed = False
            @hookimpl
            async def generate(self, request):
                try:
                    for word in request.prompt.split():
                        await asyncio.sleep(0)
                        yield Chunk(word)
                finally:
                    type(self).closed = True
            @hookimpl
            async def list_models(self, request):
                await asyncio.sleep(0)
                return [ModelInfo(name="slow")]
        """,
        slow="Slow",
    )
    before = set(threading.enumerate())
    with LollmsClient(default_generation_mode="slow") as client:
        assert client.generate("a b c") == "abc"
        assert client.list_models() == ["slow"]
        backend: Any = client.backend
        type(backend).closed = False
        stream = client.stream("a b c")
        next(stream)
        stream.close()
        assert backend.closed
        assert asyncio.run(client.agenerate("a b")) == "ab"
    wait_until(lambda: set(threading.enumerate()) <= before, "the client's thread to end")


def test_an_exception_of_a_backend_is_a_backend_error_with_its_cause(strangers):
    strangers.install(
        """
        from lollms_core import Backend, Chunk, hookimpl
        class Broken(Backend):
            @hookimpl
            def generate(self, request):
                yield Chunk("so ")
                raise KeyError("oops")
        class AtOnce(Backend):
            @hookimpl
            def generate(self, request):
                raise KeyError("oops")
        class Text(Backend):
            @hookimpl
            def generate(self, request):
                yield "text"
        class Nothing(Backend):
            @hookimpl
            def generate(self, request):
                return None
        """,
        broken="Broken", atonce="AtOnce", text="Text", nothing="Nothing",
    )  # fmt: skip
    for format, expected, partial in (
        ("broken", BackendError, "so "),
        ("atonce", BackendError, ""),
        ("text", ContractError, ""),
        ("nothing", ContractError, ""),
    ):
        with LollmsClient(default_generation_mode=format, raise_errors=True) as client:
            with pytest.raises(expected) as caught:
                client.generate("x")
            assert caught.value.partial_text == partial
            if expected is BackendError:
                assert isinstance(caught.value.__cause__, KeyError)


def test_a_format_without_something_says_so(strangers):
    strangers.install(RECORDER, plain="Recorder")
    with LollmsClient(default_generation_mode="plain", raise_errors=True) as client:
        for call in (client.list_personalities, client.list_models, client.model_info, lambda: client.embed("x")):
            with pytest.raises(UnsupportedError, match="plain format has no"):
                call()
        with pytest.raises(UnsupportedError):
            list(client.pull_model("m"))


def test_instruct_on_a_format_that_cannot_warns(strangers):
    strangers.install(RECORDER, plain="Recorder")
    with LollmsClient(default_generation_mode="plain") as client:
        with pytest.warns(UnsupportedOptionWarning, match="completion_format"):
            client.generate("x", completion_format=ELF_COMPLETION_FORMAT.Instruct)


def test_blocks_of_whatever_a_call_returned() -> None:
    with echo() as client:
        completion = client.complete("```python\nx = 1\n```")
        assert [block["content"] for block in client.extract_code_blocks(completion)] == ["x = 1"]
        with pytest.raises(TypeError, match="text must be a str, not NoneType"):
            client.extract_code_blocks(None)  # type: ignore[arg-type]


def test_images_that_are_none() -> None:
    with echo() as client, pytest.raises(TypeError, match="must be a list of images, not None"):
        client.generate_with_images("what is it?", None)  # type: ignore[arg-type]
