"""Many short calls on one client: what they leave behind. Memory must stay flat, sockets and threads constant.

Calls `stub_server.py`, a process of its own, from a sync client in a few threads and from an async one in as many
tasks, each in a process of its own. After 10 %, 50 % and 100 % of the calls, garbage collected, it prints the resident
set, open files, connections and threads.

Usage: `python benchmarks/soak.py [CALLS] [--format lollms] [--workers 4] [--json]`
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
SHARES = (0.1, 0.5, 1.0)
KINDS = ("sync", "async")
EXPECTED = "word0 word1 word2 "

Row = dict[str, Any]


def make_client(address: str, format: str) -> Any:
    from lollms_core import LollmsClient

    return LollmsClient(address, "short", default_generation_mode=format, raise_errors=True)


def check(answer: object) -> None:
    if answer != EXPECTED:
        raise SystemExit(f"a wrong answer: {answer!r}")


def phases(calls: int, workers: int) -> Iterator[tuple[int, list[int]]]:
    """For each mark, how many calls there are up to it, and how many of the new ones each worker makes."""
    done = 0
    for share in SHARES:
        mark = round(calls * share)
        each, rest = divmod(mark - done, workers)
        yield mark, [each + (number < rest) for number in range(workers)]
        done = mark


def state(calls: int) -> Row:
    """What this process holds now."""
    gc.collect()
    process = psutil.Process()
    return {
        "calls": calls,
        "mb": process.memory_info().rss / 1e6,
        "files": process.num_fds() if hasattr(process, "num_fds") else 0,
        "sockets": len(process.net_connections("inet")),
        "threads": process.num_threads(),
    }


def in_threads(address: str, format: str, calls: int, workers: int) -> list[Row]:
    rows = []
    with make_client(address, format) as client, ThreadPoolExecutor(workers) as pool:

        def work(count: int) -> None:
            for _ in range(count):
                check(client.generate("hi"))

        for mark, shares in phases(calls, workers):
            list(pool.map(work, shares))
            rows.append(state(mark))
    return rows


async def in_tasks(address: str, format: str, calls: int, workers: int) -> list[Row]:
    rows = []
    async with make_client(address, format) as client:

        async def work(count: int) -> None:
            for _ in range(count):
                check(await client.agenerate("hi"))

        for mark, shares in phases(calls, workers):
            await asyncio.gather(*map(work, shares))
            rows.append(state(mark))
    return rows


def measure(kind: str, address: str, format: str, calls: int, workers: int) -> Row:
    started = time.perf_counter()
    if kind == "sync":
        rows = in_threads(address, format, calls, workers)
    else:
        rows = asyncio.run(in_tasks(address, format, calls, workers))
    return {"kind": kind, "seconds": time.perf_counter() - started, "rows": rows, "after closing": state(calls)}


def run(calls: int, format: str, workers: int) -> Iterator[Row]:
    """What each kind of client leaves behind."""
    server = subprocess.Popen([sys.executable, str(HERE / "stub_server.py"), "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{server.stdout.readline().split()[1]}"
        for kind in KINDS:
            command = [sys.executable, __file__, str(calls), "--format", format, "--workers", str(workers)]
            done = subprocess.run([*command, "--worker", kind, address], stdout=subprocess.PIPE, text=True, check=True)
            yield json.loads(done.stdout.splitlines()[-1])
    finally:
        server.terminate()
        server.wait()


def held(row: Row) -> str:
    numbers = [f"{row[name]:3d} {name}" for name in ("files", "sockets", "threads")]
    return "   ".join([f"{row['mb']:6.1f} MB", *numbers])


def show(found: Row, say: Callable[[str], None] = print) -> None:
    rows = found["rows"]
    calls = rows[-1]["calls"]
    say(f"{found['kind']}: {calls} calls in {found['seconds']:.0f} s, {calls / found['seconds']:.0f} a second")
    for row in rows:
        say(f"  after {row['calls']:7d}   {held(row)}")
    say(f"  closed          {held(found['after closing'])}")
    first, last = rows[0], rows[-1]
    grown = (last["mb"] - first["mb"]) * 1e6 / (last["calls"] - first["calls"])
    change = ", ".join(f"{last[name] - first[name]:+d} {name}" for name in ("files", "sockets", "threads"))
    say(f"  from 10 % to 100 %: {last['mb'] - first['mb']:+.2f} MB ({grown:+.1f} bytes a call), {change}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calls", type=int, nargs="?", default=100_000)
    parser.add_argument("--format", default="lollms")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="print the numbers as one JSON object a line")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        kind, address = options.worker
        print(json.dumps(measure(kind, address, options.format, options.calls, options.workers)))
        return
    for found in run(options.calls, options.format, options.workers):
        if options.json:
            print(json.dumps(found))
        else:
            show(found)


if __name__ == "__main__":
    main()
