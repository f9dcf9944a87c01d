"""A thousand streams at once: how many come back whole and unmixed, how fast, and what memory they leave behind.

Each stream asks `stub_server.py` with a prompt of its own and gets 200 chunks that repeat it, sent in turn with those
of all the others. Ours and the OpenAI SDK's async client run in processes of their own, one after the other, several
rounds in the same process; memory is the resident set after the first round and after the last.

Usage: `python benchmarks/streams.py [--streams N] [--rounds N]`
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CHUNKS = 200

Ask = Callable[[str], Awaitable[str]]


def ours(base: str) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    from lollms_core import LollmsClient

    client = LollmsClient(host_address=base, model_name="paced", raise_errors=True)

    async def ask(prompt: str) -> str:
        return "".join([chunk.text async for chunk in client.astream(prompt)])

    return ask, client.aclose


def openai_sdk(base: str) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    import httpx
    import openai

    limits = httpx.Limits(max_connections=None)
    client = openai.AsyncOpenAI(
        base_url=f"{base}/v1", api_key="x", timeout=600, max_retries=0, http_client=httpx.AsyncClient(limits=limits)
    )

    async def ask(prompt: str) -> str:
        stream = await client.chat.completions.create(
            model="paced", messages=[{"role": "user", "content": prompt}], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    return ask, client.close


CLIENTS = {"lollms-core": ours, "OpenAI SDK": openai_sdk}


async def measure(name: str, base: str, streams: int, rounds: int) -> dict[str, Any]:
    ask, close = CLIENTS[name](base)
    seconds, memory, whole = [], [], 0
    await ask("warm")
    for number in range(rounds):
        prompts = [f"{number}-{index}" for index in range(streams)]
        started = time.perf_counter()
        answers = await asyncio.gather(*map(ask, prompts), return_exceptions=True)
        seconds.append(time.perf_counter() - started)
        whole += sum(
            answer == "".join(f"{prompt}:{index} " for index in range(CHUNKS))
            for prompt, answer in zip(prompts, answers, strict=True)
        )
        del answers
        gc.collect()
        memory.append(resident())
    await close()
    return {"seconds": min(seconds), "whole": whole, "asked": streams * rounds, "memory": memory}


def resident() -> float:
    """Megabytes that this process holds, as Linux tells it; 0 elsewhere."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, base = options.worker
        print(json.dumps(asyncio.run(measure(name, base, options.streams, options.rounds))))
        return
    server = subprocess.Popen(
        [sys.executable, str(HERE / "stub_server.py"), "0", str(CHUNKS)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        base = f"http://127.0.0.1:{server.stdout.readline().split()[1]}"
        rates = {}
        print(f"{options.streams} streams at once, {CHUNKS} chunks each, {options.rounds} rounds")
        for name in CLIENTS:
            command = [sys.executable, __file__, "--worker", name, base]
            command += ["--streams", str(options.streams), "--rounds", str(options.rounds)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1:] or ["it ended"]
                print(f"left out: {name} ({last[0][:200]})")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            rates[name] = options.streams * CHUNKS / found["seconds"]
            print(
                f"{name:12s} {found['whole']}/{found['asked']} whole   best round {rates[name]:9.0f} chunks/s   "
                f"memory {found['memory'][0]:.0f} MB after the first round, {found['memory'][-1]:.0f} MB after the last"
            )
        if len(rates) == len(CLIENTS):
            print(f"throughput: {rates['lollms-core'] / rates['OpenAI SDK']:.1f} x the OpenAI SDK's")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
