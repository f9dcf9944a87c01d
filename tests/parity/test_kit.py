"""The kit's own manners: what it tells an author, how it skips, and what it is built from."""

from __future__ import annotations

import ast
import inspect
import logging
import os
import sysconfig
import threading
from pathlib import Path

import pytest

import lollms_core
from lollms_core import testing
from lollms_core.testing import BackendConformance, require, within
from lollms_core.testing._leftovers import Snapshot, logged_failures
from lollms_core.testing._requirements import Hung
from lollms_core.testing._whereabouts import files_of, is_a_strangers
from tests.parity.packages import run_pytest
from tests.support.waiting import PATIENCE

pytest_plugins = ["pytester"]

PUBLIC_MODULES = {"lollms_core", "lollms_core.testing", "lollms_core.http", "lollms_core.http._backend"}


def test_a_requirement_explains_itself():
    with pytest.raises(AssertionError, match=r"the sky is green\nWhy it matters: pilots get lost\."):
        require(False, "the sky is green", "pilots get lost.")
    require(True, "", "")


def test_work_within_a_limit_gives_its_result_or_its_exception():
    assert within(PATIENCE, lambda: 6 * 7) == 42
    error = KeyError("x")

    def fail() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        within(PATIENCE, fail)
    assert caught.value is error
    with pytest.raises(pytest.skip.Exception):
        within(PATIENCE, lambda: pytest.skip("because"))


def test_what_hangs_is_shown_where_it_hangs(monkeypatch):
    inside, release = threading.Event(), threading.Event()
    join = threading.Thread.join

    def join_once_inside(thread, timeout=None):
        assert inside.wait(PATIENCE)
        join(thread, timeout)

    # Else the limit could be over before the thread has come to where it hangs.
    monkeypatch.setattr(threading.Thread, "join", join_once_inside)

    def a_telling_name() -> None:
        inside.set()
        release.wait()

    with pytest.raises(Hung, match="a_telling_name"):
        within(0.1, a_telling_name)
    release.set()


def test_a_snapshot_sees_threads_that_stay():
    before = Snapshot.take()
    assert before.threads_since(0) == []
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="stays")
    thread.start()
    assert before.threads_since(0) == ["stays"]
    release.set()
    assert before.threads_since(PATIENCE) == []
    thread.join()


def test_a_snapshot_sees_connections_that_stay():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = Snapshot.take()
        address = listener.getsockname()
        with socket.create_connection(address):
            left = before.connections_since(0)
            assert left is not None
            assert f"{address[0]}:{address[1]}" in left[0]
        assert before.connections_since(PATIENCE) == []


def test_a_deviation_must_be_a_behaviour_and_have_a_reason():
    with pytest.raises(TypeError, match=r"test_seed_repeat_the_answer.*test_seed_repeats_the_answer"):
        type("Mine", (BackendConformance,), {"deviations": {"test_seed_repeat_the_answer": "none"}})
    with pytest.raises(TypeError, match="no reason"):
        type("Mine", (BackendConformance,), {"deviations": {"test_seed_repeats_the_answer": " "}})


AUTHORS = """
import pytest
from lollms_core.testing import BackendConformance

class TestForgotten(BackendConformance):
    pass

class Echo(BackendConformance):
    @pytest.fixture
    def client_options(self):
        return {"default_generation_mode": "echo"}

class TestDeviates(Echo):
    deviations = {"test_answer_is_text": "it is said to fail", "test_option_honesty[seed]": "it is said to fail"}

class TestReallyDeviates(Echo):
    deviations = {"test_answer_is_text": "the prompt is only white space"}
    prompt = " "
"""


def test_what_an_author_is_told(tmp_path):
    (tmp_path / "test_mine.py").write_text(AUTHORS)
    wanted = [
        "test_mine.py::TestForgotten::test_answer_is_text",
        "test_mine.py::TestDeviates::test_answer_is_text",
        "test_mine.py::TestDeviates::test_option_honesty[seed]",
        "test_mine.py::TestReallyDeviates::test_answer_is_text",
    ]
    done = run_pytest(tmp_path, [tmp_path], *wanted)
    assert "the conformance kit needs one fixture" in done.stdout
    assert "[XPASS(strict)] it is said to fail" in done.stdout
    summary = done.stdout.splitlines()[-1]
    assert "2 failed" in summary
    assert "1 xfailed" in summary
    assert "1 error" in summary
    assert "XFAIL test_mine.py::TestReallyDeviates::test_answer_is_text - the prompt is only white space" in done.stdout


