"""What a forked child does with its parent's connections: nothing. Each program runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.dialects import OPENAI
from tests.support.fault_server import TEXT, FaultServer
from tests.support.lollms_stub import LollmsStub
from tests.support.waiting import PATIENCE

WHOLE = "".join(TEXT)

PRELUDE = f"""
import asyncio, os, sys, threading
from lollms_core import LollmsClient, Timeouts

address, whole = sys.argv[1], sys.argv[2]
limits = Timeouts(connect={PATIENCE}, first_token={PATIENCE}, idle={PATIENCE})

def make(path=""):
    return LollmsClient(
        host_address=address + path, model_name="m", default_generation_mode="openai", service_key="k",
        raise_errors=True, max_retries=0, timeouts=limits,
    )

def in_child(work, leave=sys.exit):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print("child:", type(error).__name__, error, file=sys.stderr, flush=True)
            os._exit(1)
        leave(0)  # `sys.exit`: as any program ends, with all that is torn down then
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"the child ended with {{status}}"
"""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(OPENAI) as server:
        yield server


def run(server: FaultServer | LollmsStub, program: str) -> str:
    address = server.address if isinstance(server, LollmsStub) else server.address("ok").removesuffix("/ok")
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", PRELUDE + program, address, WHOLE],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr, done.stderr
    assert "Unclosed" not in done.stderr, done.stderr
    return done.stdout


def test_a_child_makes_async_calls_and_the_parent_goes_on(server: FaultServer) -> None:
    shown = run(
        server,
        """
async def main():
    client = make("/ok")
    assert await client.agenerate("x") == whole
    for _ in range(3):
        await asyncio.to_thread(in_child, lambda: None, os._exit)
        in_child_too = lambda: [
            print(asyncio.run(each.agenerate("x")) == whole, flush=True) for each in (make("/ok"), client)
        ]
        await asyncio.to_thread(in_child, in_child_too, os._exit)
        assert await client.agenerate("x") == whole
        assert await client.alist_models()
    await client.aclose()

asyncio.run(main())
""",
    )
    assert shown.split() == ["True"] * 6


@pytest.mark.parametrize(
    "end", ["client.close()", "client.cancel()", "stream.close()", "del stream", "list(stream)", "pass"]
)
def test_a_child_ends_a_stream_that_it_has_inherited(server: FaultServer, end: str) -> None:
    """The parent's goes on: the child's copy of the stream is dead."""
    run(
        server,
        f"""
client = make("/lingering")
stream = client.stream("x")
first = next(stream).text

def child():
    global stream
    try:
        {end}
    except Exception as error:
        assert type(error).__name__ == "IncompleteStreamError", error

in_child(child)
rest = "".join(chunk.text for chunk in stream)
assert first + rest == whole, (first, rest)
client.close()
""",
    )


@pytest.mark.parametrize("end", ["client.close()", "client.cancel()", "pass"])
@pytest.mark.parametrize(
    # A child that closes a loop of its parent's takes that loop's own wake-up out of an epoll object that both share.
    # That is asyncio's; `os._exit` is how a child of a loop must end.
    "fork",
    ["await asyncio.to_thread(in_child, child, os._exit)", "in_child(child, os._exit)"],
    ids=["thread", "loop"],
)
def test_a_child_ends_while_its_parent_streams_in_a_loop(server: FaultServer, end: str, fork: str) -> None:
    run(
        server,
        f"""
async def main():
    client = make("/lingering")
    stream = client.astream("x")
    pieces = [(await anext(stream)).text]

    def child():
        {end}

    {fork}
    pieces += [chunk.text async for chunk in stream]
    assert "".join(pieces) == whole, pieces
    await client.aclose()

asyncio.run(main())
""",
    )


def test_a_child_sends_no_stop_for_its_parents_answer() -> None:
    import time

    def answer(body: object) -> Iterator[str]:
        for number in range(100):
            yield f"{number} "
            time.sleep(0.01)

    with LollmsStub(answer=answer) as stub:
        run(
            stub,
            """
