"""What a terminal shows, and what a file or a pipe gets in its place."""

from __future__ import annotations

import json

import pytest

from lollms_core.cli.guard import printable

ESCAPE = "\x1b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("é 漢字 🙂", "é 漢字 🙂"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x9b31m", "\N{REPLACEMENT CHARACTER}31m"),
        ("over\rwritten", "overwritten"),
        ("\x7f\0", "␡␀"),
    ],
)
def test_control_characters_are_made_visible(text, shown):
    assert printable(text) == shown


def test_a_terminal_dims_reasoning_and_shows_no_control_characters(terminal):
    script = json.dumps([f"red{ESCAPE}[31m", " text"])
    arguments = ["generate", "-f", "echo", "-O", 'reasoning=["Let me think."]', "-O", f"script={script}", "x"]
    with terminal(*arguments) as screen:
        assert screen.end() == 0
    assert f"{ESCAPE}[2mLet me think.{ESCAPE}[0m\r\n\r\n" in screen.shown
    assert "red␛[31m text\r\n" in screen.shown
    assert f"{ESCAPE}[31m" not in screen.shown


def test_a_wait_shows_a_spinner_that_goes_away(terminal):
    with terminal("generate", "-f", "echo", "-m", "big", "-O", "delay=1", "hello") as screen:
        screen.expect("Waiting for big (echo)")
        screen.expect("hello")
        assert screen.end() == 0
    assert screen.shown.index(f"{ESCAPE}[?25h") < screen.shown.index("hello")  # the cursor is back before the answer


def test_a_dumb_terminal_gets_plain_text(terminal):
    arguments = ["generate", "-f", "echo", "-O", 'reasoning=["Let me think."]', "-O", "delay=0.4", "hello"]
    with terminal(*arguments, TERM="dumb") as screen:
        assert screen.end() == 0
    assert screen.shown == "hello\r\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "-f", "echo", "-O", 'reasoning=["hm"]', "--show-reasoning", "-O", "delay=0.4", "hi"],
        ["generate", "-f", "echo", "--top-k", "1", "-O", "fail_with=ServerError", "hi"],
        ["models", "-f", "echo"],
        ["formats"],
        ["formats", "--capabilities"],
        ["doctor", "echo", "-f", "echo"],
        ["config", "show"],
        ["personalities", "-f", "echo"],
    ],
    ids=" ".join,
)
def test_nothing_but_text_goes_to_a_pipe(lollms, arguments):
    result = lollms(*arguments)
    assert ESCAPE not in result.stdout + result.stderr
    assert "\r" not in result.stdout + result.stderr
    assert result.stdout


def test_errors_are_coloured_on_a_terminal_only(terminal):
    with terminal("generate", "-f", "ecco", "hi") as screen:
        assert screen.end() == 1
    assert f"{ESCAPE}[31m{ESCAPE}[1mError:{ESCAPE}[0m no generation format 'ecco' is installed" in screen.shown
    with terminal("generate", "-f", "ecco", "hi", NO_COLOR="1") as screen:
        assert screen.end() == 1
    assert ESCAPE not in screen.shown
