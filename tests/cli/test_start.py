"""Starting: quick, with help everywhere, and the same through every door."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys

import click
import pytest

from lollms_core._cli.app import COMMANDS, cli
from tests.support.waiting import PATIENCE

HEAVY = [
    "aiohttp", "packaging", "platformdirs", "pluggy", "prompt_toolkit", "pydantic", "requests", "rich", "tiktoken",
    "torch", "urllib3",
]  # fmt: skip


def all_commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        found.append((name,))
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


def test_help_imports_nothing_that_commands_need(shell):
    program = (
        "import json, sys\n"
        "from lollms_core._cli.app import cli\n"
        "try: cli(['--help'], prog_name='lollms')\n"
        f"except SystemExit: print(json.dumps([m for m in {HEAVY} if m in sys.modules]\n"
        "    + [m for m in sys.modules if m.startswith(('lollms_core._backends', 'lollms_core._cli.commands.'))]))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=shell.environment)
    assert json.loads(result.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("path", all_commands(), ids=" ".join)
def test_every_help_fits_into_a_narrow_window(shell, path):
    for line in shell(*path, "--help", COLUMNS="60").stdout.splitlines():
        assert len(line) <= 60, line


@pytest.mark.parametrize("path", all_commands(), ids=" ".join)
def test_every_help_has_an_example_and_a_summary(lollms, path):
    result = lollms(*path, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert result.stdout.split("Example")[1].count("lollms") >= 1
    assert result.stdout.split("\n\n")[1].strip()  # the description after the usage


def test_the_root_help_lists_every_command_with_its_summary(lollms):
    text = lollms("--help").stdout
    for name, entry in COMMANDS.items():
        assert f"  {name} " in text
        assert entry.summary in text
        assert importlib.import_module(f"lollms_core._cli.commands.{entry.module}").command is not None


def test_version(lollms):
    import lollms_core

    assert lollms("--version").stdout.startswith(f"lollms-core {lollms_core.__version__} (Python 3")


def test_an_unknown_option_is_wrong_usage(lollms):
    result = lollms("generate", "--tempratur", "1", "hi")
    assert result.exit_code == 2
    assert "--tempratur" in result.stderr


def test_the_entry_point_and_the_module_are_the_same_command(shell):
    program = [sys.executable, "-c", "from lollms_core._cli import main; main()"]
    entry = subprocess.run([*program, "--help"], capture_output=True, text=True, env=shell.environment)
    assert entry.returncode == 0
    assert entry.stdout == shell("--help").stdout


# --- a question without a command ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["What is the capital of France?"], "What is the capital of France?"),
        (["-f", "echo", "Why?"], "Why?"),
        (["hello"], "hello"),
        (["tell", "me", "a", "joke"], "tell me a joke"),
        (["--debug", "hello"], "hello"),
        (["--", "--help"], "--help"),
        (["--format=echo", "-n", "1", "one two"], "one"),
    ],
)
def test_what_is_no_command_is_a_question(lollms, arguments, answer):
    result = lollms(*arguments, env={"LOLLMS_FORMAT": "echo"})
    assert result.stdout == f"{answer}\n"
    assert result.exit_code == 0


def test_a_dash_is_what_comes_through_the_pipe(lollms):
    assert lollms("-f", "echo", "-", input="from a pipe").stdout == "from a pipe\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["genrate", "x"], "There is no command 'genrate'. Did you mean 'generate'?"),
        (["format"], "There is no command 'format'. Did you mean 'formats'?"),
        (["run", "llama3.2"], "There is no command 'run': `lollms chat -m NAME` talks with a model."),
        (["pull", "llama3.2"], "`lollms models --pull NAME` downloads a model."),
        (["list"], "`lollms models` lists the models."),
        (["--verison"], "There is no option --verison. Did you mean --version?"),
        (["-f", "echo", "chat"], "Put options after the command: lollms chat -f …"),
        (["--model"], "Option '--model' requires an argument."),
        (["--tempratur", "1", "hi"], "--temperature"),  # click words it in several ways
    ],
)
def test_a_slip_is_not_sent_to_a_model(lollms, arguments, said):
    result = lollms(*arguments, env={"LOLLMS_FORMAT": "echo"})
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr


@pytest.mark.parametrize("options", [["-s", "code"], ["-m", "embed"], ["--system", "chat"]])
def test_a_value_that_is_also_the_name_of_a_command(lollms, options):
    assert lollms("-f", "echo", *options, "hi").stdout.splitlines()[-1] == "hi"


def test_config_alone_shows_its_help(lollms):
    result = lollms("config")
    assert result.exit_code == 2
    assert "Error" not in result.stderr
    assert result.stderr == lollms("config", "--help").stdout


# --- completion ----------------------------------------------------------------------------------------------------


@pytest.fixture
def complete(shell):
    """What bash would be offered for the last word of a line."""

    def ask(line: str, **env: str) -> list[str]:
        result = shell(_LOLLMS_COMPLETE="bash_complete", COMP_LINE=line, **env)
        assert result.stderr == ""
        return [word.removeprefix("plain,") for word in result.stdout.split()]

    return ask


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lollms per", ["personalities"]),
        ("lollms generate --format ech", ["echo"]),
        ("lollms -f ech", ["echo"]),
        ("lollms doctor ech", ["echo"]),
        ("lollms install oll", ["ollama"]),
        ("lollms generate -f echo -m e", ["echo"]),
        ("lollms chat -f nosuch -m e", []),
        ("lollms config set temp", ["temperature"]),
        ("lollms config set formats.ech", ["formats.echo."]),
        ("lollms config set formats.echo.mo", ["formats.echo.model"]),
        (
            "lollms config set formats.echo.options.fail",
            ["formats.echo.options.fail_with", "formats.echo.options.fail_after"],
        ),
        ("lollms config set format ech", ["echo"]),
        ("lollms config set formats.echo.model e", ["echo"]),
        ("lollms config unset idle", ["idle_timeout"]),
        ("lollms generate --image pho", ["file,pho"]),
        ("lollms generate --api-key-file k", ["file,k"]),
        ("lollms config set api_key_file k", ["file,k"]),
    ],
)
def test_completion_offers_what_there_is(complete, line, offered):
    assert complete(line) == offered


def test_models_are_those_of_the_configured_format(complete, config):
    config('format = "echo"\n')
    assert complete("lollms generate -m e") == ["echo"]


def test_completion_is_silent_about_what_is_wrong(complete, config, strangers):
    strangers.install("import no_such_module_anywhere", broken="Broken")
    assert complete("lollms generate -f broken -m e") == []
    config("format = \n")
    assert complete("lollms generate -m e") == []


COLONS = """
from lollms_core import Backend, Chunk, ModelInfo, hookimpl
class Tagged(Backend):
    @hookimpl
    def generate(self, request):
        yield Chunk("x")
    @hookimpl
    def list_models(self, request):
        return [ModelInfo(name="qwen3:0.6b"), ModelInfo(name="qwen3:4b"), ModelInfo(name="a/b:c:latest")]