client = LollmsClient(host_address=address, raise_errors=True)
stream = client.stream("count")
next(stream)

def child():
    global stream
    stream.close()
    client.close()

in_child(child)
numbers = "".join(chunk.text for chunk in stream).split()
assert numbers[-1] == "99", numbers
client.close()
""",
        )
        assert "/stop_gen" not in stub.paths()


def test_the_server_sees_the_parents_close_though_a_child_lives(server: FaultServer) -> None:
    run(
        server,
        """
client = make("/stall")
stream = client.stream("x")
next(stream)
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.close(writer)
    os.read(reader, 1)  # lives until the parent says so
    os._exit(0)
stream.close()
client.close()
import urllib.request
print(urllib.request.urlopen(address + "/ok/v1/models").status)
os.write(writer, b"x")
os.waitpid(child, 0)
""",
    )
    assert server.gone.wait(PATIENCE), "the connection stayed open: the child held it"


def test_a_child_counts_tokens_while_a_thread_of_its_parent_loads_the_vocabulary() -> None:
    program = f"""
import os, threading, time
from lollms_core import LollmsClient, tokenizers

loading, forked = threading.Event(), threading.Event()
real = tokenizers._choose

def slow(*args):
    loading.set()
    forked.wait()
    return real(*args)

tokenizers._choose = slow
client = LollmsClient(default_generation_mode="lollms")
thread = threading.Thread(target=lambda: tokenizers.encoding_for("m").encode("x"))
thread.start()
loading.wait()
child = os.fork()
if child == 0:
    tokenizers._choose = real
    os._exit(0 if tokenizers.encoding_for("m").encode("x") else 1)
forked.set()
deadline = time.monotonic() + {PATIENCE}
while time.monotonic() < deadline:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        print(os.waitstatus_to_exitcode(status))
        break
    time.sleep(0.05)
else:
    os.kill(child, 9)
    print("hangs")
thread.join()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE + 60, check=False
    )
    assert done.stdout.strip() == "0", done.stdout + done.stderr


def test_a_child_uses_an_async_backend_of_its_parents_client() -> None:
    program = """
import os
from lollms_core import Backend, Chunk, LollmsClient, hookimpl
from lollms_core._client import base as client_base

class Async(Backend):
    @hookimpl
    async def generate(self, request):
        yield Chunk("here")

client_base.load_format = lambda name: Async
client = LollmsClient(default_generation_mode="x")
print(client.generate("x"), flush=True)
child = os.fork()
if child == 0:
    print(client.generate("x"), flush=True)
    client.close()
    os._exit(0)
os.waitpid(child, 0)
print(client.generate("x"), flush=True)
client.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.stdout.split() == ["here"] * 3, done.stderr


@pytest.mark.parametrize(
    "slow",
    ["http_backend.Environment, 'find'", "sync._Pool, '__init__'", "aio, 'prepared_headers'"],
    ids=["transport", "pool", "session"],
)
def test_a_child_of_a_program_whose_thread_makes_the_first_call(server: FaultServer, slow: str) -> None:
    """The locks that the thread holds at that moment are nobody's in the child."""
    run(
        server,
        f"""
from lollms_core.http import _backend as http_backend
from lollms_core.http import _aio as aio
from lollms_core.http import _sync as sync

where, name = {slow}
real = getattr(where, name)
making, forked = threading.Event(), threading.Event()

def slow(*args):
    if not making.is_set():
        making.set()
        forked.wait()
    return real(*args)

setattr(where, name, slow)
client = make("/ok")
ask = (lambda: asyncio.run(client.agenerate("x"))) if where is aio else (lambda: client.generate("x"))
thread = threading.Thread(target=ask)
thread.start()
making.wait()
child = os.fork()
if child == 0:
    threading.Timer({PATIENCE}, os._exit, [1]).start()
    os._exit(0 if ask() == whole else 2)
forked.set()
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert status == 0, status
thread.join()
client.close()
""",
    )
