"""The life of a client: importing and making it costs nothing, closing it leaves nothing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest

from lollms_core import CONTRACT_VERSION, ClientClosedError, LollmsClient, LollmsError, installed_formats
from lollms_core.testing._leftovers import Snapshot, logged_failures
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting

__all__ = ["Life"]

_IMPORT = """
import importlib, json, sys, threading
network = []
names = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")
sys.addaudithook(lambda event, args: network.append(repr((event, args[1:]))) if event in names else None)
before = set(sys.modules)
importlib.import_module(sys.argv[1])
heavy = [name for name in sys.argv[2:] if name in sys.modules and name not in before]
print(json.dumps({"heavy": heavy, "network": network, "threads": threading.active_count() - 1}))
"""


@dataclass
class Lifetime:
    """What was seen while one client lived, worked and was closed twice."""

    threads: list[str]
    connections: list[str] | None
    close_failures: list[str]
    second_close: Exception | None
    after_close: dict[str, Any]


class Life(Setting):
    """Cheap to import, cheap to make, gone when closed."""

    @behaviour
    def test_import_has_no_side_effects(self) -> None:
        info = installed_formats().get(self.client.format)
        if info is None:
            pytest.skip("the backend is given as a class, not installed as a format")
        module = info.target.partition(":")[0]
        # The child must find what this process finds, also packages that are on its path by other ways.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(  # noqa: S603  # our own interpreter, our own program
            [sys.executable, "-c", _IMPORT, module, *self.heavy_modules],
            capture_output=True, text=True, env=environment, timeout=self.patience, check=False,
        )  # fmt: skip
        require(done.returncode == 0, f"`import {module}` fails alone: {done.stderr}", "the format cannot be chosen.")
        seen = json.loads(done.stdout.splitlines()[-1])
        why = "every program that uses the format waits for it at start. Import it where it is used."
        require(not seen["heavy"], f"`import {module}` imports {seen['heavy']}", why)
        require(not seen["network"], f"`import {module}` uses the network: {seen['network']}", why)
        require(not seen["threads"], f"`import {module}` starts {seen['threads']} threads", why)

    @behaviour
    def test_making_a_client_touches_nothing(self) -> None:
        used: list[str] = []

        def refuse(*args: Any, **_: Any) -> Any:
            used.append(repr(args[1:] if args and isinstance(args[0], socket.socket) else args))
            raise OSError("no network while a client is made")

        before = Snapshot.take()
        with (
            mock.patch.object(socket.socket, "connect", refuse),
            mock.patch.object(socket, "getaddrinfo", refuse),
            self.own_client(answers=False),
        ):
            left = before.threads_since(0)
        why = "programs make clients at start that they may never ask. Do it in the first call that needs it."
        require(not used, f"making a client used the network: {used}", why)
        require(not left, f"making a client started threads: {left}", why)

    @behaviour
    def test_contract_version_is_stated(self) -> None:
        version = self.client.backend.contract_version
        require(
            version == CONTRACT_VERSION,
            f"contract_version is {version!r}, this lollms-core has version {CONTRACT_VERSION}",
            "when the contract changes, users should be told which of two packages to upgrade, and not find out by a "
            f"crash. Write `contract_version = {CONTRACT_VERSION}` in the backend's class.",
        )

    @behaviour
    def test_closed_client_says_so(self) -> None:
        for call, error in self._lifetime().after_close.items():
            require(
                isinstance(error, ClientClosedError),
                f"{call} after close() gave {error!r}, not ClientClosedError",
                "using a closed client is a mistake that must be visible, not a new connection or a crash.",
            )

    @behaviour
    def test_close_hook_does_not_fail(self) -> None:
        failures = self._lifetime().close_failures
        require(
            not failures,
            f"closing the client logged a failure: {'; '.join(failures)}",
            "what was to be freed after it stays held, and every program that closes its client has a traceback in its "
            "log. The `close` hook must not raise, whatever was called before, and an async one must end soon.",
        )

    @behaviour
    def test_closing_twice_is_no_error(self) -> None:
        error = self._lifetime().second_close
        require(error is None, f"the second close() raised {error!r}", "cleaning up must be safe to repeat.")

    @behaviour
    def test_no_thread_is_left_after_close(self) -> None:
        left = self._lifetime().threads
        require(
            not left,
            f"threads that still run {self.grace:g} s after close(): {left}",
            "a server that makes a client for each user runs out of threads. End them in the `close` hook.",
        )

    @behaviour
    def test_no_connection_is_left_after_close(self) -> None:
        left = self._lifetime().connections
        if left is None:
            pytest.skip("connections cannot be seen: install psutil")
        require(
            not left,
            f"connections that are still open {self.grace:g} s after close(): {left}",
            "a server that makes a client for each user runs out of sockets. Close them in the `close` hook.",
        )

    # --- how ------------------------------------------------------------------------------------------------------

    def _lifetime(self) -> Lifetime:
        """One client's life, lived once for all behaviours that look at it."""
        if self._clients.life is None:
            # Threads that a library starts once for the whole process belong to no client.
            self.client.generate(self.prompt, **self.settings())
            if self.single_instance:
                self._clients.close()
            before = Snapshot.take()
            self._clients.life = self._live(before)
        life: Lifetime = self._clients.life
        return life

    def _live(self, before: Snapshot) -> Lifetime:
        settings = self.settings()
        client = LollmsClient(**{**self._options, "raise_errors": True})
        client.generate(self.prompt, **settings)
        asyncio.run(client.agenerate(self.prompt, **settings))
        abandoned = client.stream(self.prompt, **settings)
        next(abandoned)
        with logged_failures() as failures:
            client.close()
        second = _error_of(client.close)
        after = {
            "generate()": _error_of(lambda: client.generate(self.prompt, **settings)),
            "stream()": _error_of(lambda: list(client.stream(self.prompt, **settings))),
            "agenerate()": _error_of(lambda: asyncio.run(client.agenerate(self.prompt, **settings))),
            "tokenize()": _error_of(lambda: client.tokenize(self.prompt)),
            "list_models()": _error_of(client.list_models),
        }
        del abandoned
        threads, connections = before.threads_since(self.grace), before.connections_since(self.grace)
        return Lifetime(threads, connections, failures, second, after)


def _error_of(call: Any) -> Exception | None:
    try:
        call()
    except (LollmsError, Exception) as error:
        # Without its frames, which hold on to the client.
        return error.with_traceback(None)
    return None
