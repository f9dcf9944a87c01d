"""What importing costs: no HTTP library before the first call, and none that is not used."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("requests", "urllib3", "aiohttp", "tiktoken", "torch", "click", "pydantic", "ssl")


def loaded_after(code: str) -> set[str]:
    listing = f"{code}\nimport sys\nprint(' '.join(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_http_layer_loads_no_http_library() -> None:
    code = "import lollms_core.http, lollms_core.protocols.openai, lollms_core.http._backend"
    assert not loaded_after(code) & {"requests", "urllib3", "aiohttp"}


def test_making_a_backend_loads_none_either() -> None:
    code = (
        "from lollms_core._backends.lollms import LollmsBackend\n"
        "from lollms_core.contract.types import BackendSettings, GenerationRequest\n"
        "LollmsBackend(BackendSettings(format='lollms')).generate(GenerationRequest(prompt='hi'))"
    )
    assert not loaded_after(code) & {"requests", "urllib3", "aiohttp"}


def test_requests_may_be_imported_by_another_thread_meanwhile() -> None:
    code = """
import asyncio, threading
from lollms_core.http._address import Address
from lollms_core.http._environment import Environment
barrier = threading.Barrier(2)
failures = []
def work():
    barrier.wait()
    try:
        import requests
    except BaseException as error:
        failures.append(error)
thread = threading.Thread(target=work)
thread.start()
barrier.wait()
Environment.find(Address.parse("http://127.0.0.1:9"), True)
thread.join()
print(failures)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
