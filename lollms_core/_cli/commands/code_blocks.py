"""`lollms code`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import click

from lollms_core import CodeBlock, ConfigurationError, LollmsClient, LollmsError
from lollms_core._cli import whole_files
from lollms_core._cli.messages import note, print_json, tell_as_it_is, warn
from lollms_core._cli.options import Choices, connection_options, json_option, sampling_options
from lollms_core._cli.prompts import text_from
from lollms_core._cli.questions import confirm
from lollms_core._cli.screen import printable
from lollms_core._cli.session import call_options, open_session
from lollms_core._cli.state import current_state
from lollms_core._cli.status_line import Waiting

__all__ = ["command"]


@click.command(
    epilog="""
\b
Examples:
  lollms code --language python "reverse a string"
  lollms code -l bash -o backup.sh "back up my notes"
  lollms code --template api.py "add a route"
"""
)
@click.argument("prompt", nargs=-1)
@click.option("-l", "--language", default="", metavar="NAME", help="The language to ask for.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write the code to FILE.")
@click.option("--force", is_flag=True, help="Overwrite FILE without asking.")
@click.option("--all", "everything", is_flag=True, help="All code blocks of the answer, not one.")
@json_option("Print every block as JSON, with language and file name.")
@click.option("--template", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Code to start from.")
@sampling_options
@connection_options
def command(
    prompt: tuple[str, ...],
    language: str,
    output: str | None,
    force: bool,
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
    if output is not None:  # before the model works, not after
        _check_writable(output)
        if not force:
            _confirm_overwriting(output)
    with open_session(choices) as session:
        options |= call_options(session.settings)
        options["streaming_callback"] = current_state().collect
        try:
            with Waiting(f"Waiting for code from {session.subject}"):
                blocks = _ask(session.client, text, everything or as_json, options)
        except LollmsError as error:
            if error.partial_text and not as_json:
                tell_as_it_is(printable(error.partial_text) + "\n")
            raise
    if not blocks[-1]["is_complete"]:
        warn("the last block is not complete; --n-predict gives the model more room")
    if output is not None:
        _write(json.dumps(blocks, ensure_ascii=False, indent=2) + "\n" if as_json else _joined(blocks), output, as_json)
    elif as_json:
        print_json(blocks)
    else:
        code = _joined(blocks)
        click.echo(printable(code) if sys.stdout.isatty() else code, nl=False)


def _ask(client: LollmsClient, prompt: str, everything: bool, options: dict[str, Any]) -> list[CodeBlock]:
    if everything:
        return cast("list[CodeBlock]", client.generate_codes(prompt, **options))
    return [{"content": client.generate_code(prompt, **options), "is_complete": True}]


def _template(path: str | None) -> str:
    if path is None:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"The template {path} cannot be read: {error}") from None


def _joined(blocks: list[CodeBlock]) -> str:
    return "\n".join(block["content"].removesuffix("\n") + "\n" for block in blocks)


def _check_writable(output: str) -> None:
    if not output:
        raise click.UsageError("The name of the output is empty.")
    folder = Path(output).parent
    if output.endswith(("/", os.sep)) or not folder.is_dir():
        what = f"there is no folder {folder}" if not folder.is_dir() else "it names a folder"
        raise ConfigurationError(f"{output} cannot be written: {what}", hint="Make the folder first, and name a file.")
    if not os.access(output if Path(output).exists() else folder, os.W_OK):
        raise ConfigurationError(f"{output} cannot be written: permission denied")


def _confirm_overwriting(output: str) -> None:
    if not Path(output).is_file():
        return
    force = "--force overwrites it."
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{output} is there already", hint=force)
    confirm(f"{output} is there already. Overwrite it", refused=f"{output} stays as it is", otherwise=force)


def _write(text: str, output: str, as_json: bool) -> None:
    path = Path(output)
    try:
        if not path.exists():
            whole_files.create(path, text)
        elif path.is_file() and os.access(path.resolve().parent, os.W_OK):
            whole_files.replace(path, text)
        else:  # a device, or a file in a folder that takes no others
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        if not as_json:
            tell_as_it_is(printable(text))
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}", partial_text=text) from None
    note(f"wrote {output}")
