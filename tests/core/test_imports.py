"""What begins with an underscore is private, and who imports it is told where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lollms_core.testing import private_imports

SOURCE = """
import lollms_core, lollms_core._log
from lollms_core import LollmsClient, __version__
from lollms_core.http import HTTPBackend, _driver
from lollms_core.contract._parameters import PARAMETERS
from . import _mine

def later():
    from lollms_core._client import registry
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "lollms_stranger"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('nothing of it is run')")
    (package / "inner" / "backend.py").write_text(SOURCE)
    (tmp_path / "lollms_alone.py").write_text("from lollms_core import LollmsClient")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("stranger")
def test_each_private_import_is_told() -> None:
    where = str(Path("lollms_stranger", "inner", "backend.py"))
    assert private_imports("lollms_stranger") == [
        f"{where}:2: lollms_core._log is private",
        f"{where}:4: lollms_core.http._driver is private",
        f"{where}:5: lollms_core.contract._parameters.PARAMETERS is private",
        f"{where}:9: lollms_core._client.registry is private",
    ]
    assert private_imports("lollms_alone") == []


@pytest.mark.parametrize(
    ("package", "complaint"),
    [
        ("lollms_nowhere", "there is no package 'lollms_nowhere' here"),
        (".", "give the name that is imported"),
        ("lollms_stranger.inner", "give the name that is imported"),
        ("lollms_stranger/inner/backend.py", "give the name that is imported"),
        ("sys", "is not written in Python"),
    ],
)
@pytest.mark.usefixtures("stranger")
def test_what_is_no_package(package: str, complaint: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=complaint):
        private_imports(package)


def test_a_file_that_is_no_python(stranger: Path) -> None:
    (stranger / "lollms_stranger" / "broken.py").write_text("def")
    with pytest.raises(SyntaxError):
        private_imports("lollms_stranger")


@pytest.mark.parametrize(
    ("package", "status"), [("lollms_stranger", 1), ("lollms_alone", 0), ("lollms_nowhere", 2), ("--help", 0), (".", 2)]
)
def test_the_command(stranger: Path, package: str, status: int) -> None:
    command = [sys.executable, "-m", "lollms_core.testing.imports", package]
    done = subprocess.run(command, cwd=stranger, capture_output=True, text=True, check=False)
    assert (done.returncode, "is private" in done.stdout) == (status, status == 1)
