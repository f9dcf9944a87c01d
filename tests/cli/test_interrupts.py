"""Ctrl-C in every state of a command that works: it is answered at once, and it always ends."""

from __future__ import annotations

import json
import signal

import pytest

from tests.cli.test_generate import read_until
from tests.support.waiting import PATIENCE, wait_until

CTRL_C = "\x03"
STATES = {
    "importing": """
        import threading
        print("working", flush=True)
        threading.Event().wait()
    """,
    "answering": """
        import threading
        from lollms_core import Backend, hookimpl
        class Slow(Backend):
            @hookimpl
            def generate(self, request):
                print("working", flush=True)
                threading.Event().wait()
                yield
    """,
    "closing": """
        import threading
        from lollms_core import Backend, Chunk, hookimpl
        class Slow(Backend):
            @hookimpl
            def generate(self, request):
                yield Chunk("working ")
                threading.Event().wait()
            @hookimpl
            def close(self, request):
                threading.Event().wait()
    """,
    "a thread that nothing ends": """
        import threading
        from lollms_core import Backend, Chunk, hookimpl
        class Slow(Backend):
            @hookimpl
            def generate(self, request):
                threading.Thread(target=threading.Event().wait).start()
                yield Chunk("working ")
                threading.Event().wait()
    """,
}


@pytest.fixture(params=STATES.values(), ids=list(STATES))
def slow(request, strangers):
    strangers.install(request.param, slow="Slow")
    return "slow"


def test_ctrl_c_is_answered_and_ends_the_command(terminal, slow):
    with terminal("generate", "-f", slow, "hi") as screen:
        screen.expect("working")
        screen.interrupt("Stopping…")
        assert screen.end() == 130, screen.shown
    assert "Traceback" not in screen.shown


def test_a_pipe_gets_the_same_words(shell, slow):
    process = shell.start("generate", "-f", slow, "hi")
    with process:
        read_until(process, "working")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "\nStopping…\n"


def test_pressed_twice_it_does_not_wait_for_a_clean_end(terminal, strangers):
    strangers.install(STATES["closing"], slow="Slow")
    with terminal("generate", "-f", "slow", "hi") as screen:
        screen.expect("working")
        screen.type(CTRL_C)
        screen.expect("Stopping…")
        screen.type(CTRL_C)
        assert screen.end() == 130, screen.shown


def test_the_spinner_is_gone_before_it_is_answered(terminal):
    with terminal("generate", "-f", "echo", "-m", "a-name-" * 20, "-O", "delay=100", "hi", columns=60) as screen:
        screen.expect("Waiting for a-name")
        screen.type(CTRL_C)
        screen.expect("Stopping…")
        assert screen.end() == 130, screen.shown
    assert [line for line in screen.lines if line] == ["Stopping…"]


def test_what_was_printed_of_an_answer_stays(terminal):
    script = json.dumps(["first ", "second ", "third "] * 1000)
    with terminal("generate", "-f", "echo", "-O", f"script={script}", "-O", "delay=0.1", "hi") as screen:
        screen.expect("first second")
        screen.type(CTRL_C)
        screen.expect("Stopping…")
        assert screen.end() == 130, screen.shown
    assert screen.lines[0].startswith("first second")


@pytest.mark.parametrize("arguments", [["generate", "--json"], ["code", "--json"], ["code"]])
def test_what_had_come_of_an_answer_that_was_to_be_shown_whole_is_shown(shell, strangers, tmp_path, arguments):
    here = tmp_path / "here"
    strangers.install(
        f"""
        import pathlib, threading
        from lollms_core import Backend, Chunk, hookimpl
        class Slow(Backend):
            @hookimpl
            def generate(self, request):
                yield Chunk("so far ")
                pathlib.Path({str(here)!r}).touch()
                threading.Event().wait()
        """,
        slow="Slow",
    )
    with shell.start(*arguments, "-f", "slow", "hi") as asking:
        wait_until(here.exists, "the end of what comes")
        asking.send_signal(signal.SIGINT)
        out, err = asking.communicate(timeout=PATIENCE)
    assert asking.returncode == 130
    if "--json" in arguments:
        assert json.loads(out)["partial_text"] == "so far "
    else:
        assert (out, "so far" in err) == ("", True)


def test_a_question_to_the_person_is_simply_left(terminal):
    with terminal("config", "set", "api_key") as screen:
        screen.expect("api_key: ")
        screen.type(CTRL_C)
        assert screen.end() == 130, screen.shown
    assert "Traceback" not in screen.shown


def test_ctrl_c_in_a_background_job_is_not_for_it(shell):
    """A shell gives such jobs a SIGINT that is ignored."""
    import subprocess

    process = subprocess.Popen(
        [*shell.command, "generate", "-f", "echo", "-O", "delay=0.5", "hi"],
        env=shell.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    with process:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "hi\n")


def test_a_chat_ends_although_something_still_runs(terminal, strangers):
    strangers.install(STATES["closing"], slow="Slow")
    with terminal("chat", "-f", "slow", TERM="dumb") as screen:
        screen.expect("> ")
        screen.type("hi\n")
        screen.expect("working")
        screen.interrupt("(stopped)")
        screen.expect("> ")
        screen.type("/exit\n")
        assert screen.end() == 0
