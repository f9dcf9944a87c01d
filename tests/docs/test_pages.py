"""Every snippet and every command of the documents, pasted into an environment that holds the wheels and nothing else.

`docs/command.md` and `docs/backends.md` have tests of their own beside this one: tests/cli/test_documentation.py and
tests/parity/test_backends_document.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import ROOT, Block, blocks, pages
from tests.support.lollms_stub import LollmsStub
from tests.support.ollama_server import MODELS, OllamaServer
from tests.support.openai_stub import running
from tests.support.proxy_server import ProxyServer
from tests.support.waiting import PATIENCE

ELSEWHERE = ("docs/command.md", "docs/backends.md")
IN_THIS_PROCESS = "plugins/lollms-transformers/README.md"
"""Its first install is that of torch; these tests have it already."""
OURS = [page for page in pages() if page not in ELSEWHERE and blocks(page)]

OF_THE_READER = ("Pillow", "fastapi", "httpx", "pytest")
"""What the pages use beside ours."""
LLAMA = {**MODELS, "llama3.2": MODELS["tiny"]}
ANSWER = "Like this:\n\n```python\nprint([1, 1, 2, 3, 5])\n```\n"

RUNNER = """
import contextlib, io, json, sys
said, namespace = [], {"__name__": "__main__"}
for name, source in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, name, "exec"), namespace)
    said.append(out.getvalue())
print(json.dumps(said))
"""


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """The programs of a new environment in which nothing but the wheels, and what they ask for, was installed."""
    folder = tmp_path_factory.mktemp("installed")
    environment = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "pins" / "default.txt")}
    environment.pop("PYTHONPATH", None)

    def pip(*arguments: str) -> None:
        command = [str(folder / "env" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True, timeout=PATIENCE)
    packages = [ROOT, *(ROOT / "plugins" / f"lollms-{name}" for name in ("openai", "ollama", "vllm", "litellm"))]
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder / "wheels"), *map(str, packages))
    pip("install", "--quiet", *OF_THE_READER, *map(str, (folder / "wheels").glob("*.whl")))
    return folder / "env" / "bin"


@pytest.fixture
def world(request, tmp_path) -> Iterator[dict[str, str]]:
    """The environment variables of somebody who has the servers that the pages speak of, and has set nothing up yet."""
    with ExitStack() as stack:
        openai = stack.enter_context(running())
        ollama = stack.enter_context(OllamaServer(models=LLAMA, answer=ANSWER))
        # Whoever asks for a server at another address is led to one of its kind.
        proxy = openai.url
        if request.node.callspec.params["page"] == "docs/formats/lollms.md":
            lollms = stack.enter_context(LollmsStub())
            proxy = stack.enter_context(ProxyServer(elsewhere=urlsplit(lollms.address).port or 0)).url()
        yield {
            "HOME": str(tmp_path),
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "TIKTOKEN_CACHE_DIR": os.environ.get("TIKTOKEN_CACHE_DIR", ""),
            "HTTP_PROXY": proxy,
            "http_proxy": proxy,
            "NO_PROXY": "127.0.0.1",
            "OPENAI_API_KEY": "sk-1",
            "OPENAI_BASE_URL": openai.url,
            "OLLAMA_HOST": ollama.address,
        }


def to_run(page: str, *kinds: str) -> list[Block]:
    return [block for block in blocks(page) if block.kind in kinds and block.not_run is None]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.model] if page == IN_THIS_PROCESS else [])
        for page in OURS
        if to_run(page, "python")
    ],
)
def test_python(page, world, tmp_path, request):
    """Block by block in one process, as somebody pastes them; what is printed is what the page shows."""
    snippets = to_run(page, "python")
    here = page == IN_THIS_PROCESS
    program = sys.executable if here else request.getfixturevalue("installed") / "python"
    given = json.dumps([(f"{block.page}, line {block.line}", block.content) for block in snippets])
    done = subprocess.run(
        [str(program), "-W", "error::ResourceWarning", "-c", RUNNER, given],
        cwd=tmp_path,
        env={
            **world,
            **({"LOLLMS_CACHE_DIR": os.environ["LOLLMS_CACHE_DIR"]} if "LOLLMS_CACHE_DIR" in os.environ else {}),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if not here:
        assert done.stderr == ""
    printed = json.loads(done.stdout)
    for block, said in zip(snippets, printed, strict=True):
        if block.output is not None:
            assert said.rstrip("\n") == block.output.rstrip("\n"), f"{page}, line {block.line}"


@pytest.mark.parametrize("page", [page for page in OURS if to_run(page, "sh", "console") and page != IN_THIS_PROCESS])
def test_commands(page, world, tmp_path, installed):
    """One after the other in one empty folder; each ends well, and prints what the page shows."""
    environment = {**world, "PATH": f"{installed}:{world['PATH']}"}
    for block in to_run(page, "sh", "console"):
        for command, output in block.commands():
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0, f"{page}, line {block.line}: {command}\n{done.stdout}{done.stderr}"
            if output is not None:
                assert done.stdout == output, f"{page}, line {block.line}: {command}"


def test_what_is_not_run_says_why():
    for page in pages():
        for block in blocks(page):
            assert block.not_run is None or len(block.not_run) > 10, f"{page}, line {block.line}"
