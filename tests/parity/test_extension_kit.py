"""The kit for extensions passes those that are right, and fails those that are wrong, each in its place."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from lollms_core import BackendError, Chunk, End, Extension, LollmsError, hookimpl
from lollms_core.testing import ExtensionConformance

pytest_plugins = ["pytester"]


class Watching(Extension):
    def start(self) -> None:
        self.ends: list[End] = []

    @hookimpl
    def generate(self, request: Any, proceed: Any) -> Any:
        return proceed(request).at_end(self.ends.append)

    @hookimpl
    def embed(self, request: Any, proceed: Any) -> Any:
        return proceed(request).then(list)


class Shouting(Extension):
    @hookimpl
    async def generate(self, request: Any, proceed: Any) -> AsyncIterator[Chunk]:
        async for chunk in proceed(request):
            yield chunk._replace(text=chunk.text.upper() + "!")


class TestWatching(ExtensionConformance):
    @pytest.fixture
    def extension(self) -> Extension:
        return Watching()


class TestShouting(ExtensionConformance):
    transparent = False

    @pytest.fixture
    def extension(self) -> Extension:
        return Shouting()


class TestDoesNothing(ExtensionConformance):
    @pytest.fixture
    def extension(self) -> type[Extension]:
        return Extension


class TestRemembers(ExtensionConformance):
    @pytest.fixture
    def extension(self) -> Extension:
        return Remembers()


# --- wrong ones -------------------------------------------------------------------------------------------------------


class Changes(Extension):
    """Changes what it should pass on."""

    @hookimpl
    def generate(self, request: Any, proceed: Any) -> Any:
        return proceed(request).through(lambda chunk: chunk._replace(text=chunk.text.upper()))


class Mixes(Extension):
    """Keeps in itself what belongs to a call."""

    @hookimpl
    def generate(self, request: Any, proceed: Any) -> Any:
        self.chunks: list[Chunk] = []
        for chunk in proceed(request):
            self.chunks.append(chunk)
            threading.Event().wait(0.001)
        yield from self.chunks


class Hides(Extension):
    """Makes an answer of an error."""

    @hookimpl
    def generate(self, request: Any, proceed: Any) -> Iterator[Chunk]:
        try:
            yield from proceed(request)
        except LollmsError:
            yield Chunk(finish_reason="stop")


class Renames(Extension):
    """Takes an error for its own."""

    @hookimpl
    def generate(self, request: Any, proceed: Any) -> Iterator[Chunk]:
        try:
            yield from proceed(request)
        except LollmsError as error:
            raise BackendError("something went wrong") from error


class RemembersTooLittle(Extension):
    """A cache whose key is the prompt alone."""

    def start(self) -> None:
        self.kept: dict[str, list[Chunk]] = {}

    @hookimpl
    def generate(self, request: Any, proceed: Any) -> Any:
        if request.prompt in self.kept:
            return self.kept[request.prompt]

        def keep(end: End) -> None:
            self.kept[request.prompt] = [Chunk(end.completion.text), Chunk(finish_reason="stop")]

        return proceed(request).at_end(keep)


class Remembers(RemembersTooLittle):
    """A cache whose key is right."""

    @hookimpl
    def generate(self, request: Any, proceed: Any) -> Any:
        key = request.fingerprint()
        if key in self.kept:
            return self.kept[key]

        def keep(end: End) -> None:
            if end.status == "completed":
                usage = end.completion.usage
                self.kept[key] = [Chunk(end.completion.text), Chunk(finish_reason="stop", usage=usage)]

        return proceed(request).at_end(keep)


class LeavesThread(Extension):
    """Starts a thread for every client that nobody ends."""

    def start(self) -> None:
        threading.Thread(target=threading.Event().wait, args=(30,), daemon=True).start()


CAUGHT = {
    "RemembersTooLittle": "test_whatever_is_asked_makes_a_difference",
    "Changes": "test_answers",
    "Mixes": "test_many_calls_at_once_do_not_mix",
    "Hides": "test_errors_of_the_backend_stay_its_own",
    "Renames": "test_errors_of_the_backend_stay_its_own",
    "LeavesThread": "test_closes_and_leaves_nothing",
}


@pytest.mark.parametrize(("name", "behaviour"), CAUGHT.items())
def test_catches_what_is_wrong(name: str, behaviour: str, pytester: pytest.Pytester) -> None:
    root = Path(__file__).parents[2]
    pytester.makepyfile(
        f"""
        import sys
        sys.path.insert(0, {str(root)!r})
        import pytest
        from lollms_core.testing import ExtensionConformance
        from tests.parity.test_extension_kit import {name}

        class TestWrong(ExtensionConformance):
            patience = 8.0

            @pytest.fixture
            def extension(self):
                return {name}()
        """
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-k", behaviour)
    assert result.parseoutcomes().get("failed", 0) >= 1, result.stdout.str()
    assert "Why it matters" in result.stdout.str()


def test_says_what_it_needs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "from lollms_core.testing import ExtensionConformance\nclass TestMine(ExtensionConformance): pass\n"
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-k", "test_values")
    assert "needs one fixture, which gives the extension" in result.stdout.str()
