"""Several calls of one client at a LoLLMS server: what one of them does harms no other.

The stub imitates what real servers do: a classic one has one flag for everybody, which the next piece of any running
answer consumes; a current one has one engine a user, which an answer that ends takes away from the others, and sees
that a reader has gone when it writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from lollms_core import APITimeoutError, InvalidRequestError, LollmsClient, Timeouts
from lollms_core.http._stops import Stops
from lollms_core.http._turns import Turns
from tests.support.lollms_stub import LollmsStub
from tests.support.waiting import PATIENCE, PATIENT, in_background

Body = dict[str, Any]


def client(stub: LollmsStub, **settings: Any) -> LollmsClient:
    return LollmsClient(host_address=stub.address, raise_errors=True, **{"timeouts": PATIENT, **settings})


def counting(pieces: int, pause: float) -> Callable[[Body], Iterator[str]]:
    def answer(body: Body) -> Iterator[str]:
        for number in range(pieces):
            time.sleep(pause)
            yield f"{number} "

    return answer


def numbers(pieces: int) -> str:
    return "".join(f"{number} " for number in range(pieces))


def close(lollms: LollmsClient) -> None:
    chunks = lollms.stream("first")
    next(chunks)
    chunks.close()


def stop_sequence(lollms: LollmsClient) -> None:
    assert lollms.generate("first", stop="2") == "0 1 "


def callback(lollms: LollmsClient) -> None:
    lollms.generate("first", streaming_callback=lambda *_: False)


def cancelled_task(lollms: LollmsClient) -> None:
    async def main() -> None:
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(lollms.agenerate("first"), 0.2)

    asyncio.run(main())


ENDS = pytest.mark.parametrize("leave", [close, stop_sequence, callback, cancelled_task])


@ENDS
def test_a_word_that_another_answer_could_take_is_not_said(leave: Callable[[LollmsClient], None]) -> None:
    with LollmsStub("classic", answer=counting(30, 0.03)) as stub, client(stub) as lollms:
        begun = threading.Event()
        other = in_background(lambda: lollms.generate("other", streaming_callback=lambda *_: begun.set()))
        assert begun.wait(PATIENCE)
        leave(lollms)
        assert other.result() == numbers(30)
        assert "/stop_gen" not in stub.paths()


def test_where_all_are_to_end_the_word_is_said() -> None:
    with LollmsStub("classic", answer=counting(1000, 0.03)) as stub, client(stub) as lollms:
        begun = [threading.Event(), threading.Event()]

        def answer(begun: threading.Event) -> Any:
            return lollms.generate("x", streaming_callback=lambda *_: begun.set())

        answers = [in_background(functools.partial(answer, each)) for each in begun]
        for each in begun:
            assert each.wait(PATIENCE)
        lollms.cancel()
        assert all(each.result() for each in answers)
        assert stub.paths().count("/stop_gen") == 2


@ENDS
def test_the_next_question_waits_until_the_server_has_seen_that_the_reader_has_gone(
    leave: Callable[[LollmsClient], None],
) -> None:
    with LollmsStub("current", answer=counting(10, 0.1)) as stub, client(stub, max_retries=0) as lollms:
        leave(lollms)
        assert lollms.generate("next") == numbers(10)


async def test_the_next_task_waits_too() -> None:
    with LollmsStub("current", answer=counting(10, 0.1)) as stub:
        async with client(stub, max_retries=0) as lollms:
            chunks = lollms.astream("first")
            await anext(chunks)
            await chunks.aclose()
            assert await lollms.agenerate("next") == numbers(10)


def test_a_long_line_is_no_silence() -> None:
    """The limit is for the call in front, not for all of them."""
    limits = Timeouts(connect=PATIENCE, first_token=2.5, idle=PATIENCE)
    with (
        LollmsStub("current", answer=counting(10, 0.1)) as stub,
        client(stub, timeouts=limits, max_retries=0) as lollms,
    ):
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lollms.generate, "abcd")) == {numbers(10)}

        async def main() -> list[Any]:
            return list(await asyncio.gather(*(lollms.agenerate(prompt) for prompt in "abcd")))

        assert set(asyncio.run(main())) == {numbers(10)}


def test_who_left_nothing_running_makes_nobody_wait() -> None:
    turns = Turns()
    for ended in (True, False):
        turns.join(turns, None, lambda: None, lambda: True)
        turns.asks()
        turns.noticed_piece()
        if ended:
            turns.ended()
        turns.leave(turns)
        assert (turns.rest() > 0) is not ended


def long_prompts_take_long(body: Body) -> Iterator[str]:
    time.sleep(1.0 if "long" in str(body) else 0.0)
    yield from counting(10, 0.05)(body)


def cancelled_before_the_first_piece(lollms: LollmsClient) -> None:
    answer = in_background(lambda: lollms.generate("long"))
    time.sleep(0.3)
    lollms.cancel()
    answer.result()


def test_an_answer_that_was_left_before_its_first_piece() -> None:
    with LollmsStub("current", answer=long_prompts_take_long) as stub, client(stub, max_retries=0) as lollms:
        cancelled_before_the_first_piece(lollms)
        assert lollms.generate("next") == numbers(10)


def test_an_answer_that_was_given_up() -> None:
    limits = Timeouts(connect=PATIENCE, first_token=0.5, idle=PATIENCE)
    with LollmsStub("current", answer=long_prompts_take_long) as stub:
        with client(stub, timeouts=limits, max_retries=0) as lollms:
            with pytest.raises(APITimeoutError):
                lollms.generate("long")
            assert lollms.generate("next") == numbers(10)


def test_a_call_inside_of_another_one_says_so_in_any_thread() -> None:
    with LollmsStub("current", answer=counting(10, 0.02)) as stub, client(stub) as lollms:
        refused: list[Exception] = []

        def callback(*_: object) -> bool:
            try:
                lollms.generate("inside")
            except InvalidRequestError as error:
                refused.append(error)
            return False

        in_background(lambda: lollms.generate("outside", streaming_callback=callback)).result()
        assert len(refused) == 1


def test_an_answer_in_a_loop_that_was_closed_over_it_counts_for_nothing() -> None:
    class Call:
        stopping = False
        alive = True

        def is_alive(self) -> bool:
            return self.alive

    stops, call = Stops(), cast("Any", Call())
    stops.asks(call)
    assert stops.would_harm()
    call.alive = False
    assert not stops.would_harm()
