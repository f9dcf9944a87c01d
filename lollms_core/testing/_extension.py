"""`ExtensionConformance`: what every extension must do, over backends of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from lollms_core import Backend, BackendError, CallCancelledError, LollmsClient, LollmsError, installed_formats
from lollms_core.testing._extension_answers import ExtensionAnswers
from lollms_core.testing._extension_basics import ExtensionBasics
from lollms_core.testing._extension_setting import outcome
from lollms_core.testing._extension_values import ExtensionValues
from lollms_core.testing._known_backends import ENDLESS, FAILING, Async, Sync, begun, closed
from lollms_core.testing._leftovers import Snapshot, logged_failures
from lollms_core.testing._requirements import Hung, behaviour, eventually, require, within

__all__ = ["ExtensionConformance"]

_HELD_BACK = 1.0
"""Seconds after which an endless answer of which nothing has come is cancelled."""


class ExtensionConformance(ExtensionAnswers, ExtensionValues, ExtensionBasics):
    """Derive from this, give one fixture, and pytest runs every behaviour against your extension.

        from lollms_core.testing import ExtensionConformance

        class TestCounting(ExtensionConformance):
            @pytest.fixture
            def extension(self):
                return Counting()

    It is put around backends of every kind, whose answers and values the kit knows. Three basic behaviours run first.
    Where one of them fails, or any behaviour hangs, the others are skipped.

    An extension that changes what it passes on says `transparent = False`. Then its answers and values may be anything,
    and what is looked at is that it does not fail, that it treats sync and async callers alike, that it leaves the
    errors of backends their own, ends when it is stopped, and leaves nothing behind.
    """

    # --- ends ---------------------------------------------------------------------------------------------------

    @ENDLESS
    @pytest.mark.parametrize("way", ["callback", "close", "drop", "cancel", "task", "aclose"])
    @behaviour
    def test_stopping_reaches_the_backend(self, backend: type[Backend], way: str) -> None:
        before = Snapshot.take()
        with self.client(backend) as client:
            with self._cancelled_if_nothing_comes(client):
                getattr(self, f"_stop_by_{way}")(client)
            require(
                not begun.is_set() or eventually(closed.is_set, self.patience / 4),
                f"an answer that was stopped ({way}) was not closed",
                "the model goes on for nobody, and whoever pays for its tokens pays for those too.",
            )
        self.must_leave_no_threads(before)

    @contextlib.contextmanager
    def _cancelled_if_nothing_comes(self, client: LollmsClient) -> Generator[None, None, None]:
        """What changes an answer may want all of it first, and this one has no end: then only a cancel stops it."""
        if self.transparent:
            yield
            return
        timer = threading.Timer(_HELD_BACK, client.cancel)
        timer.start()
        try:
            with contextlib.suppress(CallCancelledError):
                yield
        finally:
            timer.cancel()
            timer.join()

    def _stop_by_callback(self, client: LollmsClient) -> None:
        client.generate("x", streaming_callback=lambda *_: False)

    def _stop_by_close(self, client: LollmsClient) -> None:
        stream = client.stream("x")
        next(stream, None)
        stream.close()

    def _stop_by_drop(self, client: LollmsClient) -> None:
        for _ in client.stream("x"):
            break

    def _stop_by_cancel(self, client: LollmsClient) -> None:
        client.generate("x", streaming_callback=lambda *_: client.cancel())

    def _stop_by_task(self, client: LollmsClient) -> None:
        async def main() -> None:
            came = asyncio.Event()
            task = asyncio.create_task(client.agenerate("x", streaming_callback=lambda *_: came.set()))
            piece = asyncio.create_task(came.wait())
            await asyncio.wait({task, piece}, return_when=asyncio.FIRST_COMPLETED)
            piece.cancel()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        asyncio.run(main())

    def _stop_by_aclose(self, client: LollmsClient) -> None:
        async def main() -> None:
            stream = client.astream("x")
            await anext(stream, None)
            await stream.aclose()

        asyncio.run(main())

    @FAILING
    @behaviour
    def test_errors_of_the_backend_stay_its_own(self, backend: type[Backend]) -> None:
        with self.client(backend) as client:
            calls: list[Callable[[], Any]] = [
                lambda: client.generate("x"),
                lambda: asyncio.run(client.agenerate("x")),
            ]
            for error in map(outcome, calls):
                if not isinstance(error, LollmsError) and not self.transparent:
                    continue  # it may be there to answer all the same
                require(
                    isinstance(error, BackendError) and f"the {client.format} format" in error.message,
                    f"an error of the backend became {error!r}",
                    "whoever looks for the fault looks in the wrong place.",
                )
                require(
                    not self.transparent or error.partial_text == "half ",
                    f"the text before an error became {error.partial_text!r}",
                    "what had arrived is lost.",
                )

    # --- life ---------------------------------------------------------------------------------------------------

    @behaviour
    def test_one_object_for_two_clients(self) -> None:
        with self.client(Sync, model_name="a") as one:
            first = one.generate("one")
            with self.client(Async, model_name="b") as two:
                second = two.generate("two")
                third = one.generate("three")
        got = (first, second, third)
        self.must_be_unchanged("an object that two clients have", got, got, ("one ", "two ", "three "))

    @behaviour
    def test_closes_and_leaves_nothing(self) -> None:
        before = Snapshot.take()
        with self.client(Sync) as client:
            client.generate("x")
            with logged_failures() as failures:
                client.close()
        require(
            not failures,
            f"closing the client logged a failure: {'; '.join(failures)}",
            "what was to be freed after it stays held, and every program that closes its client has a traceback in its "
            "log.",
        )
        self.must_leave_no_threads(before)

    @pytest.mark.parametrize("format", sorted(installed_formats()))
    @behaviour
    def test_goes_with_every_installed_format(self, format: str) -> None:
        try:
            within(self.patience / 4, lambda: LollmsClient(default_generation_mode=format).close())
        except (LollmsError, Hung) as error:
            problem = str(error).partition("\n")[0]
            pytest.skip(f"this format cannot be used here, without the extension either: {problem}")
        LollmsClient(default_generation_mode=format, extensions=[self._extension]).close()
