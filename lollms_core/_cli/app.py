"""The root of the command: which commands there are, and the import of the one that is called."""

from __future__ import annotations

import importlib
import itertools
import re
import shlex
import sys
from typing import Any, NamedTuple, NoReturn

import click

from lollms_core._cli.endings import guarded
from lollms_core._cli.prompts import has_input
from lollms_core._cli.screen import colours_wanted, columns
from lollms_core._cli.state import say_everything
from lollms_core._cli.wrapping import wrap

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
    "doctor": _Entry("doctor", "Check what works, and say what to do."),
    "tokenize": _Entry("tokens", "Show the tokens of a text, or count them."),
    "embed": _Entry("embed", "Show the embeddings of texts."),
    "personalities": _Entry("personalities", "List the personalities of a LoLLMS server."),
    "install": _Entry("install", "Install the package of a format."),
    "config": _Entry("config", "Show or change the configuration."),
}
"""The commands in the order of the help. A module is imported when its command is called, not before."""

_ELSEWHERE = {
    "ask": "`lollms generate PROMPT` answers a prompt",
    "create": "models are made with the server's own command, such as `ollama create`",
    "complete": "`lollms generate PROMPT` answers a prompt",
    "keys": "`lollms config set formats.NAME.api_key` asks for a key",
    "list": "`lollms models` lists the models",
    "ls": "`lollms models` lists the models",
    "ps": "`lollms models` lists the models",
    "prompt": "`lollms generate PROMPT` answers a prompt",
    "pull": "`lollms models --pull NAME` downloads a model",
    "rm": "models are removed with the server's own command, such as `ollama rm`",
    "run": "`lollms chat -m NAME` talks with a model",
    "serve": "a server is started with its own command, such as `ollama serve`",
    "show": "`lollms models --json` says what is known of each model",
    "status": "`lollms doctor` says what works",
    "settings": "`lollms config show` shows the configuration",
    "version": "`lollms --version` shows the version",
}
"""What other programs of this kind call their commands: nobody wants these words to be sent to a model."""

_CLOSE = 0.7


class Commands(click.Group):
    """A group that knows its commands' names and summaries without importing them.

    What is no command is a question: `lollms "Why?"` is `lollms generate "Why?"`.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"lollms_core._cli.commands.{entry.module}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        place = next((place for place, arg in enumerate(args) if arg not in own), None)
        if place is not None and args[place] == "help" and len(args) <= place + 2:
            args = [*args[:place], *(name for name in args[place + 1 :] if name in COMMANDS), "--help"]
            return super().parse_args(ctx, args)
        if (
            place is None
            and not ctx.resilient_parsing
            and not {"-h", "--help", "--version"} & set(args)
            and has_input()
        ):
            args = [*args, "generate"]
        elif place is not None and args[place] not in COMMANDS:
            self._refuse_slips(ctx, args[place:], own)
            args = [*args[:place], "generate", *args[place:]]
        return super().parse_args(ctx, args)

    def _refuse_slips(self, ctx: click.Context, args: list[str], own: set[str]) -> None:
        """End with wrong usage where the first of the arguments is neither a command nor meant as a question.

        Three words or more before any option are a question, whatever the first one looks like.
        """
        import difflib
        import shlex

        def fail(message: str) -> NoReturn:
            ctx.fail(wrap(message, columns(sys.stderr), column=len("Error: ")))

        first = args[0]
        if ctx.resilient_parsing:
            return
        if first.startswith("-"):
            if close := difflib.get_close_matches(first.partition("=")[0], own, n=1, cutoff=0.8):
                fail(f"There is no option {first}. Did you mean {close[0]}?")
            # What stands behind an option may be its value.
            free = (arg for before, arg in itertools.pairwise(args) if not before.startswith("-"))
            if command := next((arg for arg in free if arg in COMMANDS), None):
                fail(f"Put options after the command: lollms {command} {first} …")
            return
        words = next((place for place, arg in enumerate(args) if arg.startswith("-")), len(args))
        if words > 2:
            return
        as_question = f" To ask a model: lollms generate {shlex.join(args)}" if len(args) > 1 else ""
        if meant := _ELSEWHERE.get(first):
            fail(f"There is no command {first!r}: {meant}.{as_question}")
        if close := difflib.get_close_matches(first, COMMANDS, n=1, cutoff=_CLOSE):
            fail(f"There is no command {first!r}. Did you mean {close[0]!r}?{as_question}")

    def invoke(self, ctx: click.Context) -> Any:
        if not colours_wanted():
            ctx.color = False
        with guarded(ctx):
            try:
                return super().invoke(ctx)
            except click.NoSuchOption as error:
                if told := _about_option(error, error.ctx.command if error.ctx else self):
                    raise click.NoSuchOption(error.option_name, told, ctx=error.ctx) from None
                raise
            except click.UsageError as error:
                if told := _about_extra_argument(error):
                    raise click.UsageError(told, ctx=error.ctx) from None
                raise


def _about_option(error: click.NoSuchOption, command: click.Command) -> str:
    """What is meant by an option of another program's; empty if it is none.

    By its letters `--base-url` is nearest to `--insecure`, which nobody means by it.
    """
    from lollms_core._cli.known_settings import NAMES_ELSEWHERE, SETTINGS

    name = NAMES_ELSEWHERE.get(error.option_name.lstrip("-").replace("-", "_"), "")
    if name.endswith("_timeout"):
        return f"There is no option {error.option_name}. `lollms config set {name} SECONDS` sets a limit."
    meant = SETTINGS[name].option or "--api-key-file" if name else ""
    known = {name for parameter in command.params for name in parameter.opts}
    return f"There is no option {error.option_name}. Did you mean {meant}?" if meant in known else ""


def _about_extra_argument(error: click.UsageError) -> str:
    """What to do about the name of a format or of a model that stands alone; empty if that is not what is wrong."""
    extra = re.match(r"Got unexpected extra argument \((.+)\)$", error.message)
    if extra is None or error.ctx is None:
        return ""
    from lollms_core._client.registry import installed_formats

    word = extra[1]
    options = {name for parameter in error.ctx.command.params for name in parameter.opts}
    if not options >= {"-f", "-m"}:
        return ""
    if word in installed_formats():
        return f"{error.message}. Did you mean -f {word}?"
    if error.ctx.info_name != "chat":
        return ""
    if " " in word:
        return f"`lollms chat` takes no question: type it there, or ask it alone with lollms {shlex.quote(word)}"
    return f"{error.message}. Did you mean -m {word}?"


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import platform

        from lollms_core import __version__

        click.echo(f"lollms-core {__version__} (Python {platform.python_version()})")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="",
    subcommand_metavar="COMMAND [OPTIONS] | QUESTION",
    epilog="""
\b
Examples:
  lollms "What is the capital of France?"
  lollms chat --format ollama --model llama3.2
  lollms doctor

Exit status: 0 done, 1 an error, 2 wrong usage, 130 interrupted.
""",
)
@click.option("--debug", is_flag=True, envvar="LOLLMS_DEBUG", help="Show tracebacks, and what is done.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli(debug: bool) -> None:
    """One command for any language model.

    A format is a way to reach models: a server's protocol, or a library in this process. `lollms formats` lists
    those that are installed, `lollms install FORMAT` adds one, `lollms config` remembers which one to use.
    """
    if debug:
        say_everything()
