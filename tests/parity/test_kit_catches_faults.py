"""Every behaviour of the kit can fail: broken backends and a broken client are caught at what is wrong with them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from lollms_core.testing import BackendConformance
from tests.parity.broken import clients, formats  # noqa: F401  # they fill the table
from tests.parity.broken.table import BACKENDS, CLIENTS
from tests.parity.packages import install, run_pytest

HERE = Path(__file__).parent
CASES = [(name, caught) for table in (BACKENDS, CLIENTS) for name, case in table.items() for caught in case.caught]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[tuple[str, str], str | None]:
    """The message with which each case failed; `None` if it did not."""
    site = tmp_path_factory.mktemp("site")
    points = {}
    for name, case in BACKENDS.items():
        module = "tests.parity.broken.formats"
        line = getattr(case.subject, "import_line", None)
        if line is not None:
            module = name.lower()
            (site / f"{module}.py").write_text(f"{line}\nfrom tests.parity.broken.formats import {name}\n")
        points[name.lower()] = f"{module}:{name}"
    install(site, "broken", "1.0", {"lollms.backends": points})
    folder = tmp_path_factory.mktemp("run")
    nodes = [f"{HERE / 'broken' / 'conformance.py'}::Test_{name}::{caught}" for name, caught in CASES]
    done = run_pytest(folder, [site, HERE.parents[1]], f"--junitxml={folder / 'report.xml'}", *nodes)
    assert done.returncode == 1, done.stdout[-5000:] + done.stderr[-5000:]
    seen: dict[tuple[str, str], str | None] = {}
    for told in ET.parse(folder / "report.xml").getroot().iter("testcase"):
        faults = [child for child in told if child.tag in ("failure", "error")]
        where = told.attrib["classname"].rpartition("Test_")[2], told.attrib["name"]
        seen[where] = (faults[0].attrib["message"] + (faults[0].text or "")) if faults else None
    return seen


@pytest.mark.parametrize(("name", "caught"), CASES, ids=[f"{name}-{caught}" for name, caught in CASES])
def test_fault_is_caught_and_explained(results, name, caught):
    message = results[name, caught]
    assert message is not None, f"{caught} does not see what is wrong with {name}"
    assert "Why it matters: " in message, message


def test_every_behaviour_is_seen_to_fail():
    behaviours = {name for name in dir(BackendConformance) if name.startswith("test_")}
    seen = {caught.partition("[")[0] for _, caught in CASES}
    assert behaviours == seen
