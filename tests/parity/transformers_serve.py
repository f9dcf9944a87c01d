"""`transformers serve`, an OpenAI-compatible server that is neither ours nor vLLM's, with the small real model.

It needs `fastapi`, `uvicorn` and `openai`, which the vllm environment has. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
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
from pathlib import Path
from typing import IO

__all__ = ["serving"]

_START_SECONDS = 300
"""Ten seconds on an idle machine; many times that beside other work."""


@contextlib.contextmanager
def serving(model: Path, cache: Path) -> Iterator[str]:
    """Start the server for a model's folder, wait until it answers, and stop it afterwards. Gives its address.

    Args:
        model: a folder; its path is the model's name, too.
        cache: where the server looks for models to list; an empty folder keeps it from what the user has.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(str(Path(sys.executable).with_name("transformers")), "serve", str(model)),
        *("--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, f"{address}/health", log)
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                if response.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    log.seek(0)
    text = log.read()[-4000:].decode(errors="replace")
    raise RuntimeError(f"transformers serve did not start (exit status {process.poll()}):\n{text}")
