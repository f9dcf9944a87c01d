"""Extensions that break the contract, over backends and for callers of either world: blamed, and never believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from lollms_core import (
    Backend,
    Capabilities,
    Chunk,
    ContractError,
    End,
    Extension,
    ExtensionError,
    ExtensionWarning,
    GenerationRequest,
    LollmsClient,
    LollmsError,
    Message,
    Proceed,
    TokenCount,
    UnsupportedError,
    UnsupportedOptionError,
    hookimpl,
)


class Plain(Backend):
    """Knows prompts only, and no value."""

    contract_version = 1

    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        self.asked = request
        yield Chunk("how ")
        yield Chunk("are you?")
        yield Chunk(finish_reason="stop")


class Later(Plain):
    """As `Plain`, but async."""

    @hookimpl
    async def generate(self, request: GenerationRequest) -> AsyncIterator[Chunk]:  # type: ignore[override]
        self.asked = request
        await asyncio.sleep(0)
        yield Chunk("how ")
        yield Chunk("are you?")
        yield Chunk(finish_reason="stop")


class Counting(Plain):
    capabilities = Capabilities(embeddings=True)

    @hookimpl
    async def embed(self, request: Any) -> list[list[float]]:
        return [[1.0] for _ in request.texts]

    @hookimpl
    def count_tokens(self, request: Any) -> TokenCount:
        return TokenCount(6, exact=True)


BACKENDS = pytest.mark.parametrize("backend", [Plain, Later])
WORLDS = pytest.mark.parametrize("world", ["sync", "async"])


def ask(world: str, backend: type[Backend], *extensions: Extension) -> str:
    options: dict[str, Any] = {"default_generation_mode": backend, "extensions": extensions, "raise_errors": True}
    with LollmsClient(**options) as client:
        return str(client.generate("x") if world == "sync" else asyncio.run(client.agenerate("x")))


# --- wrong chunks: never taken for an answer that somebody has cut short --------------------------------------------


class Banner(Extension):
    @hookimpl
    def generate(self, request: GenerationRequest, proceed: Proceed) -> Iterator[Any]:
        yield "Note: "
        yield from proceed(request)


class ABanner(Extension):
    @hookimpl
    async def generate(self, request: GenerationRequest, proceed: Proceed) -> AsyncIterator[Any]:
        async for chunk in proceed(request):
            yield chunk
        yield Chunk("too late")


@WORLDS
@BACKENDS
@pytest.mark.parametrize(
    ("extension", "problem"), [(Banner, "yielded a str where"), (ABanner, "text after the chunk that ended")]
)
def test_wrong_chunks_are_an_error_of_the_extension(
    world: str, backend: type[Backend], extension: type[Extension], problem: str
) -> None:
    ends: list[End] = []

    class Watching(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
            return proceed(request).at_end(ends.append)

    with pytest.raises(ContractError, match=f"the extension {extension.__name__!r}.*{problem}"):
        ask(world, backend, Watching(), extension())
    (end,) = ends
    assert end.status == "failed"
    assert isinstance(end.error, ContractError)


@WORLDS
@pytest.mark.parametrize(
    ("change", "error", "problem"),
    [
        (lambda chunk: chunk.text.upper(), ContractError, "yielded a str"),
        (lambda chunk: chunk._replace(finish_reason="done"), ContractError, "finish reason 'done'"),
        (lambda chunk: 1 / 0, ExtensionError, "ZeroDivisionError"),
    ],
)
def test_what_comes_out_of_a_function_is_its_extensions(
    world: str, change: Callable[[Chunk], Any], error: type[Exception], problem: str
) -> None:
    ends: list[End] = []

    class Changing(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
            return proceed(request).through(change).at_end(ends.append)

    with pytest.raises(error, match=f"the extension 'Changing'.*{problem}"):
        ask(world, Plain, Changing())
    assert [(end.status, type(end.error)) for end in ends] == [("failed", error)]


async def coroutine(given: Any) -> Any:
    return given


def generator(given: Any) -> Any:
    yield given


async def async_generator(given: Any) -> Any:
    yield given


@pytest.mark.parametrize("method", ["through", "at_end"])
@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (coroutine, "an async function"),
        (generator, "a function with a `yield`"),
        (async_generator, "a function with a `yield`"),
    ],
)
def test_functions_that_would_not_run(method: str, function: Any, kind: str) -> None:
    class Waiting(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
            return getattr(proceed(request), method)(function)

    with pytest.raises(ContractError, match=f"'Waiting'.*gives `{method}` {kind}"):
        ask("sync", Plain, Waiting())


# --- nothing for a value --------------------------------------------------------------------------------------------


class Forgetful(Extension):
    @hookimpl
    def count_tokens(self, request: Any, proceed: Proceed) -> None:
        proceed(request).wait()

    @hookimpl
    async def embed(self, request: Any, proceed: Proceed) -> None:
        await proceed(request)


def test_an_extension_that_forgets_to_return() -> None:
    with LollmsClient(default_generation_mode=Counting, extensions=[Forgetful()], raise_errors=True) as client:
        for call in (
            lambda: client.count_tokens("x"),
            lambda: client.embed("x"),
            lambda: asyncio.run(client.aembed("x")),
        ):
            with pytest.raises(ContractError, match=r"of the extension 'Forgetful' .* gave nothing"):
                call()


def test_what_the_backend_lacks_is_not_the_extensions_fault() -> None:
    class Rounding(Extension):
        @hookimpl
        def embed(self, request: Any, proceed: Proceed) -> Any:
            doubled = proceed(request).then(lambda vectors: [[2 * x for x in vector] for vector in vectors])
            return doubled.then(lambda vectors: [[round(x) for x in vector] for vector in vectors])

    with (
        LollmsClient(default_generation_mode=Plain, extensions=[Rounding(), Rounding()], raise_errors=True) as client,
        pytest.raises(UnsupportedError, match="has no embeddings"),
    ):
        client.embed("x")


@WORLDS
def test_a_coroutine_may_give_a_promise(world: str) -> None:
    class Later(Extension):
        @hookimpl
        async def embed(self, request: Any, proceed: Proceed) -> Any:
            return proceed(request)

    with LollmsClient(default_generation_mode=Counting, extensions=[Later()], raise_errors=True) as client:
        assert (client.embed("x") if world == "sync" else asyncio.run(client.aembed("x"))) == [1.0]


# --- a coroutine that waits in the sync way -------------------------------------------------------------------------


class Blocking(Extension):
    @hookimpl
    async def generate(self, request: GenerationRequest, proceed: Proceed) -> AsyncIterator[Chunk]:
        for chunk in proceed(request):
            yield chunk

    @hookimpl
    async def embed(self, request: Any, proceed: Proceed) -> Any:
        return proceed(request).wait()


def test_a_coroutine_that_would_wait_for_itself() -> None:
    with pytest.raises(ContractError, match=r"'Blocking'.*`generate`: use `async for`"):
        ask("sync", Later, Blocking())
    with (
        LollmsClient(default_generation_mode=Counting, extensions=[Blocking()], raise_errors=True) as client,
        pytest.raises(ContractError, match=r"'Blocking'.*`embed`: use `await`"),
    ):
        client.embed("x")


def test_a_backend_whose_coroutine_calls_its_own_client() -> None:
    class Circular(Plain):
        capabilities = Capabilities(embeddings=True)

        @hookimpl
        async def embed(self, request: Any) -> Any:
            return client.embed(list(request.texts))

    with LollmsClient(default_generation_mode=Circular, raise_errors=True) as client:
        with pytest.raises(Exception, match="makes a sync call, which needs this very loop"):
            client.embed("x")


# --- the question as it was asked -----------------------------------------------------------------------------------

TALK = [
    {"role": "system", "content": "be terse"},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "my answer"},
    {"role": "user", "content": "and now?"},
]


def test_only_what_the_user_says_goes_through_with_text() -> None:
    class Loud(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
            assert [message.text for message in request.messages] == [message["content"] for message in TALK]
            return proceed(request.with_text(str.upper))

    with LollmsClient(default_generation_mode=Plain, extensions=[Loud()], raise_errors=True) as client:
        client.chat(TALK)
        assert client.backend.asked.prompt == (  # type: ignore[attr-defined]
            "!@>system: be terse\n!@>user: HELLO\n!@>assistant: my answer\n!@>user: AND NOW?\n!@>assistant:"
        )


def test_what_an_extension_asks_fits_the_backend_too() -> None:
    class Examples(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
            talk = (Message("user", "2+2?"), Message("assistant", "4"), Message("user", request.prompt))
            return proceed(replace(request, prompt="", messages=talk))

    class French(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
            return proceed(replace(request, system_prompt="Answer in French."))

    options: dict[str, Any] = {"default_generation_mode": Plain, "raise_errors": True, "strict": True}
    with LollmsClient(extensions=[Examples()], **options) as client:
        client.generate("3+3?")
        asked = client.backend.asked  # type: ignore[attr-defined]
        assert (asked.messages, asked.prompt.splitlines()[2]) == ((), "!@>user: 3+3?")
    with LollmsClient(extensions=[French()], **options) as client, pytest.raises(UnsupportedOptionError):
        client.generate("3+3?")


@WORLDS
@BACKENDS
def test_a_stop_sequence_of_an_extension(world: str, backend: type[Backend]) -> None:
    class Stopping(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
            return proceed(replace(request, sampling=replace(request.sampling, stop=("re y",))))

    class Further(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Iterator[Chunk]:
            yield from proceed(request)

    assert ask(world, backend, Stopping()) == "how a"
    assert ask(world, backend, Further(), Stopping(), Further()) == "how a"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda request: replace(request, prompt=None), "whose prompt is a NoneType"),
        (
            lambda request: replace(request, prompt="", messages=({"role": "user"},)),
            "messages are not a tuple of Message",
        ),
        (lambda request: replace(request, prompt=""), "asks nothing"),
        (lambda request: replace(request, prompt="a\0b"), "contains a NUL character"),
        (lambda request: replace(request, sampling={"temperature": 0}), "whose sampling is a dict"),
        (
            lambda request: replace(request, sampling=replace(request.sampling, stop="three")),
            r"whose sampling\.stop is not a tuple of str",
        ),
        (lambda request: replace(request, images=[]), "whose images is not a tuple of Image"),
        (lambda request: replace(request, model=5), "whose model is an int"),
        (lambda request: replace(request, extra=None), "whose extra is a NoneType"),
        (lambda request: replace(request, completion_format="Chat"), "whose completion_format is a str"),
        (lambda request: replace(request, json_schema="x"), "whose json_schema is a str"),
        (lambda request: replace(request, sampling=replace(request.sampling, temperature=-5)), "temperature must be"),
    ],
)
def test_a_request_that_makes_no_sense_is_the_extensions(change: Any, problem: str) -> None:
    class Wrong(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
            return proceed(change(request))

    with pytest.raises(ContractError, match=f"the extension 'Wrong'.*{problem}"):
        ask("sync", Plain, Wrong())


def test_a_function_for_with_text_that_forgets_to_return() -> None:
    class Wrong(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
            return proceed(request.with_text(lambda text: None))  # type: ignore[arg-type,return-value]

    with pytest.raises(ExtensionError, match=r"the extension 'Wrong'.*with_text returned a NoneType"):
        ask("sync", Plain, Wrong())


@WORLDS
@pytest.mark.parametrize("stop", [(), ("never",)])
def test_reasoning_is_apart_for_extensions_too(world: str, stop: tuple[str, ...]) -> None:
    class Tagged(Plain):
        @hookimpl
        def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
            yield Chunk("<think>secret plan</think>")
            yield Chunk("The answer.", finish_reason="stop")

    seen: list[tuple[str, bool]] = []

    def see(chunk: Chunk) -> Chunk:
        seen.append((chunk.text, chunk.is_answer))
        return chunk

    class Seeing(Extension):
        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
            return proceed(request).through(see)

    options: dict[str, Any] = {"default_generation_mode": Tagged, "extensions": [Seeing()], "raise_errors": True}
    with LollmsClient(**options) as client:
        if world == "sync":
            client.generate("x", stop=stop)
        else:
            asyncio.run(client.agenerate("x", stop=stop))
    assert "".join(text for text, is_answer in seen if is_answer).strip() == "The answer."
    assert "".join(text for text, is_answer in seen if not is_answer).strip() == "secret plan"


def test_a_later_extension_that_does_not_start_closes_the_backend() -> None:
    closed: list[str] = []

    class Closing(Plain):
        @hookimpl
        def close(self, request: Any) -> None:
            closed.append("backend")

    class First(Extension):
        def close(self) -> None:
            closed.append("first")

    class Second(Extension):
        def start(self) -> None:
            raise OSError("no such folder")

    with pytest.raises(ExtensionError, match="no such folder"):
        LollmsClient(default_generation_mode=Closing, extensions=[First(), Second()])
    assert sorted(closed) == ["backend", "first"]


class Uncopied(Extension):
    contract_version = 1

    def __copy__(self) -> Extension:
        raise RuntimeError("one of me is enough")


class Owned(Extension):
    contract_version = 1

    @property
    def client(self) -> str:  # type: ignore[override]
        return "mine"


def test_an_extension_that_no_client_can_have_for_itself() -> None:
    with pytest.raises(ExtensionError, match=r"the extension 'Uncopied' of tests failed: .*one of me"):
        LollmsClient(default_generation_mode=Plain, extensions=[Uncopied()])
    with pytest.raises(ContractError, match="the extension 'Owned' of tests has something of its own called `client`"):
        LollmsClient(default_generation_mode=Plain, extensions=[Owned()])


@WORLDS
@pytest.mark.parametrize("function", [coroutine, generator])
def test_what_would_not_run_at_the_end_of_an_answer_is_told(world: str, function: Any) -> None:
    class EndingLater(Extension):
        contract_version = 1

        @hookimpl
        def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
            return proceed(request).at_end(lambda end: function(end))

    said = f"'EndingLater' of tests failed at the end .* gives a {function.__name__}, .*must return at once"
    with pytest.warns(ExtensionWarning, match=said):
        assert ask(world, Plain, EndingLater()) == "how are you?"


class Cancelling(Extension):
    """Cancels a task of its own and does not notice."""

    contract_version = 1
    nonblocking = frozenset({"generate"})

    @hookimpl
    async def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
        raise asyncio.CancelledError


@pytest.mark.parametrize("world", ["sync", "async"])
def test_the_backend_is_not_blamed_for_an_extension_that_cancels_itself(world: str) -> None:
    with pytest.raises(LollmsError, match="cancelled by what answers it, the backend or an extension"):
        ask(world, Plain, Cancelling())


class CachingByHalf(Extension):
    """A generator because of its first branch, whose second one returns what it should yield."""

    contract_version = 1

    @hookimpl
    def generate(self, request: GenerationRequest, proceed: Proceed) -> Any:
        if request.prompt == "known":
            yield Chunk("cached")
            return None
        return proceed(request)


@pytest.mark.parametrize("world", ["sync", "async"])
def test_an_answer_that_a_generator_returns_is_told(world: str) -> None:
    said = "the extension 'CachingByHalf' of tests returns a Stream from a function with a `yield`"
    with pytest.raises(ContractError, match=said):
        ask(world, Plain, CachingByHalf())
