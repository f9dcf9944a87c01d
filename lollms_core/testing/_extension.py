"""`ExtensionConformance`: what every extension must do, over backends of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any, ClassVar

import pytest

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    Backend,
    BackendError,
    Capabilities,
    Chunk,
    Completion,
    LollmsClient,
    LollmsError,
    Message,
    Usage,
    hookimpl,
    installed_formats,
)
from lollms_core.testing._leftovers import Snapshot
from lollms_core.testing._requirements import behaviour, eventually, require

__all__ = ["ExtensionConformance"]

_NEEDED = """the conformance kit needs one fixture, which gives the extension:

    class TestMyExtension(ExtensionConformance):
        @pytest.fixture
        def extension(self):
            return MyExtension()        # or its name, or {"its name": {"option": "value"}}
"""


class _Scripted(Backend):
    """What all of the kit's backends have in common."""

    def _words(self, request: Any) -> list[Chunk]:
        words = [Chunk(word + " ") for word in request.prompt.split()]
        return [*words, Chunk(finish_reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=len(words)))]


class _Sync(_Scripted):
    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        yield from self._words(request)

    @hookimpl
    def embed(self, request: Any) -> list[list[float]]:
        return [[float(len(text)), 1.0] for text in request.texts]

    @hookimpl
    def tokenize(self, request: Any) -> list[int]:
        return list(request.text.encode())


class _Async(_Scripted):
    @hookimpl
    async def generate(self, request: Any) -> AsyncIterator[Chunk]:
        for chunk in self._words(request):
            await asyncio.sleep(0)
            yield chunk

    @hookimpl
    async def embed(self, request: Any) -> list[list[float]]:
        await asyncio.sleep(0)
        return [[float(len(text)), 1.0] for text in request.texts]

    @hookimpl
    async def tokenize(self, request: Any) -> list[int]:
        await asyncio.sleep(0)
        return list(request.text.encode())


class _Coroutine(_Async):
    """Asks before it can stream."""

    @hookimpl
    async def generate(self, request: Any) -> Any:  # type: ignore[override]
        await asyncio.sleep(0)
        return _Async.generate(self, request)


class _Whole(_Sync):
    """Has all of the answer at once."""

    @hookimpl
    def generate(self, request: Any) -> Any:
        return self._words(request)


class _Telling(_Sync):
    """Answers with how it was asked."""

    capabilities = Capabilities(
        options=frozenset({"messages", "system_prompt", "think", "json_schema", "temperature", "seed", "personality"}),
        raw_prompt=True,
    )

    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        sampling = request.sampling
        told = [
            request.prompt, [message.text for message in request.messages], request.system_prompt, request.model,
            request.completion_format.name, sampling.temperature, sampling.seed, request.json_schema, request.think,
            request.personality, dict(request.extra),
        ]  # fmt: skip
        yield Chunk(json.dumps(told))
        yield Chunk(finish_reason="stop")


class _EndlessSync(_Sync):
    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        try:
            while not request.cancel.cancelled:
                yield Chunk("on ")
        finally:
            _closed.set()


class _EndlessAsync(_Async):
    @hookimpl
    async def generate(self, request: Any) -> AsyncIterator[Chunk]:
        try:
            while True:
                await asyncio.sleep(0)
                yield Chunk("on ")
        finally:
            _closed.set()


class _FailingSync(_Sync):
    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        yield Chunk("half ")
        raise OSError("the disk of the backend is full")

    @hookimpl
    def embed(self, request: Any) -> Any:
        raise OSError("the disk of the backend is full")


class _FailingAsync(_Async):
    @hookimpl
    async def generate(self, request: Any) -> AsyncIterator[Chunk]:
        yield Chunk("half ")
        raise OSError("the disk of the backend is full")

    @hookimpl
    async def embed(self, request: Any) -> Any:
        raise OSError("the disk of the backend is full")


_closed = threading.Event()
"""An endless answer has been closed."""

_ANSWERING = pytest.mark.parametrize("backend", [_Sync, _Async, _Coroutine, _Whole], ids=lambda kind: kind.__name__[1:])
_ENDLESS = pytest.mark.parametrize("backend", [_EndlessSync, _EndlessAsync], ids=lambda kind: kind.__name__[1:])
_FAILING = pytest.mark.parametrize("backend", [_FailingSync, _FailingAsync], ids=lambda kind: kind.__name__[1:])


