"""What a terminal shows, and what a file or a pipe gets in its place."""

from __future__ import annotations

import json
import re

import pytest

from lollms_core._cli.screen import printable

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
    assert f"{ESCAPE}[2mLet me think.{ESCAPE}[0m" in screen.shown
    assert screen.lines == ["Let me think.", "", "red␛[31m text"]
    assert "red␛[31m text\r\n" in screen.shown
    assert f"{ESCAPE}[31m" not in screen.shown


def test_a_wait_shows_a_spinner_that_goes_away(terminal):
    with terminal("generate", "-f", "echo", "-m", "big", "-O", "delay=1", "hello") as screen:
        screen.expect("Waiting for big (echo)")
        screen.expect("hello")
        assert screen.end() == 0
    assert screen.lines == ["hello"]


LOREM = (
    "The quick brown fox jumps over the lazy dog while seventeen astonished philosophers, none of whom had expected "
    "anything of the kind, take careful notes about extraordinarily improbable circumstances."
)
EVERYTHING = [
    ["generate", "-f", "echo", LOREM],
    ["generate", "-f", "echo", "-O", f"reasoning={json.dumps([LOREM])}", LOREM],
    ["generate", "-f", "ecco", "hi"],
    ["generate", "-f", "echo", "-O", "service_key=x", "hi"],
    ["generate", "-f", "echo", "-O", "dealy=1", "hi"],
    ["generate", "-f", "echo", "--top-k", "5", "--seed", "1", "--top-p", "0.5", "--min-p", "0.1", "hi"],
    ["chat", "--nonsense"],
    ["models", "-f", "echo"],
    ["formats", "--capabilities"],
    ["doctor", "-f", "echo"],
    ["doctor", "nosuch", "--host-address", "http://127.0.0.1:9", "-f", "lollms"],
    ["personalities", "-f", "echo"],
]


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("arguments", EVERYTHING, ids=lambda arguments: " ".join(arguments)[:30])
def test_words_are_whole_at_every_width(terminal, lollms, arguments, columns):
    """What stands on the screen, read as words, is what a pipe gets, read as words."""
    short = {"XDG_CONFIG_HOME": "/nowhere"}  # a path that is longer than a line cannot stay whole
    with terminal(*arguments, columns=columns, **short) as screen:
        screen.end()
    piped = lollms(*arguments, env=short)
    shown = " ".join(screen.lines).split()
    expected = f"{piped.stdout} {piped.stderr}".split()
    if "reasoning" not in " ".join(arguments):  # which a pipe does not get
        assert sorted(shown) == sorted(expected)
    else:
        assert shown == [*LOREM.split(), *LOREM.split()]


@pytest.mark.parametrize("arguments", EVERYTHING, ids=lambda arguments: " ".join(arguments)[:30])
def test_no_colours_where_none_are_wanted(terminal, arguments):
    with terminal(*arguments, NO_COLOR="1") as screen:
        screen.end()
    assert re.findall(rf"{ESCAPE}\[[\d;]*m", screen.shown) == []
    with terminal(*arguments, TERM="dumb") as screen:
        screen.end()
    assert ESCAPE not in screen.shown
    assert "\r" not in screen.shown.replace("\r\n", "")


def test_lists_have_hanging_indents(terminal):
    with terminal("formats", "--capabilities", columns=60) as screen:
        assert screen.end() == 0
    place = next(number for number, line in enumerate(screen.lines) if line.startswith("  honours: "))
    assert screen.lines[place + 1].startswith("           ")
    with terminal("doctor", "-f", "lollms", "--host-address", "http://127.0.0.1:9", columns=60) as screen:
        assert screen.end() == 1
    place = next(number for number, line in enumerate(screen.lines) if line.startswith("    → "))
    assert screen.lines[place + 1].startswith("      ")


def test_a_table_fits_into_the_window(terminal, strangers):
    strangers.install(
        """
        from lollms_core import Backend, Chunk, ModelInfo, hookimpl
        class Server(Backend):
            @hookimpl
            def generate(self, request):
                yield Chunk("hi")
            @hookimpl
            def list_models(self, request):
                return [ModelInfo(name="a-very-long-name-" * 6, capabilities=("completion", "chat", "vision"))]
        """,
        server="Server",
    )
    with terminal("models", "-f", "server", columns=60) as screen:
        assert screen.end() == 0
    assert len(screen.lines) > 2
    rows = [line.split("  ")[0] for line in screen.lines[1:]]
    assert "".join(rows) == "a-very-long-name-" * 6


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
