"""Long work is shown on one line, which backends tell what to say through the logger `lollms.progress`."""

from __future__ import annotations

import pytest

CONVERTING = """
    import logging
    import threading
    from lollms_core import Backend, Chunk, hookimpl

    progress = logging.getLogger("lollms.progress")

    class Converting(Backend):
        @hookimpl
        def generate(self, request):
            assert progress.handlers  # somebody listens: no bar of our own
            progress.info("Converting x.gguf. This happens once; the result is kept in %s", "/a/folder/with/a/name")
            for part in range(11):
                progress.info("reading the weights" if part < 8 else "writing the folder", extra={"part": part / 10})
                threading.Event().wait(0.1)
            progress.info("", extra={"part": 1})
            threading.Event().wait(0.4)
            yield Chunk("done")
"""


@pytest.fixture(autouse=True)
def converting(strangers):
    strangers.install(CONVERTING, converting="Converting")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_has_one_line_that_goes_away(terminal, columns):
    with terminal("generate", "-f", "converting", "-m", "a-model", "hi", columns=columns) as screen:
        screen.expect("Converting x.gguf")
        screen.expect("reading the weights")
        assert sum("weights" in line or "folder " in line or "Waiting" in line for line in screen.lines) == 1
        screen.expect("%")
        screen.expect("writing the folder")
        screen.expect("Waiting for a-model (converting)")  # what was waited for is still to come
        assert screen.end() == 0
    remark = "Note: Converting x.gguf. This happens once; the result is kept in /a/folder/with/a/name"
    assert " ".join(screen.lines) == f"{remark} done"
    assert all(len(line) <= columns for line in screen.lines)


def test_a_pipe_is_told_each_stage_once(shell):
    result = shell("generate", "-f", "converting", "hi")
    assert result.stdout == "done\n"
    assert result.stderr.splitlines() == [
        "Note: Converting x.gguf. This happens once; the result is kept in /a/folder/with/a/name",
        "reading the weights",
        "writing the folder",
    ]
    assert "\r" not in result.stderr


def test_a_dumb_terminal_is_told_the_same(terminal):
    with terminal("generate", "-f", "converting", "hi", TERM="dumb", columns=120) as screen:
        assert screen.end() == 0
    assert screen.lines[1:] == ["reading the weights", "writing the folder", "done"]
    assert "\r" not in screen.shown.replace("\r\n", "")


def test_what_is_said_in_the_meantime_stands_above_it(terminal, strangers):
    strangers.install(
        """
        import threading, warnings
        from lollms_core import Backend, Chunk, hookimpl
        class Warning(Backend):
            @hookimpl
            def generate(self, request):
                for number in range(3):
                    threading.Event().wait(0.4)
                    warnings.warn(f"warning {number}")
                threading.Event().wait(0.4)
                yield Chunk("done")
        """,
        warning="Warning",
    )
    with terminal("generate", "-f", "warning", "hi", columns=60) as screen:
        screen.expect("Waiting for warning")
        assert screen.end() == 0
    assert screen.lines == ["Warning: warning 0", "Warning: warning 1", "Warning: warning 2", "done"]


def test_a_program_without_a_listener_sees_nothing_of_it():
    import logging

    assert logging.getLogger("lollms.progress").handlers == []