class ExtensionConformance:
    """Derive from this, give one fixture, and pytest runs every behaviour against your extension.

        from lollms_core.testing import ExtensionConformance

        class TestCounting(ExtensionConformance):
            @pytest.fixture
            def extension(self):
                return Counting()

    It is put around backends of every kind, whose answers the kit knows.
    """

    transparent: ClassVar[bool] = True
    """Answers and values pass as they are. `False` for an extension that is there to change them."""

    patience: float = 60.0
    """Seconds after which a behaviour counts as hung."""

    @pytest.fixture
    def extension(self) -> Any:
        """What `LollmsClient(extensions=[…])` takes: an object, a class, a name, `{name: options}`. The one fixture
        that is required; a new one for each behaviour.
        """
        pytest.fail(_NEEDED, pytrace=False)

    @pytest.fixture(autouse=True)
    def _set_the_stage(self, extension: Any) -> None:
        self._extension = extension
        _closed.clear()

    def abandon_client(self) -> None:
        """Nothing: each behaviour has clients of its own."""

    def note_failure(self, name: str) -> None:
        """Nothing: every behaviour says something by itself."""

    @contextlib.contextmanager
    def client(self, backend: type[Backend], **arguments: Any) -> Generator[LollmsClient, None, None]:
        """A client of one of the kit's backends, inside of the extension; it raises errors."""
        arguments = {"extensions": [self._extension], "raise_errors": True, **arguments}
        with LollmsClient(default_generation_mode=backend, **arguments) as client:
            yield client

    # --- answers ------------------------------------------------------------------------------------------------

    @_ANSWERING
    @behaviour
    def test_answers(self, backend: type[Backend]) -> None:
        with self.client(backend) as client:
            here = client.complete("one two three")
            there = asyncio.run(client.acomplete("one two three"))
        for completion in (here, there):
            require(
                isinstance(completion, Completion) and isinstance(completion.text, str),
                f"a call gave {completion!r}",
                "callers get something else than an answer.",
            )
        self._unchanged("complete().text", [_text(here), _text(there)], "one two three ")
        if self.transparent:
            require(
                here.finish_reason == there.finish_reason == "stop",  # type: ignore[union-attr]
                f"the finish reason was {here.finish_reason!r}, then {there.finish_reason!r}",  # type: ignore[union-attr]
                "callers cannot tell a whole answer from one that was cut.",
            )

    @_ANSWERING
    @behaviour
    def test_streams(self, backend: type[Backend]) -> None:
        async def main(client: LollmsClient) -> list[Chunk]:
            return [chunk async for chunk in client.astream("one two three")]

        with self.client(backend) as client:
            here = list(client.stream("one two three"))
            there = asyncio.run(main(client))
        self._unchanged("the stream", ["".join(c.text for c in here), "".join(c.text for c in there)], "one two three ")

    @_ANSWERING
    @behaviour
    def test_values(self, backend: type[Backend]) -> None:
        async def main(client: LollmsClient) -> tuple[Any, Any]:
            return await client.aembed("abc"), await client.atokenize("abc")

        with self.client(backend) as client:
            here = client.embed("abc"), client.tokenize("abc")
            there = asyncio.run(main(client))
        self._unchanged("embed() and tokenize()", [here, there], ([3.0, 1.0], [97, 98, 99]))

    @_ANSWERING
    @behaviour
    def test_many_calls_at_once_do_not_mix(self, backend: type[Backend]) -> None:
        prompts = [f"{number} " * 20 for number in range(6)]
        got: dict[str, Any] = {}

        def work(client: LollmsClient, prompt: str) -> None:
            got[prompt] = client.generate(prompt)

        async def main(client: LollmsClient) -> list[Any]:
            return await asyncio.gather(*map(client.agenerate, prompts))

        with self.client(backend) as client:
            threads = [threading.Thread(target=work, args=(client, prompt)) for prompt in prompts]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(self.patience)
            there = asyncio.run(main(client))
        require(len(got) == len(prompts), f"of {len(prompts)} threads, {len(got)} got an answer", "calls get lost.")
        if self.transparent:
            require(
                all(got[prompt] == prompt for prompt in prompts) and there == prompts,
                f"calls at the same time got the answers {list(got.values())} and {there}",
                "one user reads what another one was told.",
            )

    @behaviour
    def test_whatever_is_asked_makes_a_difference(self) -> None:
        asked: list[dict[str, Any]] = [
            {}, {"system_prompt": "s"}, {"model_name": "m"}, {"completion_format": ELF_COMPLETION_FORMAT.Instruct},
            {"temperature": 0.7}, {"seed": 7}, {"think": True}, {"think": "high"}, {"personality": 3},
            {"extra": {"x": 1}},
        ]  # fmt: skip
        if self.transparent:
            asked.append({"json_schema": {}})
        with self.client(_Telling) as client:
            for _ in range(2):  # the second time, a cache has something to give
                got = [str(client.generate("x", **options)) for options in asked]
                got.append(str(client.chat([Message("user", "x"), Message("assistant", "y"), Message("user", "x")])))
                if self.transparent:
                    same = {text for text in got if got.count(text) > 1}
                    require(
                        not same,
                        f"different questions got the same answer: {same}",
                        "whoever asks something else reads what another question was answered.",
                    )

    # --- ends ---------------------------------------------------------------------------------------------------

    @_ENDLESS
    @pytest.mark.parametrize("way", ["callback", "close", "drop", "cancel", "task", "aclose"])
    @behaviour
    def test_stopping_reaches_the_backend(self, backend: type[Backend], way: str) -> None:
        before = Snapshot.take()
        with self.client(backend) as client:
            getattr(self, f"_stop_by_{way}")(client)
            require(
                eventually(_closed.is_set, self.patience / 4),
                f"an answer that was stopped ({way}) was not closed",
                "the model goes on for nobody, and whoever pays for its tokens pays for those too.",
            )
        self._no_threads_since(before)

    def _stop_by_callback(self, client: LollmsClient) -> None:
        client.generate("x", streaming_callback=lambda *_: False)

    def _stop_by_close(self, client: LollmsClient) -> None:
        stream = client.stream("x")
        next(stream)
        stream.close()

    def _stop_by_drop(self, client: LollmsClient) -> None:
        for _ in client.stream("x"):
            break

    def _stop_by_cancel(self, client: LollmsClient) -> None:
        client.generate("x", streaming_callback=lambda *_: client.cancel())

    def _stop_by_task(self, client: LollmsClient) -> None:
        async def main() -> None:
            begun = asyncio.Event()
            task = asyncio.create_task(client.agenerate("x", streaming_callback=lambda *_: begun.set()))
            await begun.wait()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        asyncio.run(main())

    def _stop_by_aclose(self, client: LollmsClient) -> None:
        async def main() -> None:
            stream = client.astream("x")
            await anext(stream)
            await stream.aclose()

        asyncio.run(main())

    @_FAILING
    @behaviour
    def test_errors_of_the_backend_stay_its_own(self, backend: type[Backend]) -> None:
        with self.client(backend) as client:
            calls: list[Callable[[], Any]] = [
                lambda: client.generate("x"),
                lambda: asyncio.run(client.agenerate("x")),
                lambda: client.embed("x"),
                lambda: asyncio.run(client.aembed("x")),
            ]
            for number, call in enumerate(calls):
                error = _raised(call)
                if error is None and not self.transparent:
                    continue  # it may be there to answer all the same
                require(
                    isinstance(error, BackendError) and f"the {client.format} format" in error.message,
                    f"an error of the backend became {error!r}",
                    "whoever looks for the fault looks in the wrong place.",
                )
                if number < 2 and self.transparent:
                    require(
                        error.partial_text == "half ",  # type: ignore[union-attr]
                        f"the text before an error became {error.partial_text!r}",  # type: ignore[union-attr]
                        "what had arrived is lost.",
                    )

    # --- life ---------------------------------------------------------------------------------------------------

    @behaviour
    def test_one_object_for_two_clients(self) -> None:
        with self.client(_Sync, model_name="a") as one:
            first = one.generate("one")
            with self.client(_Async, model_name="b") as two:
                second = two.generate("two")
                third = one.generate("three")
        self._unchanged("the answers of two clients", [(first, second, third)], ("one ", "two ", "three "))

    @behaviour
    def test_closes_and_leaves_nothing(self) -> None:
        before = Snapshot.take()
        with self.client(_Sync) as client:
            client.generate("x")
            client.close()
        self._no_threads_since(before)

    @pytest.mark.parametrize("format", sorted(installed_formats()))
    @behaviour
    def test_goes_with_every_installed_format(self, format: str) -> None:
        try:
            LollmsClient(default_generation_mode=format).close()
        except LollmsError as error:
            pytest.skip(f"this format cannot be used here: {error}")
        LollmsClient(default_generation_mode=format, extensions=[self._extension]).close()

    def _no_threads_since(self, before: Snapshot) -> None:
        threads = before.threads_since(self.patience / 4)
        require(not threads, f"threads were left behind: {threads}", "they pile up until the program ends.")

    def _unchanged(self, what: str, got: list[Any], expected: Any) -> None:
        require(
            all(value == got[0] for value in got),
            f"{what} gave {got[0]!r} to a sync caller, {got[-1]!r} to an async one",
            "a program that is made async must not change its behaviour.",
        )
        if self.transparent:
            require(
                got[0] == expected,
                f"{what} gave {got[0]!r} where the backend gave {expected!r}",
                "callers get something else than the model said. If that is the purpose, say transparent = False.",
            )


def _text(completion: Any) -> str:
    return str(completion.text)


def _raised(call: Callable[[], Any]) -> LollmsError | None:
    try:
        call()
    except LollmsError as error:
        return error
    return None
