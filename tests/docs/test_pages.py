"""Every snippet and every command of the documents, pasted into an environment that holds the wheels and nothing else.

Of `docs/backends.md` the first steps are here; tests/parity/test_backends_document.py has the rest.
"""

from __future__ import annotations

import ast
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import lollms_core
from tests.docs.pages import ROOT, Block, blocks, pages
from tests.support.lollms_stub import LollmsStub
from tests.support.ollama_server import MODELS, OllamaServer
from tests.support.openai_stub import running
from tests.support.proxy_server import ProxyServer
from tests.support.waiting import PATIENCE

TUTORIAL = "docs/backends.md"
COMMAND = "docs/command.md"
IN_THIS_PROCESS = "plugins/lollms-transformers/README.md"
"""Its first install is that of torch; these tests have it already."""
OURS = [page for page in pages() if page != TUTORIAL and blocks(page)]

OF_THE_READER = ("Pillow", "fastapi", "httpx", "pytest")
"""What the pages use beside ours."""
LLAMA = {**MODELS, "llama3.2": MODELS["tiny"]}
ANSWER = "Like this:\n\n```python\nprint([1, 1, 2, 3, 5])\n```\n"
REPOSITORY = "https://github.com/ParisNeo/lollms-core"

RUNNER = """
import contextlib, io, json, sys
said, namespace = [], {"__name__": "__main__"}
for name, source in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, name, "exec"), namespace)
    said.append(out.getvalue())
print(json.dumps(said))
"""

PINNED = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    "PIP_CONSTRAINT": (ROOT / "pins" / "default.txt").as_uri(),
    "PIP_BUILD_CONSTRAINT": (ROOT / "pins" / "default.txt").as_uri(),
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
"""The variables for pip, which alone reaches the package registry."""


