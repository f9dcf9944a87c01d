"""Starting: quick, with help everywhere, and the same through every door."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import click
import pytest

from lollms_core.cli.app import COMMANDS, cli

HEAVY = ["requests", "urllib3", "aiohttp", "tiktoken", "pydantic", "rich", "pluggy", "platformdirs", "torch"]


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
        "from lollms_core.cli.app import cli\n"
        "try: cli(['--help'], prog_name='lollms')\n"
        f"except SystemExit: print(json.dumps([m for m in {HEAVY} if m in sys.modules]\n"
        "    + [m for m in sys.modules if m.startswith(('lollms_core.backends', 'lollms_core.cli.commands.'))]))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=shell.environment)
    assert json.loads(result.stdout.splitlines()[-1]) == []


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
        assert importlib.import_module(f"lollms_core.cli.commands.{entry.module}").command is not None


def test_version(lollms):
    import lollms_core

    assert lollms("--version").stdout.startswith(f"lollms-core {lollms_core.__version__} (Python 3")


def test_a_misspelt_command_is_wrong_usage_with_a_suggestion(lollms):
    result = lollms("genrate", "x")
    assert result.exit_code == 2
    assert "Did you mean 'generate'?" in result.stderr
    assert result.stdout == ""


def test_an_unknown_option_is_wrong_usage(lollms):
    result = lollms("generate", "--tempratur", "1", "hi")
    assert result.exit_code == 2
    assert "--tempratur" in result.stderr


def test_the_entry_point_and_the_module_are_the_same_command(shell):
    program = [sys.executable, "-c", "from lollms_core.cli import main; main()"]
    entry = subprocess.run([*program, "--help"], capture_output=True, text=True, env=shell.environment)
    assert entry.returncode == 0
    assert entry.stdout == shell("--help").stdout


def test_completion_offers_formats_and_commands(shell):
    words = shell(_LOLLMS_COMPLETE="bash_complete", COMP_WORDS="lollms generate --format ech", COMP_CWORD="3")
    assert words.stdout.split() == ["plain,echo"]
    commands = shell(_LOLLMS_COMPLETE="bash_complete", COMP_WORDS="lollms per", COMP_CWORD="1")
    assert commands.stdout.split() == ["plain,personalities"]