def test_the_kit_uses_public_names_only():
    folder = Path(inspect.getfile(testing)).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lollms_core"):
                module = node.module or ""
                assert module in PUBLIC_MODULES or module.startswith("lollms_core.testing."), (path.name, module)
                if module == "lollms_core":
                    assert {alias.name for alias in node.names} <= set(lollms_core.__all__)
            if isinstance(node, ast.Import):
                assert not [a.name for a in node.names if a.name.startswith("lollms_core")], path.name
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute | ast.Name):
                owner = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
                assert not (owner in ("client", "backend") and node.attr.startswith("_")), (path.name, node.attr)


GATED = """
import pytest
from lollms_core import Backend, Chunk, hookimpl
from lollms_core.testing import BackendConformance

class Silent(Backend):
    contract_version = 1

    @hookimpl
    def generate(self, request):
        yield Chunk("")

class TestSilent(BackendConformance):
    @pytest.fixture
    def client_options(self):
        return {"default_generation_mode": Silent}
"""


def test_the_basics_run_first_and_stop_the_rest(pytester):
    """An empty answer would keep a dozen behaviours waiting for pieces that never come."""
    pytester.makepyfile(GATED)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-rs")
    counts = result.parseoutcomes()
    assert counts["failed"] + counts.get("passed", 0) == 5
    assert counts["skipped"] > 70
    assert "test_answer_is_text failed, without which this says nothing" in result.stdout.str()


HUNG = """
import pytest, threading
from lollms_core import Backend, hookimpl
from lollms_core.testing import BackendConformance

class Hangs(Backend):
    contract_version = 1

    @hookimpl
    def generate(self, request):
        threading.Event().wait()

class TestHangs(BackendConformance):
    patience = 0.5

    @pytest.fixture
    def client_options(self):
        return {"default_generation_mode": Hangs}
"""


def test_a_basic_behaviour_that_hangs_stops_the_other_basics(pytester):
    pytester.makepyfile(HUNG)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-rs")
    assert result.parseoutcomes()["failed"] == 1
    assert "passed" not in result.parseoutcomes()
    assert "test_answer_is_text hung, as this may: mend that first" in result.stdout.str()


def test_what_hangs_is_pointed_at():
    def backends_own() -> None:
        threading.Event().wait(1.0)

    with pytest.raises(Hung, match=r"in backends_own \(.*test_kit\.py, line \d+\)"):
        within(0.05, backends_own)


def test_a_strangers_code_is_what_is_neither_ours_nor_pythons():
    python = sysconfig.get_path("stdlib")
    assert is_a_strangers(__file__)
    assert is_a_strangers(os.path.join(python, "site-packages", "shout.py"))
    assert not is_a_strangers(os.path.join(python, "queue.py"))
    assert not is_a_strangers(inspect.getfile(lollms_core))
    assert not is_a_strangers("<string>")


def test_the_files_of_an_author_are_those_of_the_methods():
    class Mine(lollms_core.Backend):
        def helper(self) -> None: ...

    assert files_of(Mine) == files_of(object.__new__(Mine)) == {__file__}
    assert files_of(lollms_core.Backend, object()) == frozenset()


def test_the_log_is_listened_to_whatever_its_level():
    log = logging.getLogger("lollms")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with logged_failures() as failures:
            log.warning("closing %s failed", "it")
            try:
                raise OSError("full")
            except OSError:
                log.warning("closing it failed", exc_info=True)
            logging.getLogger("lollms.mine").warning("of somebody else")
        assert failures == ["closing it failed", "closing it failed: OSError('full')"]
        assert log.level == logging.CRITICAL
    finally:
        log.setLevel(level)
