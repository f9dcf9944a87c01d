"""What a client adds to one short call and to one streamed chunk, as multiples of `http.client` and `json` alone.

Every client does the same work against `stub_server.py`: a chat request with one short user message, and the same with
a streamed answer of a thousand chunks. lollms-core always streams from the server, also when its caller wants the
text at once; its short call therefore reads a stream of three chunks, a finish reason and a usage record where the
others read one JSON answer. Each client runs in a process of its own; the clients take turns, several rounds long, so
that a busy moment of the machine hits all of them. Peers that are not installed are named and left out.

Usage: `python benchmarks/overhead.py [--rounds N] [ROW ...]`
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
CHUNKS = 1000
CALLS, STREAMS = 60, 3


class Client(NamedTuple):
    call: Callable[[], Any]
    stream: Callable[[], int]
    """Reads a long answer and returns how many chunks it had."""


def body(**fields: object) -> dict[str, object]:
    return {"model": "m", "messages": MESSAGES, **fields}


def raw(base: str) -> Client:
    import http.client

    connection = http.client.HTTPConnection(base.removeprefix("http://"))
    headers = {"content-type": "application/json"}

    def call() -> Any:
        connection.request("POST", "/v1/chat/completions", json.dumps(body()), headers)
        return json.loads(connection.getresponse().read())

    def stream() -> int:
        connection.request("POST", "/v1/chat/completions", json.dumps(body(stream=True)), headers)
        response = connection.getresponse()
        count, rest = 0, b""
        while data := response.read1(65536):
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                if event != b"data: [DONE]":
                    json.loads(event[6:])
                    count += 1
        return count

    return Client(call, stream)


def raw_text(base: str) -> Client:
    """The LoLLMS server's raw text."""
    import http.client

    connection = http.client.HTTPConnection(base.removeprefix("http://"))
    headers = {"content-type": "application/json"}
    prompt = {"prompt": MESSAGES[0]["content"]}

    def call() -> Any:
        connection.request("POST", "/classic/lollms_generate", json.dumps(prompt), headers)
        return connection.getresponse().read().decode()

    def stream() -> int:
        connection.request("POST", "/classic/lollms_generate", json.dumps({**prompt, "stream": True}), headers)
        response = connection.getresponse()
        while data := response.read1(65536):
            data.decode()
        return CHUNKS

    return Client(call, stream)


def requests_session(base: str) -> Client:
    import requests

    session = requests.Session()
    url = f"{base}/v1/chat/completions"

    def stream() -> int:
        with session.post(url, json=body(stream=True), stream=True) as response:
            lines = [json.loads(line[6:]) for line in response.iter_lines() if line and line != b"data: [DONE]"]
        return len(lines)

    return Client(lambda: session.post(url, json=body()).json(), stream)


def httpx_client(base: str) -> Client:
    import httpx

    client = httpx.Client()
    url = f"{base}/v1/chat/completions"

    def stream() -> int:
        with client.stream("POST", url, json=body(stream=True)) as response:
            lines = [json.loads(line[6:]) for line in response.iter_lines() if line and line != "data: [DONE]"]
        return len(lines)

    return Client(lambda: client.post(url, json=body()).json(), stream)


def openai_sdk(base: str) -> Client:
    import openai

    create = openai.OpenAI(base_url=f"{base}/v1", api_key="x").chat.completions.create
    return Client(
        lambda: create(model="m", messages=MESSAGES), lambda: count(create(model="m", messages=MESSAGES, stream=True))
    )


def litellm(base: str) -> Client:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    def ask(**fields: object) -> Any:
        return litellm.completion(model="openai/m", api_base=f"{base}/v1", api_key="x", messages=MESSAGES, **fields)

    return Client(ask, lambda: count(ask(stream=True)))


def any_llm(base: str) -> Client:
    from any_llm import AnyLLM

    client = AnyLLM.create("openai", api_key="x", api_base=f"{base}/v1")
    return Client(
        lambda: client.completion(model="m", messages=MESSAGES),
        lambda: count(client.completion(model="m", messages=MESSAGES, stream=True)),
    )


def upstream(base: str) -> Client:
    """The older distribution `lollms-client`, which owns the import name `lollms_client` as well."""
    home = str(importlib.metadata.distribution("lollms_client").locate_file(""))
    sys.path.insert(0, home)
    from lollms_client import LollmsClient

    client = LollmsClient(
        llm_binding_name="openai",
        llm_binding_config={"host_address": f"{base}/v1", "model_name": "m", "service_key": "x"},
    )
    prompt = MESSAGES[0]["content"]

    def stream() -> int:
        pieces: list[str] = []
        client.generate_text(prompt, stream=True, streaming_callback=lambda piece, *_: pieces.append(piece) or True)
        return len(pieces)

    return Client(lambda: client.generate_text(prompt), stream)


