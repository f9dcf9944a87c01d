"""Stopping: by the callback, from another thread, by closing or abandoning an iterator, by cancelling a task."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Generator
from typing import Any

import pytest

from lollms_core import MSG_TYPE, Completion
from lollms_core.testing._leftovers import Snapshot
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting

__all__ = ["Stopping"]

_GOES_ON = "a generation that nobody reads any more still costs time, money and memory."


class _Oops(Exception):
    """What a user's callback raises."""


class Stopping(Setting):
    """Whoever stops a generation gets what there is, and the work ends."""

    @contextlib.contextmanager
    def _leaving_nothing(self) -> Generator[None, None, None]:
        """The block may leave no thread behind, and afterwards the client must still answer."""
        __tracebackhide__ = True
        before = Snapshot.take()
        yield
        left = before.threads_since(self.grace)
        require(not left, f"threads that still run {self.grace:g} s after the stop: {left}", _GOES_ON)
        again = self.client.generate(self.prompt, **self.settings())
        require(
            isinstance(again, str) and again,
            f"after the stop the client does not answer any more: {again!r}",
            "one stopped answer must not end the conversation.",
        )

    @behaviour
    def test_callback_gets_the_whole_answer(self) -> None:
        got: list[str] = []
        kinds = set()

        def callback(text: str, kind: MSG_TYPE) -> None:
            kinds.add(kind)
            if kind == MSG_TYPE.MSG_TYPE_CHUNK:
                got.append(text)

        answer = self.client.generate(self.prompt, streaming_callback=callback, **self.settings())
        require(
            "".join(got) == answer and kinds <= set(MSG_TYPE),
            f"the callback got {got} as {kinds}, generate() gave {answer!r}",
            "what a user sees while it arrives must be what the program gets.",
        )

    @behaviour
    def test_only_false_stops(self) -> None:
        whole = self.answer()
        for value in (None, 0, "", True, "stop"):
            answer = self.client.generate(self.prompt, streaming_callback=lambda *_, v=value: v, **self.settings())
            if self.deterministic:
                require(
                    answer == whole,
                    f"a callback that returns {value!r} changed the answer from {whole!r} to {answer!r}",
                    "a callback without a return statement would stop the answer after its first piece.",
                )

    @behaviour
    def test_callback_false_stops(self) -> None:
        whole = self.answer()
        got: list[str] = []

        def callback(text: str, _: MSG_TYPE) -> bool:
            got.append(text)
            return False

        with self._leaving_nothing():
            completion = self.client.complete(self.prompt, streaming_callback=callback, **self.settings())
            self._must_be_the_beginning(completion, whole)
            require(len(got) == 1, f"the callback was called {len(got)} times after it had said no", _GOES_ON)

    @behaviour
    def test_exception_of_the_callback_reaches_the_caller(self) -> None:
        oops = _Oops("from the callback")

        def callback(*_: Any) -> None:
            raise oops

        with self._leaving_nothing():
            caught = None
            try:
                self.client.generate(self.prompt, streaming_callback=callback, **self.settings())
            except Exception as error:
                caught = error
            require(
                caught is oops,
                f"the callback raised {oops!r}, the caller got {caught!r}",
                "a mistake in the user's own code would be hidden, or look like a fault of the model.",
            )
            oops.__traceback__ = caught = None

    @behaviour
    def test_cancel_from_another_thread(self) -> None:
        whole = self.answer()
        first, cancelled = threading.Event(), threading.Event()

        def cancel() -> None:
            first.wait()
            self.client.cancel()
            cancelled.set()

        def callback(*_: Any) -> None:
            first.set()
            cancelled.wait()

        with self._leaving_nothing():
            canceller = threading.Thread(target=cancel, daemon=True)
            canceller.start()
            completion = self.client.complete(self.prompt, streaming_callback=callback, **self.settings())
            canceller.join()
            self._must_be_the_beginning(completion, whole)

    @behaviour
    def test_cancel_ends_a_silent_wait(self) -> None:
        options = self._silent_options()
        with self.own_client(**options) as client:
            results: list[Any] = []
            worker = threading.Thread(target=lambda: results.append(client.generate(self.prompt)), daemon=True)
            worker.start()
            self._until_ended(worker, client.cancel)
            require(
                results and isinstance(results[0], str),
                f"cancel() made generate() give {results}, not the text so far",
                "a server that hangs, or a model that loads, would hold the program until it is killed. Look at "
                "`request.cancel`: register what ends the wait with `on_cancel`.",
            )

    @behaviour
    def test_close_ends_a_silent_wait(self) -> None:
        options = self._silent_options()
        with self.own_client(**options) as client:
            ended = threading.Event()

            def work() -> None:
                with contextlib.suppress(Exception):
                    client.generate(self.prompt)
                ended.set()

            worker = threading.Thread(target=work, daemon=True)
            worker.start()
            client.close()
            require(ended.wait(self.patience), "a generation outlived its client", "a program could not end.")

    @behaviour
    def test_cancelled_task_ends_a_silent_wait(self) -> None:
        options = self._silent_options()

        async def main() -> bool:
            task = asyncio.create_task(client.agenerate(self.prompt))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        before = Snapshot.take()
        with self.own_client(**options) as client:
            require(
                asyncio.run(main()),
                "the cancelled task ended as if nothing had happened",
                "asyncio.timeout and task groups rely on CancelledError.",
            )
            left = before.threads_since(self.grace)
            require(
                not left, f"threads that still wait {self.grace:g} s after their task was cancelled: {left}", _GOES_ON
            )

    @behaviour
    def test_closing_the_iterator_stops(self) -> None:
        with self._leaving_nothing():
            stream = self.client.stream(self.prompt, **self.settings())
            next(stream)
            stream.close()
            require(next(stream, None) is None, "a closed stream went on", _GOES_ON)

    @behaviour
    def test_abandoned_iterators_stop(self) -> None:
        with self._leaving_nothing():
            for _ in range(3):
                stream = self.client.stream(self.prompt, **self.settings())
                next(stream)
                del stream
            gc.collect()

    @behaviour
    def test_iterator_that_was_never_started_does_nothing(self) -> None:
        before = Snapshot.take()
        stream = self.client.stream(self.prompt, **self.settings())
        left = before.threads_since(0)
        require(not left, f"stream() began to work before its first step: {left}", "work that nobody asked for yet.")
        stream.close()

    @behaviour
    def test_closing_the_async_iterator_stops(self) -> None:
        async def main() -> None:
            stream = self.client.astream(self.prompt, **self.settings())
            await anext(stream)
            await stream.aclose()

        self._warm_async()
        with self._leaving_nothing():
            asyncio.run(main())

    @behaviour
    def test_cancelled_task_stops(self) -> None:
        async def main() -> bool:
            first = asyncio.Event()

            async def callback(*_: Any) -> None:
                first.set()
                await asyncio.Event().wait()

            task = asyncio.create_task(
                self.client.agenerate(self.prompt, streaming_callback=callback, **self.settings())
            )
            await first.wait()
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        self._warm_async()
        with self._leaving_nothing():
            require(
                asyncio.run(main()),
                "the cancelled task ended as if nothing had happened",
                "asyncio.timeout and task groups rely on CancelledError.",
            )

    # --- how ------------------------------------------------------------------------------------------------------

    def _must_be_the_beginning(self, completion: Any, whole: str) -> None:
        __tracebackhide__ = True
        require(
            isinstance(completion, Completion) and completion.finish_reason == "cancelled",
            f"a stopped generation gave {completion!r}, not a Completion whose finish reason is 'cancelled'",
            "stopping is no error: the caller asked for it and wants the text so far.",
        )
        if self.deterministic:
            require(
                completion.text and whole.startswith(completion.text) and len(completion.text) < len(whole),
                f"stopped at the first piece, {whole!r} gave {completion.text!r}; it should be the beginning",
                "what had arrived must not be lost, and what comes after the stop is not wanted.",
            )

    def _silent_options(self) -> dict[str, Any]:
        if self._silent is None:
            pytest.skip("no `silent_options` fixture gives a client whose backend waits without a word")
        return dict(self._silent)

    def _until_ended(self, worker: threading.Thread, cancel: Any) -> None:
        # Again and again, because a generation that has not begun cannot be cancelled.
        deadline = time.monotonic() + self.patience / 2
        while worker.is_alive() and time.monotonic() < deadline:
            cancel()
            worker.join(0.02)
        require(
            not worker.is_alive(),
            f"cancel() did not end a silent wait within {self.patience / 2:g} s",
            "a server that hangs would hold the program until it is killed.",
        )

    def _warm_async(self) -> None:
        # What a backend makes once for all async calls is not a leftover of one of them.
        asyncio.run(self.client.agenerate(self.prompt, **self.settings()))
