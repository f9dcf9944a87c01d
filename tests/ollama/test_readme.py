"""What the package's README shows runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from lollms_ollama import OllamaBackend, OllamaOptions

from lollms_core import APITimeoutError, LollmsClient
from tests.support.ollama_server import MODELS, OllamaServer
from tests.support.results import result_of
from tests.support.waiting import PATIENCE, PATIENT

README = (Path(__file__).parents[2] / "plugins" / "lollms-ollama" / "README.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def llama(monkeypatch):
    with OllamaServer(models={**MODELS, "llama3.2": MODELS["tiny"]}) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield server
        assert server.invalid == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs(llama, program, capsys):
    exec(compile(program, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_there_are_programs():
    assert len(PROGRAMS) == 2


def test_download_from_the_command_line(llama):
    assert "`lollms models --pull llama3.2 -f ollama`" in README
    program = "from lollms_core._cli import main; main()"
    command = [sys.executable, "-c", program, "models", "--pull", "new-model", "-f", "ollama"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, llama.bodies("/api/pull")) == (0, [{"model": "new-model", "stream": True}]), done.stderr


def test_every_option_is_named():
    honours = README.partition("## What it honours")[2].partition("\n\n- ")[0]
    assert set(re.findall(r"`(\w+)`", honours)) == OllamaBackend.capabilities.options
    for name in OllamaOptions.model_fields:
        assert f"| `{name}` |" in README


def test_message_of_a_slow_load(llama):
    limits = replace(PATIENT, first_token=0.05)
    with LollmsClient(
        default_generation_mode="ollama", model_name="silent", timeouts=limits, raise_errors=True
    ) as client:
        with pytest.raises(APITimeoutError, match=r"did not begin to answer within 0\.05 seconds"):
            client.generate("Hello")


def test_thinking_that_uses_up_the_limit(llama):
    with LollmsClient(default_generation_mode="ollama", model_name="tiny", raise_errors=True) as client:
        completion = result_of(client.complete("Hello", 2, think="high"))
    assert (completion.text, completion.finish_reason, bool(completion.reasoning)) == ("", "length", True)