def ours(base: str, **settings: Any) -> Client:
    from lollms_core import LollmsClient

    def make(model: str) -> LollmsClient:
        return LollmsClient(host_address=base, model_name=model, raise_errors=True, max_retries=0, **settings)

    short, long = make("short"), make("m")
    prompt = MESSAGES[0]["content"]
    return Client(lambda: short.generate(prompt), lambda: count(long.stream(prompt)))


def ours_current(base: str) -> Client:
    return ours(base)


def ours_classic(base: str) -> Client:
    return ours(f"{base}/classic")


def ours_openai(base: str) -> Client:
    return ours(f"{base}/v1", default_generation_mode="openai", service_key="x")


def count(chunks: Any) -> int:
    return sum(1 for _ in chunks)


ROWS: dict[str, tuple[Callable[[str], Client], str]] = {
    "http.client + json": (raw, "raw"),
    "lollms-core, openai": (ours_openai, "raw"),
    "lollms-core, current LoLLMS": (ours_current, "raw"),
    "requests": (requests_session, "raw"),
    "httpx": (httpx_client, "raw"),
    "OpenAI SDK": (openai_sdk, "raw"),
    "any-llm": (any_llm, "raw"),
    "LiteLLM": (litellm, "raw"),
    "lollms-client (upstream)": (upstream, "raw"),
    "http.client, raw text": (raw_text, "text"),
    "lollms-core, classic LoLLMS": (ours_classic, "text"),
}
"""Each row: how its client is made, and which row it is a multiple of."""
REFERENCE = {"raw": "http.client + json", "text": "http.client, raw text"}


def work(row: str, base: str) -> None:
    """One client's process: for each line on stdin it measures a round and prints it."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a client prints is not a measurement
    try:
        client = ROWS[row][0](base)
        for _ in range(10):
            client.call()
        client.stream()
    except Exception as error:
        print(json.dumps({"failed": f"{type(error).__name__}: {error}"[:200]}), file=answers, flush=True)
        return
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        calls, chunks = [], []
        for _ in range(CALLS):
            started = time.perf_counter()
            client.call()
            calls.append(time.perf_counter() - started)
        for _ in range(STREAMS):
            started = time.perf_counter()
            number = client.stream()
            chunks.append((time.perf_counter() - started) / max(number, CHUNKS))
        print(json.dumps({"calls": calls, "chunks": chunks}), file=answers, flush=True)


class Worker:
    """The process of one row."""

    def __init__(self, row: str, base: str) -> None:
        self.row = row
        self.calls: list[float] = []
        self.chunks: list[float] = []
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", row, base],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def begin(self) -> str:
        """Wait until it is ready; why it cannot run, if it cannot."""
        said = self._line()
        return str(said.get("failed", "")) if said else "it ended before it began"

    def round(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        said = self._line()
        self.calls += said["calls"]
        self.chunks += said["chunks"]

    def end(self) -> None:
        self._process.communicate()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("rows", nargs="*", help="rows to measure, besides the references; all without")
    options = parser.parse_args()
    if options.worker:
        return work(*options.worker)
    server = subprocess.Popen(
        [sys.executable, str(HERE / "stub_server.py"), "0", str(CHUNKS)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        base = f"http://127.0.0.1:{server.stdout.readline().split()[1]}"
        chosen = [row for row in ROWS if not options.rows or row in options.rows or row in REFERENCE.values()]
        workers = []
        for row in chosen:
            worker = Worker(row, base)
            if why := worker.begin():
                print(f"left out: {row} ({why})")
                worker.end()
            else:
                workers.append(worker)
        for _ in range(options.rounds):
            for worker in workers:
                worker.round()
        report(workers)
        for worker in workers:
            worker.end()
    finally:
        server.terminate()
        server.wait()
    return None


def report(workers: list[Worker]) -> None:
    medians = {worker.row: (statistics.median(worker.calls), statistics.median(worker.chunks)) for worker in workers}
    print(f"\n{'':28s} {'one short call':>24s} {'one streamed chunk':>24s}")
    for row, (call, chunk) in medians.items():
        reference = medians[REFERENCE[ROWS[row][1]]]
        print(
            f"{row:28s} {call * 1e6:10.0f} us {call / reference[0]:8.2f} x {chunk * 1e6:11.2f} us"
            f" {chunk / reference[1]:8.2f} x"
        )


if __name__ == "__main__":
    main()
