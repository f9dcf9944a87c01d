"""`lollms code`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from lollms_core import CodeBlock, LollmsClient, LollmsError
from lollms_core.cli.guard import note, printable, warn
from lollms_core.cli.options import Choices, connection_options, sampling_options
from lollms_core.cli.prompts import text_from
from lollms_core.cli.session import open_session, system_prompt
from lollms_core.cli.terminal import Waiting, print_json

__all__ = ["command"]


@click.command(
    epilog="""
\b
Examples:
  lollms code --language python "a function that reverses a string"
  lollms code -l bash -o backup.sh "back up my home directory with tar"
  lollms code --template api.py "add a route that returns the time"
"""
)
@click.argument("prompt", nargs=-1)
@click.option("-l", "--language", default="", metavar="NAME", help="The language to ask for.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write the code to FILE.")
@click.option("--all", "everything", is_flag=True, help="All code blocks of the answer, not one.")
@click.option("--json", "as_json", is_flag=True, help="Print the blocks as JSON, with language and file name.")
@click.option("--template", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Code to start from.")
@sampling_options
@connection_options
def command(
    prompt: tuple[str, ...],
    language: str,
    output: str | None,
    everything: bool,
    as_json: bool,
    template: str | None,
    choices: Choices,
) -> None:
    """Generate code that does what PROMPT says, and print the code alone.

    A block that the model did not finish is continued. PROMPT may come from standard input, as in `lollms generate`.
    """
    text = text_from(prompt, "prompt")
    options: dict[str, Any] = {"language": language, "template": _template(template)}
    with open_session(choices) as session:
        options |= system_prompt(session.settings)
        try:
            with Waiting(f"Waiting for code from {session.subject}"):
                blocks = _ask(session.client, text, everything, as_json, options)
        except LollmsError as error:
            if error.partial_text:
                click.echo(printable(error.partial_text), err=True)
            raise
    if not blocks[-1]["is_complete"]:
        warn("the last block is not complete; --n-predict gives the model more room")
    if as_json:
        print_json(blocks)
    else:
        _deliver("\n".join(_ended(block["content"]) for block in blocks), output)


def _ask(
    client: LollmsClient, prompt: str, everything: bool, as_json: bool, options: dict[str, Any]
) -> list[CodeBlock]:
    if not (everything or as_json):
        return [{"content": client.generate_code(prompt, **options), "is_complete": True}]
    blocks = cast("list[CodeBlock]", client.generate_codes(prompt, **options))
    return blocks if everything else blocks[:1]


def _template(path: str | None) -> str:
    if path is None:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"The template {path} cannot be read: {error}") from None


def _ended(code: str) -> str:
    return code if code.endswith("\n") else code + "\n"


def _deliver(code: str, output: str | None) -> None:
    if output is None:
        click.echo(code, nl=False)
        return
    try:
        Path(output).write_text(code, encoding="utf-8")
    except OSError as error:
        raise click.FileError(output, error.strerror) from None
    note(f"wrote {output}")
