"""The example package, as a stranger would write it: installed, and its own tests pass."""

from __future__ import annotations

import re
from pathlib import Path

from tests.parity.packages import install_project, run_pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "lollms-shout"


def test_the_example_package_passes_the_kit(tmp_path):
    site = tmp_path / "site"
    install_project(site, EXAMPLE)
    folder = tmp_path / "run"
    folder.mkdir()
    done = run_pytest(folder, [EXAMPLE, site], str(EXAMPLE / "tests"))
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 80
    assert "failed" not in done.stdout.splitlines()[-1]
    assert "xfailed" not in done.stdout.splitlines()[-1]