def run(*command: str | Path, env: Mapping[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def pip(python: str | Path, *arguments: str | Path, cwd: Path | None = None) -> None:
    done = run(python, "-m", "pip", *arguments, env=PINNED, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    packages = [ROOT, *(ROOT / "plugins" / f"lollms-{name}" for name in ("openai", "ollama", "vllm", "litellm"))]
    pip(sys.executable, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, *packages)
    return folder


def environment(folder: Path, *requirements: str | Path) -> Path:
    """The programs of a new environment in which nothing but these, and what they ask for, was installed."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=PATIENCE)
    pip(folder / "bin" / "python", "install", "--quiet", *requirements)
    return folder / "bin"


@pytest.fixture(scope="session")
def installed(tmp_path_factory, wheels) -> Path:
    """Everything but lollms-transformers."""
    return environment(tmp_path_factory.mktemp("all"), *OF_THE_READER, *wheels.glob("*.whl"))


@pytest.fixture(scope="session")
def a_beginners(tmp_path_factory, wheels) -> Path:
    """The core and two formats, which is what docs/command.md shows."""
    names = ("core", "openai", "ollama")
    return environment(tmp_path_factory.mktemp("few"), *(next(wheels.glob(f"lollms_{name}-*.whl")) for name in names))


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


def paste(python: str | Path, snippets: list[Block], env: Mapping[str, str], cwd: Path) -> str:
    """Block by block in one process, as somebody pastes them; what is printed is what the page shows. Gives stderr."""
    given = json.dumps([(f"{block.page}, line {block.line}", block.content) for block in snippets])
    done = run(python, "-W", "error::ResourceWarning", "-c", RUNNER, given, env=env, cwd=cwd)
    assert done.returncode == 0, done.stderr
    for block, said in zip(snippets, json.loads(done.stdout), strict=True):
        if block.output is not None:
            assert said.rstrip("\n") == block.output.rstrip("\n"), f"{block.page}, line {block.line}"
    return done.stderr


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.model] if page == IN_THIS_PROCESS else [])
        for page in OURS
        if to_run(page, "python")
    ],
)
def test_python(page, world, tmp_path, request):
    here = page == IN_THIS_PROCESS
    program = sys.executable if here else request.getfixturevalue("installed") / "python"
    if "LOLLMS_CACHE_DIR" in os.environ:
        world["LOLLMS_CACHE_DIR"] = os.environ["LOLLMS_CACHE_DIR"]
    stderr = paste(program, to_run(page, "python"), world, tmp_path)
    assert here or stderr == ""


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_first_snippet_needs_no_server_and_no_key(page, installed, tmp_path):
    first = blocks(page)[1 if page == "docs/index.md" else 0]
    assert first.output
    nobody = {"HOME": str(tmp_path), "http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    assert paste(installed / "python", [first], nobody, tmp_path) == ""


@pytest.mark.parametrize("page", [page for page in OURS if to_run(page, "sh", "console")])
def test_commands(page, world, tmp_path, request):
    """One after the other in one empty folder; each ends as it should, and prints what the page shows."""
    programs = request.getfixturevalue("a_beginners" if page == COMMAND else "installed")
    for block in to_run(page, "sh", "console"):
        for command, output in block.commands():
            env = PINNED if command.startswith("pip ") else world
            if asks := command.endswith(".api_key"):
                output = ""  # the question is for terminals
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=tmp_path,
                env={**env, "PATH": f"{programs}:{world['PATH']}"},
                input="sk-1\n" if asks else "",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            fails = "Error: " in (output or "")
            where = f"{page}, line {block.line}: {command}\n{done.stdout}"
            assert (done.returncode != 0) == fails, where
            assert output is None or done.stdout == output, where


def test_the_tutorial_makes_a_format(installed, tmp_path):
    """A backend's first steps: two files, an editable install, the command, and a program."""
    text = (ROOT / TUTORIAL).read_text(encoding="utf-8")
    for name, kind in (("lollms_shout.py", "python"), ("pyproject.toml", "toml")):
        shown = re.search(rf"^`{re.escape(name)}`:\n\n```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert shown
        (tmp_path / name).write_text(shown[1], encoding="utf-8")
    shell = next(block for block in blocks(TUTORIAL) if block.kind == "console")
    program = next(block for block in blocks(TUTORIAL) if block.line > shell.line and block.kind == "python")
    env = {**PINNED, "HOME": str(tmp_path), "PATH": f"{installed}:{PINNED['PATH']}"}
    try:
        for command, output in shell.commands():
            done = run("bash", "-c", command, env=env, cwd=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
            assert not output or done.stdout.strip() == output.strip()
        assert paste(installed / "python", [program], env, tmp_path) == ""
    finally:
        pip(installed / "python", "uninstall", "--quiet", "--yes", "lollms-shout")


def test_what_is_not_run_says_why():
    """`pytest -rP` prints the list."""
    for page in pages():
        for block in blocks(page):
            if block.not_run is not None:
                print(f"{page}, line {block.line}: {block.not_run}")
                assert len(block.not_run) > 10, f"{page}, line {block.line}"


LENIENT = "docs/formats/lollms.md"
"""Its snippet prints whatever comes, as the default is."""


@pytest.mark.parametrize("page", [page for page in OURS if page != LENIENT])
def test_no_snippet_swallows_an_error(page):
    """Each client raises, or its snippet looks at the dictionary."""
    for block in blocks(page):
        if block.kind != "python" or '["status"]' in block.content:
            continue
        tree = compile(block.content, page, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "LollmsClient":
                assert "raise_errors" in [keyword.arg for keyword in node.keywords], f"{page}, line {block.line}"


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if inside := re.fullmatch(rf"{REPOSITORY}/(blob|tree)/main/([^#]+)(?:#.*)?", target):
            path = ROOT / inside[2]
            assert path.is_file() if inside[1] == "blob" else path.is_dir(), target
        elif not target.startswith("https://"):
            assert page.startswith("docs/"), f"{target} leads nowhere on a package index"
            assert target.startswith("#") or (ROOT / page).parent.joinpath(target.partition("#")[0]).is_file(), target


def test_every_public_name_is_in_the_reference():
    shown = set()
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        shown |= set(re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE))
    for path in shown:  # what is no module is looked for in one
        assert pkgutil.resolve_name(path) is not None, path
    for name, home in lollms_core._HOMES.items():
        assert {home, f"{home}.{name}", f"lollms_core.{name}"} & shown, name
    modules = (
        "http",
        "http.HTTPBackend",
        "images",
        "mailbox",
        "protocols.openai",
        "testing",
        "testing.imports",
        "text",
        "tokenizers",
    )
    assert {f"lollms_core.{module}" for module in modules} <= shown