"""
IN_BASH = """
compopt() { local IFS=" "; nospace="$*"; }  # the builtin works only while bash completes
eval "$(_LOLLMS_COMPLETE=bash_source lollms)"
COMP_LINE="$1 and what follows" COMP_POINT=${#1}
_lollms_completion lollms
printf '%s\\n' "${COMPREPLY[@]}" "$nospace"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lollms models -f tagged -m qwen3:", ["0.6b", "4b", ""]),
        ("lollms models -f tagged -m qwen3:4", ["4b", ""]),
        ("lollms models -f tagged -m qw", ["qwen3:0.6b", "qwen3:4b", ""]),
        ("lollms models -f tagged -m a/b:c:la", ["latest", ""]),
        ("lollms models --format=tagg", ["tagged", ""]),
        ("lollms models -f tagged --model=qwen3:4", ["4b", ""]),
        ('lollms generate "two words" -f tagg', ["tagged", ""]),
        ("lollms config set formats.tagg", ["formats.tagged.", "-o nospace"]),
    ],
)
def test_bash_completes_what_it_takes_for_several_words(shell, strangers, tmp_path, line, offered):
    strangers.install(COLONS, tagged="Tagged")
    command = tmp_path / "bin" / "lollms"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.join(shell.command)} "$@"\n')
    command.chmod(0o755)
    environment = {**shell.environment, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", IN_BASH, "bash", line],
        env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert (done.stdout.split("\n")[:-1], done.stderr) == (offered, "")
