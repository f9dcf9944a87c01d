"""`lollms code`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lollms_core.cli.guard import note, warn
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
@click.option(
    "--template", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Code to start from."
)
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
    with open_session(choices) as session, Waiting(f"Waiting for code from {session.subject}"):
        options |= system_prompt(session.settings)
        if everything or as_json:
            found: Any = session.client.generate_codes(text, **options)
            blocks = found if everything else found[:1]
        else:
            blocks = [{"content": session.client.generate_code(text, **options), "is_complete": True}]
    if not blocks[-1]["is_complete"]:
        warn("the last block is not complete; --n-predict gives the model more room")
    if as_json:
        print_json(blocks)
    else:
        _deliver("\n".join(_ended(block["content"]) for block in blocks), output)


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
