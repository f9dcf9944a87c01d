"""The kit for extensions passes those that are right, and fails those that are wrong, each in its place."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lollms_core import Chunk, End, Extension, hookimpl
from lollms_core.testing import ExtensionConformance
from tests.parity.broken import extensions  # noqa: F401  # they fill the table
from tests.parity.broken.table import EXTENSIONS
from tests.parity.packages import run_pytest

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent
CASES = [(name, caught) for name, case in EXTENSIONS.items() for caught in case.caught]


class Watching(Extension):
    def start(self) -> None:
        self.ends: list[End] = []

    @hookimpl
    def generate(self, request: Any, proceed: Any) -> Any:
        return proceed(request).at_end(self.ends.append)

    @hookimpl
    def embed(self, request: Any, proceed: Any) -> Any:
        return proceed(request).then(list)


class WatchingValues(Extension):
    """Goes around every hook that gives a value, as a coroutine."""

    def start(self) -> None:
        self.seen: list[Any] = []

    @hookimpl
    async def embed(self, request: Any, proceed: Any) -> Any:
        value = await proceed(request)
        if value is not None:
            self.seen.append(value)
        return value

    tokenize = detokenize = count_tokens = list_models = model_info = list_personalities = embed


class Shouting(Extension):
    @hookimpl
    async def generate(self, request: Any, proceed: Any) -> AsyncIterator[Chunk]:
        async for chunk in proceed(request):
            yield chunk._replace(text=chunk.text.upper() + "!") if chunk.text else chunk


class Remembering(Extension):
    def start(self) -> None:
        self.kept: dict[str, list[Chunk]] = {}

    @hookimpl
    def generate(self, request: Any, proceed: Any) -> Any:
        key = request.fingerprint()
        if key in self.kept:
            return self.kept[key]
        chunks: list[Chunk] = []

        def see(chunk: Chunk) -> Chunk:
            chunks.append(chunk)
            return chunk

        def keep(end: End) -> None:
            if end.status == "completed":
                self.kept[key] = chunks

        return proceed(request).through(see).at_end(keep)


class TestWatching(ExtensionConformance):
    @pytest.fixture
    def extension(self) -> Extension:
        return Watching()


class TestWatchingValues(ExtensionConformance):
    @pytest.fixture
    def extension(self) -> Extension:
        return WatchingValues()


class TestShouting(ExtensionConformance):
    transparent = False

    @pytest.fixture
    def extension(self) -> Extension:
        return Shouting()


class TestDoesNothing(ExtensionConformance):
    @pytest.fixture
    def extension(self) -> type[Extension]:
        return Extension


class TestRemembering(ExtensionConformance):
    @pytest.fixture
    def extension(self) -> Extension:
        return Remembering()


# --- wrong ones -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[tuple[str, str], str]:
    """The message with which each case failed; empty if it did not."""
    folder = tmp_path_factory.mktemp("run")
    nodes = [f"{HERE / 'broken' / 'extension_conformance.py'}::Test_{name}::{caught}" for name, caught in CASES]
    done = run_pytest(folder, [HERE.parents[1]], f"--junitxml={folder / 'report.xml'}", *nodes)
    assert done.returncode == 1, done.stdout[-5000:] + done.stderr[-5000:]
    seen = {}
    for told in ET.parse(folder / "report.xml").getroot().iter("testcase"):
        faults = [child for child in told if child.tag in ("failure", "error")]
        where = told.attrib["classname"].rpartition("Test_")[2], told.attrib["name"]
        seen[where] = "".join(fault.attrib["message"] + (fault.text or "") for fault in faults)
    return seen


@pytest.mark.parametrize(("name", "caught"), CASES, ids=[f"{name}-{caught}" for name, caught in CASES])
def test_fault_is_caught_and_explained(results, name, caught):
    message = results[name, caught]
    assert message, f"{caught} does not see what is wrong with {name}"
    assert "Why it matters: " in message, message
    assert re.search(EXTENSIONS[name].attributes.get("says", ""), message), message


def test_every_behaviour_is_seen_to_fail():
    behaviours = {name for name in dir(ExtensionConformance) if name.startswith("test_")}
    assert behaviours == {caught.partition("[")[0] for _, caught in CASES}


# --- the gate ---------------------------------------------------------------------------------------------------------

GATED = """
import sys
sys.path.insert(0, {root!r})
import pytest
from lollms_core.testing import ExtensionConformance
from tests.parity.broken.extensions import {name}

class TestWrong(ExtensionConformance):
    patience = {patience}

    @pytest.fixture
    def extension(self):
        return {name}()
"""


@pytest.mark.parametrize(
    ("name", "patience", "failed", "told"),
    [
        ("AnswersOnce", 60.0, 2, "test_a_question_is_answered failed, without which this says nothing"),
        ("TakesALockForGood", 1.0, 1, "test_a_question_is_answered hung, as this may"),
    ],
)
def test_the_basics_run_first_and_stop_the_rest(name, patience, failed, told, pytester):
    pytester.makepyfile(GATED.format(root=str(HERE.parents[1]), name=name, patience=patience))
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-rs")
    counts = result.parseoutcomes()
    assert counts["failed"] == failed
    assert counts["failed"] + counts.get("passed", 0) <= 3
    assert counts["skipped"] > 90
    assert f"{told}: mend that first" in result.stdout.str()


def test_whatever_hangs_stops_the_rest(pytester):
    """It hangs in one hook alone, with which most behaviours have to do."""
    pytester.makepyfile(GATED.format(root=str(HERE.parents[1]), name="AwaitsForever", patience=1.0))
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-rs", "-k", "values or question")
    counts = result.parseoutcomes()
    assert (counts["failed"], counts["passed"]) == (1, 2)
    assert "test_values hung, as this may: mend that first" in result.stdout.str()


def test_says_what_it_needs(pytester):
    pytester.makepyfile(
        "from lollms_core.testing import ExtensionConformance\nclass TestMine(ExtensionConformance): pass\n"
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-k", "test_values")
    assert "needs one fixture, which gives the extension" in result.stdout.str()
