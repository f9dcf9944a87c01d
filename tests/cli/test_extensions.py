"""Extensions at the terminal: named by an option, a variable or the file, and explained where they cannot work."""

from __future__ import annotations

import json

import pytest

SOURCE = """
from pydantic import BaseModel
from lollms_core import Extension, hookimpl
class Options(BaseModel):
    mark: str = "!"
class Marking(Extension):
    Options = Options
    @hookimpl
    def generate(self, request, proceed):
        return proceed(request).through(lambda c: c._replace(text=c.text and c.text + self.options.mark))
class Folder(BaseModel):
    path: str
    size: int = 1
class Needing(Extension):
    Options = Folder
class Failing(Extension):
    @hookimpl
    def generate(self, request, proceed):
        raise KeyError("mine")
class Unable(Extension):
    @hookimpl
    def generate(self, request, proceed):
        return proceed(request).at_end(lambda end: 1 / 0)
"""


@pytest.fixture
def installed(strangers) -> None:
    names = {"marking": "Marking", "needing": "Needing", "failing": "Failing", "unable": "Unable"}
    strangers.install(SOURCE, group="lollms.extensions", **names)


@pytest.fixture
def echo(lollms, installed):
    return lambda *arguments, **more: lollms(*arguments, "-f", "echo", **more)


def test_by_an_option_a_variable_or_the_file(echo, config):
    assert echo("generate", "a").stdout == "a\n"
    assert echo("generate", "-x", "marking", "a").stdout == "a!\n"
    assert echo("generate", "a", env={"LOLLMS_EXTENSIONS": "marking, marking"}).stdout == "a!!\n"
    config('extensions = ["marking"]\n[extension.marking]\nmark = "?"\n')
    assert echo("generate", "a").stdout == "a?\n"
    assert echo("generate", "-x", "none", "a").stdout == "a\n"
    assert echo("generate", "a", env={"LOLLMS_EXTENSIONS": "none"}).stdout == "a\n"
    shown = json.loads(echo("config", "show", "--json").stdout)
    assert shown["extensions"] == {"value": ["marking"], "source": "file"}
    assert shown["extension.marking.mark"] == {"value": "?", "source": "file, [extension.marking]"}


def test_an_error_says_why_it_is_used(echo, config):
    result = echo("generate", "-x", "markin", "a")
    assert "no extension 'markin' is installed" in result.stderr
    assert "Did you mean 'marking'?" in result.stderr
    config('extensions = ["marking"]\n[extension.marking]\nmrk = "?"\n')
    result = echo("generate", "a")
    assert "the extension 'marking' has no option 'mrk'" in result.stderr
    assert "because of: file" in result.stderr
    assert "[extension.NAME]" in result.stderr
    config('extensions = ["failing"]\n')
    result = echo("generate", "a")
    assert "the extension 'failing' of " in result.stderr
    assert "KeyError: 'mine'" in result.stderr
    assert "--debug shows the traceback" in result.stderr
    assert "__cause__" not in result.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("class Panic(BaseException): pass\nraise Panic('out of bounds')", "cannot be loaded: Panic: out of bounds"),
        ("raise SystemExit('leaving')", "cannot be loaded: SystemExit: leaving"),
        (
            "from lollms_core import Extension\nclass X(Extension):\n    def start(self): raise SystemExit('leaving')",
            "failed: SystemExit: leaving",
        ),
    ],
)
def test_one_that_panics_or_exits_is_an_error_like_any_other(lollms, strangers, source, said):
    module = strangers.install(source, group="lollms.extensions", bad="X")
    result = lollms("generate", "-f", "echo", "-x", "bad", "a")
    assert result.exit_code == 1
    assert f"Error: the extension 'bad' of {module} {said}" in " ".join(result.stderr.split())
    assert "`-x none` uses none." in " ".join(result.stderr.split())


def test_what_cannot_work_is_not_written(lollms, installed):
    for key, value, complaint in [
        ("extensions", "nosuch", "no extension 'nosuch' is installed"),
        ("extensions", "needing", "path is wrong: Field required"),
        ("extension.nosuch.a", "1", "no extension 'nosuch' is installed"),
        ("extension.marking.mrk", "?", "no option 'mrk'"),
        ("extension.marking.mark", "[1]", "mark must be a valid string"),
        ("extension.needing.pth", "x", "no option 'pth'"),
    ]:
        result = lollms("config", "set", key, value)
        assert result.exit_code == 1, key
        assert complaint in result.stderr
    for key, value in [
        ("extension.needing.size", "2"),  # before what is required
        ("extension.needing.path", "/x"),
        ("extension.marking.mark", "?"),
        ("extensions", '["marking", "needing"]'),
    ]:
        assert lollms("config", "set", key, value).exit_code == 0, key
    assert lollms("generate", "-f", "echo", "a").stdout == "a?\n"


def test_the_doctor_blames_the_extension_and_not_the_format(lollms, installed, config):
    config('format = "echo"\nextensions = ["marking", "nosuch"]\n[extension.marking]\nmrk = "?"\n')
    result = lollms("doctor")
    assert result.exit_code == 1
    assert "✓ echo" in result.stdout
    assert "✗ extension marking: the extension 'marking' has no option 'mrk'" in result.stdout
    assert "✗ extension nosuch: no extension 'nosuch' is installed" in result.stdout
    assert "Needs attention: the extension marking, the extension nosuch." in result.stdout


@pytest.mark.parametrize(
    ("content", "complaint", "hint"),
    [
        ("[extensions.cache]\na = 1\n", "unknown table [extensions.cache]", "It is called [extension.cache]."),
        ("[format.echo]\ndelay = 1\n", "unknown table [format.echo]", "It is called [formats.echo]."),
        ("extensions = [1]\n", "extensions must be a list of names", ""),
        ("extension = 1\n", "extension must be a table of tables, such as [extension.cache]", ""),
    ],
)
def test_what_the_file_has_wrong(lollms, config, content, complaint, hint):
    config(content)
    result = lollms("generate", "-f", "echo", "a")
    assert complaint in result.stderr
    assert hint in result.stderr


def test_an_option_of_a_format_is_found_where_it_belongs(lollms):
    result = lollms("config", "set", "formats.echo.delay", "0.1")
    assert "Did you mean 'formats.echo.options.delay'?" in result.stderr


def test_a_warning_does_not_break_the_answers_line(terminal, strangers, installed):
    with terminal("generate", "-f", "echo", "-x", "unable", "hi there") as screen:
        assert screen.end() == 0
        assert screen.lines[0] == "hi there"
        assert screen.lines[1].startswith("Warning: the extension 'unable' of ")
        assert "ZeroDivisionError" in " ".join(screen.lines)


@pytest.mark.parametrize(("option", "seen"), [("--no-think", False), ("--think", True), ("--think-level=high", "high")])
def test_every_way_to_ask_can_ask_for_thought(lollms, recorder, option, seen):
    result = lollms("chat", "-f", recorder, option, input="hi\n")
    assert json.loads(result.stdout)["think"] == seen
    result = lollms("generate", "-f", recorder, option, "hi")
    assert json.loads(result.stdout)["think"] == seen
    result = lollms("generate", "-f", recorder, "hi", env={"LOLLMS_THINK": str(seen).lower()})
    assert json.loads(result.stdout)["think"] == seen
