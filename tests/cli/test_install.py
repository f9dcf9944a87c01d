"""`lollms install`: what would be installed is shown, asked, and then done by pip. Here pip is a recorder."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

import pytest

PIP = """
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
(here / "calls.json").write_text(json.dumps(sys.argv[1:]))
package = sys.argv[-1].partition("[")[0]
if package == "lollms-refused":
    print("ERROR: No matching distribution found", file=sys.stderr)
    sys.exit(1)
if package != "lollms-empty":
    name = package.removeprefix("lollms-")
    info = here / f"lollms_{name}-9.9.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {package}\\nVersion: 9.9\\n")
    (info / "entry_points.txt").write_text(f"[lollms.backends]\\n{name} = lollms_{name}:Backend\\n")
"""


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """A pip that writes down how it was called and installs metadata; gives the calls."""
    site = tmp_path / "site"
    site.mkdir(exist_ok=True)
    (site / "pip.py").write_text(PIP)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    calls = site / "calls.json"
    yield lambda: json.loads(calls.read_text()) if calls.exists() else None
    from lollms_core._client import registry

    monkeypatch.undo()
    registry.refresh_installed()


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch):
    """As if none of the official packages were there, whatever the environment of the tests has."""
    import importlib.metadata

    from lollms_core._client import registry

    found: Any = importlib.metadata.entry_points

    def without_official(**select):
        return [point for point in found(**select) if point.dist is None or point.dist.version == "9.9"]

    monkeypatch.setattr(importlib.metadata, "entry_points", without_official)
    registry.refresh_installed()
    yield
    registry.refresh_installed()


def test_an_official_package_after_confirmation(lollms, pip):
    result = lollms("install", "ollama", input="y\n")
    assert result.exit_code == 0, result.stderr
    assert pip() == ["install", "lollms-ollama"]
    assert f"{sys.executable} -m pip install lollms-ollama" in result.stderr
    assert "Install lollms-ollama? [y/N]" in result.stderr
    assert "not an official package" not in result.stderr
    assert "lollms-ollama 9.9 is installed; `lollms doctor ollama` checks it" in result.stderr


@pytest.mark.parametrize(
    ("answer", "said"), [("n\n", "Nothing was installed"), ("\n", "Nothing was installed"), ("", "--yes")]
)
def test_without_a_yes_nothing_happens(lollms, pip, answer, said):
    result = lollms("install", "ollama", input=answer)
    assert result.exit_code == 1
    assert said in result.stderr
    assert pip() is None


def test_yes_does_not_ask(lollms, pip):
    assert lollms("install", "openai", "--yes").exit_code == 0
    assert pip() == ["install", "lollms-openai"]


def test_a_strangers_package_is_called_that(lollms, pip):
    result = lollms("install", "shout", input="y\n")
    assert result.exit_code == 0
    assert "lollms-shout is not an official package" in result.stderr
    assert pip() == ["install", "lollms-shout"]


def test_a_near_miss_is_pointed_out(lollms, pip):
    assert "Did you mean ollama?" in lollms("install", "olama", input="n\n").stderr


@pytest.mark.parametrize("name", ["--index-url=http://x", "../x", "git+https://x/y", "a b", "x;y", "", "[extra]"])
def test_what_is_no_name_never_reaches_pip(lollms, pip, name):
    result = lollms("install", "--yes", "--", name)
    assert result.exit_code == 2
    assert pip() is None


def test_vllm_explains_its_engine(lollms, pip):
    assert "lollms install 'vllm[engine]'" in lollms("install", "vllm", "--yes").stderr
    result = lollms("install", "vllm[engine]", "--yes")
    assert result.exit_code == 0
    assert pip() == ["install", "lollms-vllm[engine]"]


def test_what_is_there_is_left_alone_unless_upgraded(lollms, pip):
    assert lollms("install", "ollama", "--yes").exit_code == 0
    result = lollms("install", "lollms-ollama", "--yes")
    assert result.exit_code == 0
    assert "ollama is there already, from lollms-ollama 9.9" in result.stderr
    assert lollms("install", "ollama", "--yes", "--upgrade").exit_code == 0
    assert pip() == ["install", "--upgrade", "lollms-ollama"]


def test_what_is_part_of_the_core(lollms, pip):
    result = lollms("install", "echo", "--yes", "--upgrade")
    assert result.exit_code == 0
    assert "echo is part of lollms-core" in result.stderr
    assert pip() is None


def test_pip_fails(lollms, pip):
    result = lollms("install", "refused", "--yes")
    assert result.exit_code == 1
    assert "Error: pip failed with status 1" in result.stderr


def test_a_package_that_brings_no_format(lollms, pip):
    result = lollms("install", "empty", "--yes")
    assert result.exit_code == 1
    assert "it provides no format 'empty'" in result.stderr


def test_no_pip(lollms, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "pip" else find_spec(name, *a))
    result = lollms("install", "ollama", "--yes")
    assert result.exit_code == 1
    assert "pip is not installed for" in result.stderr
    assert "uv pip install lollms-ollama" in result.stderr
