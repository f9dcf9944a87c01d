"""Extensions: what goes around the calls of a client, whatever its format, and whoever calls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
from pydantic import BaseModel

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    Backend,
    BackendError,
    Capabilities,
    Chunk,
    ConfigurationError,
    ContractError,
    EmbedRequest,
    End,
    Extension,
    ExtensionError,
    ExtensionWarning,
    GenerationRequest,
    Image,
    InvalidRequestError,
    LollmsClient,
    Message,
    Pending,
    RateLimitError,
    ReasoningPart,
    SamplingParams,
    Stream,
    TokenizeRequest,
    UnknownExtensionError,
    UnsupportedOptionError,
    hookimpl,
    installed_extensions,
)
from lollms_core._client import registry
from tests.support.inline import Over, over
from tests.support.results import result_of
from tests.support.waiting import PATIENCE, await_until, in_background, wait_until

__all__ = ["over"]


# --- backends of every kind -------------------------------------------------------------------------------------------


class Sync(Backend):
    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        for word in request.prompt.split():
            yield Chunk(word)
        yield Chunk(finish_reason="stop")

    @hookimpl
    def embed(self, request: EmbedRequest) -> Any:
        return [[float(len(text))] for text in request.texts]


class Async(Backend):
    @hookimpl
    async def generate(self, request: GenerationRequest) -> Any:
        for word in request.prompt.split():
            await asyncio.sleep(0)
            yield Chunk(word)
        yield Chunk(finish_reason="stop")

    @hookimpl
    async def embed(self, request: EmbedRequest) -> Any:
        await asyncio.sleep(0)
        return [[float(len(text))] for text in request.texts]


class Coroutine(Async):
    @hookimpl
    async def generate(self, request: GenerationRequest) -> Any:
        await asyncio.sleep(0)
        return Async.generate(self, request)


class Whole(Sync):
    @hookimpl
    def generate(self, request: GenerationRequest) -> Any:
        return [*(Chunk(word) for word in request.prompt.split()), Chunk(finish_reason="stop")]


BACKENDS = [Sync, Async, Coroutine, Whole]


# --- extensions of every kind -----------------------------------------------------------------------------------------


class Watching(Extension):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ends: list[End] = []

    @hookimpl
    def generate(self, request: GenerationRequest, proceed: Any) -> Stream:
        stream: Stream = proceed(request)
        return stream.at_end(self.ends.append)


class Marking(Extension):
    @hookimpl
    def generate(self, request: GenerationRequest, proceed: Any) -> Any:
        stream: Stream = proceed()
        return stream.through(lambda chunk: chunk._replace(text=chunk.text and chunk.text + "!"))

    @hookimpl
    def embed(self, request: EmbedRequest, proceed: Any) -> Any:
        pending: Pending[Any] = proceed(request)
        return pending.then(lambda vectors: [[*vector, -1.0] for vector in vectors])


class MarkingSync(Marking):
    """Written as a generator, which iterates where it stands."""

    @hookimpl
    def generate(self, request: GenerationRequest, proceed: Any) -> Iterator[Chunk]:
        for chunk in proceed(request):
            yield chunk._replace(text=chunk.text and chunk.text + "!")

    @hookimpl
    def embed(self, request: EmbedRequest, proceed: Any) -> Any:
        return [[*vector, -1.0] for vector in proceed(request).wait()]

    nonblocking = frozenset({"generate"})


class MarkingAsync(Marking):
    @hookimpl
    async def generate(self, request: GenerationRequest, proceed: Any) -> Any:
        async for chunk in proceed(request):
            yield chunk._replace(text=chunk.text and chunk.text + "!")

    @hookimpl
    async def embed(self, request: EmbedRequest, proceed: Any) -> Any:
        return [[*vector, -1.0] for vector in await proceed(request)]


class MarkingCoroutine(MarkingAsync):
    @hookimpl
    async def generate(self, request: GenerationRequest, proceed: Any) -> Any:
        await asyncio.sleep(0)
        return MarkingAsync.generate(self, request, proceed)


MARKING = [Marking, MarkingSync, MarkingAsync, MarkingCoroutine]


def both(client: LollmsClient, method: str, *args: Any) -> list[Any]:
    """What a call gives, sync and async."""

    async def main() -> Any:
        return await getattr(client, f"a{method}")(*args)

    return [getattr(client, method)(*args), asyncio.run(main())]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("extension", MARKING)
def test_goes_around_every_kind_of_backend(over: Over, backend: type[Backend], extension: type[Extension]) -> None:
    client = over(backend, extensions=[extension()])
    assert both(client, "generate", "a b") == ["a!b!"] * 2
    assert both(client, "embed", "abc") == [[3.0, -1.0]] * 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("outer", MARKING)
@pytest.mark.parametrize("inner", MARKING)
def test_layers_of_every_kind_lie_around_one_another(
    over: Over, backend: type[Backend], outer: type[Extension], inner: type[Extension]
) -> None:
    watching = Watching()
    client = over(backend, extensions=[outer, watching, inner])
    assert both(client, "generate", "a b") == ["a!!b!!"] * 2
    inside: Any = client._layers.extensions[1].extension
    assert [end.completion.text for end in inside.ends] == ["a!b!"] * 2
    assert both(client, "embed", "abc") == [[3.0, -1.0, -1.0]] * 2


# --- how a stream ended -----------------------------------------------------------------------------------------------


class Endless(Backend):
    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        while not request.cancel.cancelled:
            yield Chunk("x")


class EndlessAsync(Backend):
    @hookimpl
    async def generate(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
        while True:
            await asyncio.sleep(0)
            yield Chunk("x")


class Failing(Backend):
    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        yield Chunk("half")
        raise OSError("no disk")

    @hookimpl
    def embed(self, request: EmbedRequest) -> Any:
        raise OSError("no disk")


class FailingAsync(Backend):
    @hookimpl
    async def generate(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
        yield Chunk("half")
        raise OSError("no disk")

    @hookimpl
    async def embed(self, request: EmbedRequest) -> Any:
        raise OSError("no disk")


@pytest.mark.parametrize("backend", BACKENDS)
def test_learns_that_an_answer_is_complete(over: Over, backend: type[Backend]) -> None:
    watching = Watching()
    client = over(backend, extensions=[watching], model_name="m")
    both(client, "generate", "a b")
    assert [(end.status, end.error) for end in watching.ends] == [("completed", None)] * 2
    assert {(each.completion.text, each.completion.finish_reason, each.completion.model) for each in watching.ends} == {
        ("ab", "stop", "m")
    }


@pytest.mark.parametrize("backend", [Failing, FailingAsync])
@pytest.mark.parametrize("between", [[], [Marking], [MarkingSync], [MarkingAsync]])
def test_learns_of_an_error_and_whose_it_is(over: Over, backend: type[Backend], between: list[Any]) -> None:
    watching = Watching()
    client = over(backend, extensions=[watching, *between])
    for call in (lambda: client.generate("x"), lambda: asyncio.run(client.agenerate("x"))):
        with pytest.raises(BackendError, match="the inline format failed: OSError: no disk") as caught:
            call()
        assert caught.value.partial_text == "half" + "!" * len(between)
        assert caught.value is watching.ends[-1].error
    assert [(end.status, end.completion.text) for end in watching.ends] == [("failed", "half" + "!" * len(between))] * 2


@pytest.mark.parametrize("backend", [Failing, FailingAsync])
@pytest.mark.parametrize("extension", MARKING)
def test_an_error_of_the_backends_stays_its_own(over: Over, backend: type[Backend], extension: type[Extension]) -> None:
    client = over(backend, extensions=[extension])
    for call in (lambda: client.embed("x"), lambda: asyncio.run(client.aembed("x"))):
        with pytest.raises(BackendError, match="the inline format failed: OSError: no disk"):
            call()


@pytest.mark.parametrize("backend", [Endless, EndlessAsync])
@pytest.mark.parametrize("between", [[], [Marking], [MarkingSync], [MarkingAsync]])
def test_learns_of_every_cancel(over: Over, backend: type[Backend], between: list[Any]) -> None:
    watching = Watching()
    client = over(backend, extensions=[watching, *between])
    client.generate("x", streaming_callback=lambda *_: False)
    with contextlib.closing(client.stream("x")) as stream:
        next(stream)
    begun = threading.Event()
    answer = in_background(lambda: client.generate("x", streaming_callback=lambda *_: begun.set()))
    assert begun.wait(PATIENCE)
    client.cancel()
    assert result_of(answer.result()).startswith("x")

    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(client.agenerate("x", streaming_callback=lambda *_: begun.set()))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async for _ in client.astream("x"):
            break
        await await_until(lambda: not client._running, "the end of the abandoned one")

    asyncio.run(main())
    assert [(end.status, end.completion.finish_reason) for end in watching.ends] == [("cancelled", "cancelled")] * 5
    assert all(end.completion.text.startswith("x") for end in watching.ends)
    wait_until(lambda: not client._running, "the end")


def test_a_stop_sequence_that_the_client_finds_completes_an_answer(over: Over) -> None:
    watching = Watching()
    client = over(Sync, extensions=[watching])
    assert client.generate("a b STOP c", stop="STOP") == "ab"
    assert asyncio.run(client.agenerate("a b STOP c", stop="STOP")) == "ab"
    for end in watching.ends:
        assert (end.status, end.completion.text, end.completion.finish_reason) == ("completed", "ab", "stop")


def test_what_fails_at_the_end_is_a_warning_and_the_answer_is_there(over: Over) -> None:
    class Clumsy(Extension):
        @hookimpl
        def generate(self, request: Any, proceed: Any) -> Any:
            return proceed().at_end(lambda end: 1 / 0)

    client = over(Sync, extensions=[Clumsy])
    with pytest.warns(ExtensionWarning, match="the extension 'Clumsy' of tests failed at the end .* ZeroDivision"):
        assert both(client, "generate", "a b") == ["ab"] * 2


# --- answering instead, asking something else, asking again -----------------------------------------------------------


@pytest.mark.parametrize("give", [list, tuple, iter])
def test_answers_without_asking_the_backend(over: Over, give: Any) -> None:
    class Cached(Extension):
        @hookimpl
        def generate(self, request: Any, proceed: Any) -> Any:
            return give([Chunk("from the "), Chunk("cache"), Chunk(finish_reason="stop")])

        @hookimpl
        def embed(self, request: Any, proceed: Any) -> Any:
            return [[0.0]]

    client = over(Failing, extensions=[Watching(), Cached])
    assert both(client, "generate", "x") == ["from the cache"] * 2
    assert both(client, "embed", "x") == [[0.0]] * 2


def test_a_small_cache_as_a_stranger_writes_it(over: Over) -> None:
    class Cache(Extension):
        def start(self) -> None:
            self.answers: dict[Any, list[Chunk]] = {}

        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Any) -> Any:
            key = (self.client.format, self.client.address, request.model, request.as_messages(), request.sampling)
            if (kept := self.answers.get(key)) is not None:
                return kept

            def keep(end: End) -> None:
                if end.status == "completed":
                    said = end.completion
                    self.answers[key] = [Chunk(said.text), Chunk(finish_reason=said.finish_reason, usage=said.usage)]

            return proceed(request).at_end(keep)

    asked = []

    class Counting(Sync):
        @hookimpl
        def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
            asked.append(request.prompt)
            return Sync.generate(self, request)

    client = over(Counting, extensions=[Cache])
    assert both(client, "generate", "a b") + both(client, "generate", "c") == ["ab", "ab", "c", "c"]
    assert asked == ["a b", "c"]
    assert result_of(client.complete("a b")).finish_reason == "stop"


def test_asks_something_else_and_asks_again(over: Over) -> None:
    class Twice(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Any) -> Iterator[Chunk]:
            yield from (chunk for chunk in proceed(replace(request, prompt="first")) if chunk.text)
            yield from proceed(GenerationRequest(prompt="second"))  # without the token: it is put in

    client = over(Sync, extensions=[Twice])
    assert both(client, "generate", "x") == ["firstsecond"] * 2
    assert isinstance(client.stream("x"), Iterator)


def test_a_request_of_its_own_is_cancelled_with_the_call(over: Over) -> None:
    class Own(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Any) -> Any:
            return proceed(GenerationRequest(prompt="x"))

    client = over(Endless, extensions=[Own])
    answer = in_background(lambda: client.generate("x"))
    wait_until(lambda: client._running, "the call to begin")
    client.cancel()
    answer.result()


# --- whose fault it is ------------------------------------------------------------------------------------------------


class Wrong(Extension):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    @hookimpl
    def generate(self, request: Any, proceed: Any) -> Any:
        match self.what:
            case "raises":
                raise KeyError("mine")
            case "raises later":
                return proceed().through(lambda chunk: chunk.nothing)
            case "raises in its generator":
                return (1 / 0 for _ in "x")
            case "none":
                return None
            case "text":
                return "text"
            case "dict":
                return {"a": 1}
            case "texts":
                return ["a", "b"]
            case "one chunk":
                return Chunk("a")
            case "after the end":
                return [Chunk(finish_reason="stop"), Chunk("more")]
            case "reason":
                return [Chunk(finish_reason="tired")]  # type: ignore[arg-type]
            case "other request":
                return proceed("x")
            case "refuses":
                raise RateLimitError("too much for today")
        raise AssertionError(self.what)

    @hookimpl
    def embed(self, request: Any, proceed: Any) -> Any:
        return "text" if self.what == "text" else [1.0]

    @hookimpl
    def tokenize(self, request: TokenizeRequest, proceed: Any) -> Any:
        raise KeyError("mine")


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("raises", ExtensionError, "failed: KeyError: 'mine'"),
        ("raises later", ExtensionError, "failed: AttributeError"),
        ("raises in its generator", ExtensionError, "failed: ZeroDivisionError"),
        ("none", ContractError, "gave a NoneType for `generate`, which is not a stream of chunks"),
        ("text", ContractError, "gave a str for `generate`"),
        ("dict", ContractError, "gave a dict for `generate`"),
        ("one chunk", ContractError, "gave a Chunk for `generate`, which is not a stream of chunks"),
        ("texts", ContractError, "yielded a str where a Chunk is due"),
        ("after the end", ContractError, "yielded text after the chunk that ended its answer"),
        ("reason", ContractError, "ended its answer with the finish reason 'tired'"),
        ("other request", ContractError, "proceeds with a str, not with a GenerationRequest"),
    ],
)
@pytest.mark.parametrize("around", [[], [Watching], [Marking], [MarkingSync], [MarkingAsync]])
@pytest.mark.parametrize("backend", [Sync, Async])
def test_a_fault_is_the_extensions_and_says_so(
    over: Over, what: str, kind: type[Exception], message: str, around: list[Any], backend: type[Backend]
) -> None:
    client = over(backend, extensions=[*around, Wrong(what)])
    for call in (lambda: client.generate("a b"), lambda: asyncio.run(client.agenerate("a b"))):
        with pytest.raises(kind, match=f"the extension 'Wrong' of tests {message}"):
            call()


def test_an_extension_may_refuse_a_call(over: Over) -> None:
    client = over(Sync, extensions=[Watching, Wrong("refuses")])
    for call in (lambda: client.generate("x"), lambda: asyncio.run(client.agenerate("x"))):
        with pytest.raises(RateLimitError, match="too much for today"):
            call()


def test_wrong_values_are_the_extensions(over: Over) -> None:
    client = over(Sync, extensions=[Wrong("text")])
    for call in (lambda: client.embed("x"), lambda: asyncio.run(client.aembed("x"))):
        with pytest.raises(ContractError, match="`embed` of the extension 'Wrong' of tests gave a str"):
            call()
    for tokenize in (lambda: client.tokenize("x"), lambda: asyncio.run(client.atokenize("x"))):
        with pytest.raises(ExtensionError, match="the extension 'Wrong' of tests failed: KeyError: 'mine'"):
            tokenize()


@pytest.mark.parametrize("backend", [Sync, Async])
def test_wrong_chunks_below_an_extension_are_the_backends(over: Over, backend: type[Backend]) -> None:
    class Bad(backend):  # type: ignore[misc, valid-type]
        @hookimpl
        def generate(self, request: Any) -> Any:
            return ["a"]

        @hookimpl
        def embed(self, request: Any) -> Any:
            return ["a"]

    client = over(Bad, extensions=[Marking])
    for call in (lambda: client.generate("x"), lambda: asyncio.run(client.agenerate("x"))):
        with pytest.raises(ContractError, match="`generate` of the inline format yielded a str"):
            call()
    with pytest.raises(ContractError, match="`embed` of the inline format gave a list of str"):
        client.embed("x")


# --- set-up -----------------------------------------------------------------------------------------------------------


class Options(BaseModel):
    times: int = 1


class WithOptions(Extension):
    Options = Options

    @hookimpl
    def generate(self, request: Any, proceed: Any) -> Any:
        return proceed().through(lambda chunk: chunk._replace(text=chunk.text * self.options.times))


STRANGER = """
from pydantic import BaseModel
from lollms_core import Extension, hookimpl
class Options(BaseModel):
    mark: str = "!"
