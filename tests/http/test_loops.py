"""One client in many event loops: none is kept, and none that was closed carelessly keeps a connection."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.dialects import OPENAI
from tests.support.fault_server import FaultServer
from tests.support.waiting import PATIENCE, wait_until

PRELUDE = """
import asyncio, gc, sys, weakref
from lollms_core import LollmsClient

client = LollmsClient(
    host_address=sys.argv[1], model_name="m", default_generation_mode="openai", service_key="k", raise_errors=True
)
"""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(OPENAI) as server:
        yield server


def run(server: FaultServer, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PRELUDE + program, server.address("ok")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Unclosed" not in done.stderr, done.stderr
    return done.stdout


def test_a_loop_for_every_call_leaves_one_at_most(server: FaultServer) -> None:
    shown = run(
        server,
        """
loops = weakref.WeakSet()

async def main():
    loops.add(asyncio.get_running_loop())
    await client.agenerate("x")

for _ in range(20):
    asyncio.run(main())
gc.collect()
print(len(loops))
client.close()
gc.collect()
print(len(loops))
""",
    )
    assert shown.split() == ["1", "0"]


@pytest.mark.parametrize("then", ["client.close()", "asyncio.run(client.agenerate('x'))"])
def test_a_loop_that_is_closed_alone_keeps_no_connection(server: FaultServer, then: str) -> None:
    run(
        server,
        f"""
loop = asyncio.new_event_loop()
loop.run_until_complete(client.agenerate("x"))
loop.close()
{then}
print("closed", flush=True)
client.close()
""",
    )
    wait_until(lambda: server.connections == 0, "the connection to close")


def test_a_loop_of_another_thread_is_never_run(server: FaultServer) -> None:
    shown = run(
        server,
        """
import threading, time

def work(ready, failures):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(other.agenerate("x"))
    ready.set()
    try:
        while ready.is_set():
            time.sleep(0.0005)
            loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    except BaseException as error:
        failures.append(error)

failures = []
for _ in range(30):
    other = LollmsClient(
        host_address=sys.argv[1], model_name="m", default_generation_mode="openai", service_key="k", raise_errors=True
    )
    ready = threading.Event()
    thread = threading.Thread(target=work, args=(ready, failures))
    thread.start()
    ready.wait()
    other.close()
    ready.clear()
    thread.join()
print(failures)
""",
    )
    assert shown == "[]\n"
    wait_until(lambda: server.connections == 0, "the connections to close")


def test_closing_last_of_all_leaves_nothing_behind(server: FaultServer) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PRELUDE
            + """
async def main():
    await client.agenerate("x")
    client.close()

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
del loop
gc.collect()
""",
            server.address("ok"),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == ""
