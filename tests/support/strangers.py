"""Somebody else's package, installed for the length of a test: a module and the metadata that names its format."""

from __future__ import annotations

import itertools
import sys
import textwrap
from pathlib import Path

import pytest

from lollms_core._client import registry

_numbers = itertools.count()


class Strangers:
    """Installs packages into a folder that is on `sys.path` while the test runs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        monkeypatch.syspath_prepend(str(folder))

    def install(self, source: str, *, group: str = registry.BACKENDS_GROUP, **entry_points: str) -> str:
        """Install a module with this source; `name="Class"` registers that class of it. Returns the module's name."""
        module = f"stranger_{next(_numbers)}"
        (self._folder / f"{module}.py").write_text(textwrap.dedent(source))
        info = self._folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = [f"[{group}]", *(f"{name} = {module}:{target}" for name, target in entry_points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        sys.path_importer_cache.pop(str(self._folder), None)
        registry.refresh_installed()
        return module


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "site"
    folder.mkdir()
    yield Strangers(folder, monkeypatch)
    monkeypatch.undo()
    registry.refresh_installed()
