"""Packages of strangers, installed into a folder the way `pip install -e` does it, and pytest run over their tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import PATIENCE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def install(site: Path, name: str, version: str, entry_points: dict[str, dict[str, str]]) -> None:
    """Write the metadata of a distribution whose modules are on the path by other ways."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{point} = {target}" for point, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def install_project(site: Path, project: Path) -> None:
    """Install a project by its `pyproject.toml`."""
    described = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    install(site, described["name"], described["version"], described.get("entry-points", {}))


def run_pytest(folder: Path, path: list[Path], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, in a process and with settings of its own, with warnings as errors."""
    (folder / "pytest.ini").touch()
    return subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error", "-rA",
            "--tb=short", "--rootdir", str(folder), "-c", str(folder / "pytest.ini"), *arguments,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )  # fmt: skip
