"""Stopping a call for a value: it ends like a generation does, in a thread and in a task."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from lollms_core import LollmsClient, LollmsError
from lollms_core.testing._leftovers import Snapshot
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting

__all__ = ["Questions"]

_HOLDS = "a server that hangs, or a model that takes minutes to load, would hold the program until it is killed."


class Questions(Setting):
    """Whoever no longer wants to know is not made to wait."""

    def _questions(self, client: LollmsClient) -> dict[str, Callable[[], Awaitable[Any]]]:
        questions: dict[str, Callable[[], Awaitable[Any]]] = {
            "alist_models()": client.alist_models,
            "amodel_info()": client.amodel_info,
            "atokenize()": lambda: client.atokenize(self.prompt),
        }
        if self.capabilities.embeddings:
            questions["aembed()"] = lambda: client.aembed(self.prompt)
        return questions

    @behaviour
    def test_cancel_ends_a_silent_question(self) -> None:
        with self._silent_server() as options, self.own_client(answers=False, **options) as client:

            def ask() -> None:
                with contextlib.suppress(LollmsError):
                    client.list_models()

            worker = threading.Thread(target=ask, daemon=True)
            worker.start()
            deadline = time.monotonic() + self.patience / 2
            while worker.is_alive() and time.monotonic() < deadline:
                client.cancel()  # again and again: a call that has not begun cannot be cancelled
                worker.join(0.02)
            require(not worker.is_alive(), f"cancel() did not end list_models() within {self.patience / 2:g} s", _HOLDS)

    @behaviour
    def test_cancelled_task_ends_a_silent_question(self) -> None:
        with self._silent_server() as options, self.own_client(answers=False, **options) as client:

            async def main() -> list[str]:
                went_on = []
                for name, ask in self._questions(client).items():
                    task = asyncio.ensure_future(ask())
                    await asyncio.wait([task], timeout=0.05)
                    if task.done():  # it did not need the server
                        task.exception()
                        continue
                    task.cancel()
                    await asyncio.wait([task], timeout=self.patience / 8)
                    if not task.cancelled():
                        went_on.append(name)
                return went_on

            went_on = asyncio.run(main())
            require(not went_on, f"cancelled tasks that went on, or ended as if nothing had been: {went_on}", _HOLDS)

    @behaviour
    def test_cancelled_questions_leave_nothing(self) -> None:
        before = Snapshot.take()
        with self.own_client() as client:

            async def main() -> None:
                for ask in self._questions(client).values():
                    for turns in (0, 1, 5):
                        task = asyncio.ensure_future(ask())
                        for _ in range(turns):
                            await asyncio.sleep(0)
                        task.cancel()
                        await asyncio.wait([task])
                        if not task.cancelled():
                            task.exception()

            asyncio.run(main())
            again = client.generate(self.prompt, **self.settings())
            require(
                isinstance(again, str) and again,
                f"after cancelled questions the client does not answer any more: {again!r}",
                "one call that nobody wanted any more must not end the conversation.",
            )
        left = before.threads_since(self.grace)
        require(not left, f"threads that still run {self.grace:g} s after close(): {left}", _HOLDS)

    @contextlib.contextmanager
    def _silent_server(self) -> Generator[dict[str, Any], None, None]:
        """Arguments for a client whose server accepts connections and says nothing."""
        options = self.unreachable_options()
        if options is None:
            pytest.skip("the backend talks to no server (`unreachable_options` is None)")
        peers = []
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        peers.append(listener.accept()[0])

            thread = threading.Thread(target=accept, name="silent server", daemon=True)
            thread.start()
            try:
                address = f"http://127.0.0.1:{listener.getsockname()[1]}"
                yield {name: address if name == "host_address" else value for name, value in options.items()}
            finally:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                thread.join(5)
                for peer in peers:
                    peer.close()