class Marking(Extension):
    Options = Options
    @hookimpl
    def generate(self, request, proceed):
        return proceed(request).through(lambda c: c._replace(text=c.text and c.text + self.options.mark))
"""


def echo(**arguments: Any) -> LollmsClient:
    return LollmsClient(default_generation_mode="echo", raise_errors=True, **arguments)


def test_installed_is_not_active(strangers: Any) -> None:
    module = strangers.install(STRANGER, group=registry.EXTENSIONS_GROUP, marking="Marking")
    assert installed_extensions()["marking"].distribution == module
    with echo() as client:
        assert client.generate("a") == "a"
    assert module not in sys.modules
    with echo(extensions=["marking"]) as client:
        assert client.generate("a") == "a!"
    with echo(extensions=["marking", {"marking": {"mark": "?"}}]) as client:
        assert client.generate("a") == "a?!"


def test_a_broken_one_harms_only_who_names_it(strangers: Any) -> None:
    strangers.install("raise RuntimeError('boom')", group=registry.EXTENSIONS_GROUP, bad="x")
    with echo() as client:
        assert client.generate("a") == "a"
    with pytest.raises(ExtensionError, match=r"the extension 'bad' of .* cannot be loaded: RuntimeError: boom"):
        echo(extensions=["bad"])


def test_an_unknown_name_is_said_with_what_was_meant(strangers: Any) -> None:
    strangers.install(STRANGER, group=registry.EXTENSIONS_GROUP, marking="Marking")
    with pytest.raises(UnknownExtensionError, match="no extension 'markin' is installed") as caught:
        echo(extensions=["markin"])
    assert caught.value.hint.startswith("Did you mean 'marking'?")


def test_the_first_of_a_name_counts(strangers: Any, caplog: pytest.LogCaptureFixture) -> None:
    strangers.install(STRANGER, group=registry.EXTENSIONS_GROUP, marking="Marking")
    strangers.install(STRANGER, group=registry.EXTENSIONS_GROUP, marking="Marking")
    assert len(installed_extensions()) == 1
    assert "the extension 'marking' of" in caplog.text


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("    @hookimpl\n    def genrate(self, request, proceed): pass", "'genrate', which is none"),
        ("    @hookimpl\n    def close(self): pass", "'close', which is none"),
        ("    def generate(self, request, proceed): pass", "'generate' that lacks @hookimpl"),
        ("    @hookimpl\n    def generate(self, request): pass", r"does not take \(self, request, proceed\)"),
        ("    contract_version = 99", "written for version 99 of the contract"),
        ("    contract_version = '1'", "contract_version that is a str"),
        ("    nonblocking = None", "nonblocking is not a set"),
        ("    Options = dict", "Options is not a pydantic model"),
        ("    def __init__(self): pass", "does not call super"),
    ],
)
def test_what_breaks_the_contract_is_said(strangers: Any, body: str, complaint: str) -> None:
    source = f"from lollms_core import Extension, hookimpl\nclass X(Extension):\n{body}"
    strangers.install(source, group=registry.EXTENSIONS_GROUP, odd="X")
    with pytest.raises(ContractError, match=f"the extension 'odd' of .*{complaint}"):
        echo(extensions=["odd"])


def test_no_extension_at_all(strangers: Any) -> None:
    strangers.install("class X: pass", group=registry.EXTENSIONS_GROUP, odd="X")
    with pytest.raises(ContractError, match=r"the extension 'odd' of .* is not a subclass of lollms_core.Extension"):
        echo(extensions=["odd"])


@pytest.mark.parametrize("chosen", ["cache", {"cache": {}}, 1, [1], [object()], [{"cache": 1}], [str]])
def test_arguments_of_the_wrong_type(chosen: Any) -> None:
    with pytest.raises(TypeError, match="extension"):
        echo(extensions=chosen)


def test_options_are_checked() -> None:
    with echo(extensions=[WithOptions(times=2)]) as client:
        assert client.generate("a") == "aa"
    with pytest.raises(UnsupportedOptionError, match="no option 'tims'") as caught:
        WithOptions(tims=2)
    assert "Did you mean 'times'?" in caught.value.hint
    with pytest.raises(ConfigurationError, match="the extension WithOptions options: times must be a valid integer"):
        WithOptions(times="x")
    with pytest.raises(UnsupportedOptionError, match="no option 'x'"):
        Marking(x=1)


@pytest.mark.parametrize("given", [{}, {"times": 1}])
def test_options_that_are_no_model_are_the_authors_fault(given: dict[str, Any]) -> None:
    wrong: Any = type("Wrong", (Extension,), {"Options": dict})
    with pytest.raises(ContractError, match="the extension Wrong is wrong: its Options is not a pydantic model"):
        wrong(**given)


def test_knows_its_client_and_each_client_has_its_own() -> None:
    class Knowing(Extension):
        def __init__(self) -> None:
            super().__init__()
            self.shared: list[str | None] = []

        def start(self) -> None:
            self.own: list[str | None] = []
            for kept in (self.own, self.shared):
                kept.append(self.client.model_name)

    knowing = Knowing()
    with (
        LollmsClient("http://me:secret@127.0.0.1:1/x", "first", extensions=[knowing]) as client,
        LollmsClient(model_name="second", default_generation_mode="echo", extensions=[knowing]) as other,
    ):
        first, second = (cast(Knowing, each._layers.extensions[0].extension) for each in (client, other))
        assert (first.own, second.own, knowing.shared) == (["first"], ["second"], ["first", "second"])
        assert first.client.format == "lollms"
        assert first.client.address == "http://127.0.0.1:1/x"
        assert (second.client.format, second.client.address) == ("echo", None)
        assert isinstance(first.client.capabilities, Capabilities)
    assert not hasattr(knowing, "client")


def test_what_fails_in_the_beginning_names_the_extension() -> None:
    class Unready(Extension):
        def start(self) -> None:
            raise OSError("no disk")

    with pytest.raises(ExtensionError, match="the extension 'Unready' of tests failed: OSError: no disk"):
        echo(extensions=[Unready])


def test_is_closed_with_its_client(caplog: pytest.LogCaptureFixture) -> None:
    closed = []

    class Closing(Extension):
        def close(self) -> Any:
            closed.append("sync")

    class ClosingAsync(Extension):
        async def close(self) -> None:
            await asyncio.sleep(0)
            closed.append("async")

    class ClosingBadly(Extension):
        def close(self) -> None:
            raise OSError("no disk")

    client = echo(extensions=[ClosingBadly, Closing, ClosingAsync])
    client.close()
    client.close()
    assert closed == ["sync", "async"]
    assert "closing the extension 'ClosingBadly' of tests failed" in caplog.text

    async def main() -> None:
        async with echo(extensions=[ClosingAsync]):
            pass

    asyncio.run(main())
    assert closed == ["sync", "async", "async"]


def test_two_calls_at_once_do_not_mix(over: Over) -> None:
    watching = Watching()
    client = over(Sync, extensions=[watching, Marking])
    answers = [in_background(partial(client.generate, f"{number} " * 50)) for number in range(8)]
    assert [answer.result() for answer in answers] == [f"{number}!" * 50 for number in range(8)]

    async def main() -> list[Any]:
        return await asyncio.gather(*(client.agenerate(f"{number} " * 50) for number in range(8)))

    assert asyncio.run(main()) == [f"{number}!" * 50 for number in range(8)]
    assert sorted(end.completion.text for end in watching.ends) == sorted([f"{n}!" * 50 for n in range(8)] * 2)


def test_a_hook_that_blocks_does_not_hold_up_the_loop(over: Over) -> None:
    """As the documents show it: a plain function that waits for what it wraps."""
    where: list[threading.Thread] = []

    class Waiting(Extension):
        @hookimpl
        def generate(self, request: Any, proceed: Any) -> Any:
            where.append(threading.current_thread())
            return list(proceed())

        @hookimpl
        def embed(self, request: Any, proceed: Any) -> Any:
            return proceed(request).wait()

    class Promising(Waiting):
        nonblocking = frozenset({"generate"})

    class Slow(Sync):
        @hookimpl
        def embed(self, request: EmbedRequest) -> Any:
            held.wait(PATIENCE)
            return [[1.0]]

    held = threading.Event()
    client = over(Slow, extensions=[Waiting])
    both(client, "generate", "x")
    both(over(Slow, extensions=[Promising]), "generate", "x")
    assert [thread is threading.main_thread() for thread in where] == [True, False, True, True]

    async def main() -> Any:
        asking = asyncio.create_task(client.aembed("x"))
        await asyncio.sleep(0.05)  # which would not return before the answer
        held.set()
        return await asking

    assert asyncio.run(main()) == [1.0]


def test_bad_input_does_not_reach_it(over: Over) -> None:
    watching = Watching()
    client = over(Sync, extensions=[watching])
    with pytest.raises(InvalidRequestError):
        client.generate("x", temperature=-1)
    assert watching.ends == []


@pytest.mark.parametrize("backend", [Endless, EndlessAsync])
def test_reading_enough_of_one_stream_does_not_end_the_call(over: Over, backend: type[Backend]) -> None:
    class Twice(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Any) -> Iterator[Chunk]:
            for _ in range(2):
                with contextlib.closing(iter(proceed())) as chunks:
                    yield next(chunks)
            yield Chunk(finish_reason="stop")

    client = over(backend, extensions=[Twice])
    assert both(client, "generate", "x") == ["xx"] * 2
    assert result_of(client.complete("x")).finish_reason == "stop"


def test_what_the_user_says_is_changed_wherever_it_stands(over: Over) -> None:
    class Loud(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Any) -> Any:
            return proceed(request.with_text(str.upper))

    with LollmsClient(default_generation_mode="echo", raise_errors=True, extensions=[Loud]) as client:
        assert client.generate("hi") == "HI"
        assert client.chat([{"role": "assistant", "content": "no"}, {"role": "user", "content": "hi"}]) == "HI"

    class Careless(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Any) -> Any:
            return proceed(replace(request, prompt="instead"))

    with LollmsClient(default_generation_mode="echo", raise_errors=True, extensions=[Careless]) as client:
        assert client.generate("hi") == "instead"
        with pytest.raises(ContractError, match=r"the extension 'Careless' of tests .* both a prompt and messages"):
            client.chat([{"role": "user", "content": "hi"}, {"role": "user", "content": "hi"}])


def test_the_active_ones_can_be_looked_at() -> None:
    with echo(extensions=[Watching(), Marking]) as client:
        client.generate("a")
        watching, marking = client.extensions
        assert isinstance(watching, Watching)
        assert [end.completion.text for end in watching.ends] == ["a!"]
        assert isinstance(marking, Marking)
    with echo() as client:
        assert client.extensions == ()


PRINT_FINGERPRINT = """
from lollms_core import GenerationRequest, Image, Message, SamplingParams, ToolCall
message = Message("user", [*Message("user", "hi").parts, Image(b"x", "image/png"), ToolCall(name="f", id="1")])
sampling = SamplingParams(stop=("a",), chosen=frozenset({"temperature", "stop", "seed", "top_k", "top_p"}))
print(GenerationRequest(messages=(message,), sampling=sampling, extra={"b": {1}, "a": 2}).fingerprint())
"""


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    seen = {
        subprocess.run(
            [sys.executable, "-c", PRINT_FINGERPRINT], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(seen) == 1
    assert len(seen.pop().strip()) == 64


def test_other_questions_have_other_fingerprints() -> None:
    base = GenerationRequest(prompt="a")
    others = [
        replace(base, prompt="b"), replace(base, system_prompt="s"), replace(base, model="m"),
        replace(base, think=True), replace(base, json_schema={}), replace(base, extra={"a": 1}),
        replace(base, completion_format=ELF_COMPLETION_FORMAT.Instruct), replace(base, personality=1),
        replace(base, images=(Image(b"x", "image/png"),)), replace(base, images=(Image(b"y", "image/png"),)),
        replace(base, sampling=SamplingParams(seed=1)),
        GenerationRequest(messages=(Message("user", "a"),)), GenerationRequest(messages=(Message("assistant", "a"),)),
        GenerationRequest(messages=(Message("assistant", [ReasoningPart("a")]),)),
    ]  # fmt: skip
    assert len({each.fingerprint() for each in [base, *others]}) == len(others) + 1
    assert GenerationRequest(prompt="a").fingerprint() == base.fingerprint()
    with pytest.raises(TypeError, match="an object has no fingerprint"):
        replace(base, extra={"a": object()}).fingerprint()


class Promising(Extension):
    contract_version = 1
    nonblocking = frozenset({"generate"})

    @hookimpl
    def generate(self, request: GenerationRequest, proceed: Any) -> Any:
        self.thread = threading.current_thread().name
        return proceed(request)


class Overriding(Promising):
    @hookimpl
    def generate(self, request: GenerationRequest, proceed: Any) -> Any:
        return super().generate(request, proceed)


@pytest.mark.parametrize(("kind", "in_loop"), [(Promising, True), (Overriding, False)])
def test_a_promise_is_of_the_hooks_that_a_class_has(kind: type[Promising], in_loop: bool) -> None:
    async def asked() -> str:
        async with LollmsClient(default_generation_mode="echo", raise_errors=True, extensions=[kind()]) as client:
            await client.agenerate("hi")
            (own,) = client.extensions
            return str(cast("Any", own).thread)

    assert (asyncio.run(asked()) == "MainThread") == in_loop
