"""The root of the command: which commands there are, and the import of the one that is called."""

from __future__ import annotations

import importlib
import os
from typing import Any, NamedTuple

import click

from lollms_core.cli.guard import current_state, guarded

__all__ = ["COMMANDS", "cli"]


class _Entry(NamedTuple):
    module: str
    summary: str


COMMANDS = {
    "generate": _Entry("generate", "Answer a prompt."),
    "chat": _Entry("chat", "Talk with a model, turn by turn."),
    "code": _Entry("code_blocks", "Generate code, and only the code."),
    "models": _Entry("models", "List the models that can be used, or download one."),
    "formats": _Entry("formats", "List the installed formats."),
    "doctor": _Entry("doctor", "Check every format and say what to do."),
    "tokenize": _Entry("tokens", "Show the tokens of a text, or count them."),
    "embed": _Entry("embed", "Show the embeddings of texts."),
    "personalities": _Entry("personalities", "List the personalities of a LoLLMS server."),
    "install": _Entry("install", "Install the package of a format."),
    "config": _Entry("config", "Show or change the configuration."),
}
"""The commands in the order of the help. A module is imported when its command is called, not before."""


class Commands(click.Group):
    """A group that knows its commands' names and summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"lollms_core.cli.commands.{entry.module}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            import difflib

            close = difflib.get_close_matches(name, COMMANDS, n=1)
            ctx.fail(f"There is no command {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with guarded(ctx):
            return super().invoke(ctx)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import platform

        from lollms_core import __version__

        click.echo(f"lollms-core {__version__} (Python {platform.python_version()})")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
\b
Examples:
  lollms generate "What is the capital of France?"
  lollms chat --format ollama --model llama3.2
  lollms doctor

\b
Exit status: 0 done, 1 an error, 2 wrong usage, 130 interrupted.
""",
)
@click.option("--debug", is_flag=True, envvar="LOLLMS_DEBUG", help="Show the traceback of an error.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """One command for any language model.

    A format is a way to reach models: a server's protocol, or a library in this process. `lollms formats` lists
    those that are installed, `lollms install FORMAT` adds one, `lollms config` remembers which one to use.
    """
    current_state().debug = debug
    if os.environ.get("NO_COLOR"):
        ctx.color = False
