"""Calls that take turns, when those before them can no longer go on. Each program runs in a process of its own.

What a closed loop leaves behind says so when it is collected; asyncio's warnings about that are not what is tested.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core.http import Turns
from tests.support.lollms_stub import LollmsStub
from tests.support.waiting import PATIENCE

PRELUDE = f"""
import asyncio, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from lollms_core import LollmsClient, Timeouts

limits = Timeouts(connect={PATIENCE}, first_token={PATIENCE}, idle={PATIENCE})
client = LollmsClient(host_address=sys.argv[1], raise_errors=True, timeouts=limits)
pool = ThreadPoolExecutor()
loop = asyncio.new_event_loop()

def until_in_line(number):
    deadline = time.monotonic() + {PATIENCE}
    while len(client._running) < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""


@pytest.fixture
def server() -> Iterator[LollmsStub]:
    with LollmsStub("current") as stub:
        yield stub


def run(server: LollmsStub, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program, server.address],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_answer_of_a_closed_loop_holds_up_nobody(server: LollmsStub) -> None:
    shown = run(
        server,
        """
stream = client.astream("one two three")
loop.run_until_complete(anext(stream))
loop.close()
print(client.generate("hi"))
print(asyncio.run(client.agenerate("ho")))
""",
    )
    assert shown.split() == ["hi", "ho"]


def test_a_loop_that_is_closed_while_others_wait_holds_up_nobody(server: LollmsStub) -> None:
    shown = run(
        server,
        """
stream = client.astream("one two three")
loop.run_until_complete(anext(stream))
answers = [
    pool.submit(lambda: client.generate("hi")),
    pool.submit(lambda: asyncio.run(client.agenerate("ho"))),
]
until_in_line(3)
loop.close()
for answer in answers:
    print(answer.result())
""",
    )
    assert shown.split() == ["hi", "ho"]


def test_a_loop_that_is_closed_while_it_waits_holds_up_nobody(server: LollmsStub) -> None:
    shown = run(
        server,
        """
stream = client.stream("one two three")
pool.submit(next, stream).result()  # here, the loop would be told that it waits for its own thread
task = loop.create_task(client.agenerate("never"))
loop.run_until_complete(asyncio.sleep(0.1))
assert not task.done()
answer = ThreadPoolExecutor().submit(lambda: client.generate("hi"))
until_in_line(3)
loop.close()
stream.close()
print(answer.result())
""",
    )
    assert shown.split() == ["hi"]


def test_a_stream_that_another_thread_of_a_pool_reads_on_is_waited_for(server: LollmsStub) -> None:
    """As Starlette reads the generators of its visitors: each piece in whatever thread is free."""
    shown = run(
        server,
        """
pool = ThreadPoolExecutor(1)
stream = client.stream("one two three")
begun = pool.submit(next, stream).result().text
answer = pool.submit(lambda: client.generate("hi"))
until_in_line(2)
print((begun + "".join(chunk.text for chunk in stream)).split(), answer.result())
""",
    )
    assert shown.strip() == "['one', 'two', 'three'] hi"


def test_a_child_does_not_wait_for_its_parents_turn(server: LollmsStub) -> None:
    shown = run(
        server,
        f"""
stream = client.stream("one two three")
next(stream)
child = os.fork()
if child == 0:
    threading.Timer({PATIENCE}, os._exit, [1]).start()
    print(client.generate("hi"), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("".join(chunk.text for chunk in stream))
""",
    )
    assert shown.split() == ["hi", "two", "three"]


class _Waiter:
    def __init__(self) -> None:
        self.alive = True
        self.turns = 0

    def wake(self) -> None:
        self.turns += 1


@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "die", "look"]), st.integers(0, 4)), max_size=40))
def test_whoever_is_first_is_woken_once(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order; as those who wait look again after a while, one look may be needed."""
    turns, waiters = Turns(), {number: _Waiter() for number in range(5)}
    line: list[int] = []
    for step, number in steps:
        waiter = waiters[number]
        if step == "join" and number not in line and waiter.alive:
            waiter.turns = 0
            # Each stands for a task of its own.
            assert turns.join(waiter, waiter, waiter.wake, partial(getattr, waiter, "alive"))
            line.append(number)
        elif step == "leave" and number in line:
            turns.leave(waiter)
            line.remove(number)
        elif step == "die":
            waiter.alive = False
        elif step == "look":
            turns.look()
    turns.look()
    living = [number for number in line if waiters[number].alive]
    if living:
        assert waiters[living[0]].turns == 1
    assert all(waiters[number].turns == 0 for number in living[1:])
