"""The async twins: same parameters, same answers, and they really stop."""

from __future__ import annotations

import asyncio
import inspect
import threading

import pytest

from lollms_core import BackendError, LollmsClient
from tests.support.results import error_of, result_of
from tests.support.waiting import PATIENCE, await_until

TWINS = {
    "list_personalities": "alist_personalities",
    **{
        name: f"a{name}"
        for name in (
            "generate", "generate_with_images", "chat", "complete", "stream", "generate_code", "generate_codes",
            "tokenize", "detokenize", "count_tokens", "embed", "list_models", "model_info", "pull_model", "close",
            "run",
        )
    },
}  # fmt: skip


def echo(**options) -> LollmsClient:
    return LollmsClient(default_generation_mode="echo", **options)


@pytest.mark.parametrize(("name", "twin"), TWINS.items())
def test_twins_have_the_same_parameters(name, twin):
    def shape(function):
        parameters = inspect.signature(function).parameters.values()
        return [(p.name, p.kind, p.default) for p in parameters]

    assert shape(getattr(LollmsClient, name)) == shape(getattr(LollmsClient, twin))


def test_every_call_that_does_io_has_a_twin():
    without_io = {"cancel", "extract_code_blocks", "extract_thinking_blocks", "remove_thinking_blocks"}
    aliases = {"generate_text", "listModels", "listMountedPersonalities"}
    public = {n for n, v in inspect.getmembers(LollmsClient, inspect.isfunction) if not n.startswith("_")}
    assert public - without_io - aliases - set(TWINS) - set(TWINS.values()) == set()


async def test_answers_are_the_same():
    async with echo(script=["<think>a</think>", "b\n", "c"]) as client:
        assert await client.agenerate("x") == client.generate("x") == "b\nc"
        completion = result_of(await client.acomplete("x"))
        assert (completion.text, completion.reasoning) == ("b\nc", "a")
        assert [c.text for c in [c async for c in client.astream("x")]] == [c.text for c in client.stream("x")]
        assert await client.atokenize("hé") == client.tokenize("hé")
        assert await client.adetokenize([104]) == "h"
        assert result_of(await client.acount_tokens("hé")).exact
        assert await client.aembed(["a"]) == client.embed(["a"])
        assert await client.alist_models() == client.list_models()
        assert await client.alist_personalities() == client.list_personalities()
        assert await client.achat([{"role": "user", "content": "q"}]) == "b\nc"
        assert error_of(await client.amodel_info())["type"] == "UnsupportedError"


async def test_the_callback_may_be_async():
    seen = []

    async def callback(piece, kind):
        await asyncio.sleep(0)
        seen.append(piece)
        return len(seen) < 2

    async with echo(script=["a", "b", "c"]) as client:
        assert await client.agenerate("x", streaming_callback=callback) == "ab"


async def test_cancelling_the_task_stops_the_work():
    async with echo(script=["a", "b"], delay=3600) as client:
        task = asyncio.create_task(client.agenerate("x"))
        await await_until(lambda: client._running, "the call to begin")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE)
        assert not client._running

    def streams() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "lollms-stream"]

    await await_until(lambda: not streams(), "the thread of a cancelled stream to end")


async def test_closing_the_iterator_stops_the_work():
    async with echo(script=["a", "b"]) as client:
        stream = client.astream("x")
        assert (await anext(stream)).text == "a"
        await stream.aclose()
        assert not client._running


async def test_errors_carry_the_text_so_far():
    async with echo(script=["a", "b"], fail_with="BackendError", fail_after=1) as client:
        assert error_of(await client.agenerate("x"))["partial_text"] == "a"
        with pytest.raises(BackendError) as caught:
            async for _ in client.astream("x"):
                pass
        assert caught.value.partial_text == "a"


async def test_an_exception_of_the_callback_reaches_the_caller_as_itself():
    async with echo() as client:
        with pytest.raises(ZeroDivisionError):
            await client.agenerate("x", streaming_callback=lambda *_: 1 / 0)


async def test_many_tasks_do_not_mix():
    async with echo() as client:
        answers = await asyncio.gather(*(client.agenerate(f"answer number {n}") for n in range(50)))
    assert answers == [f"answer number {n}" for n in range(50)]
