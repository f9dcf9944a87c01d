"""`lollms generate`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from lollms_core import ELF_COMPLETION_FORMAT, Completion
from lollms_core._cli.answers import AnswerPrinter, explain_end
from lollms_core._cli.messages import print_json
from lollms_core._cli.options import Choices, connection_options, image_option, json_option, sampling_options
from lollms_core._cli.prompts import text_from
from lollms_core._cli.session import Session, call_options, open_session
from lollms_core._cli.state import current_state
from lollms_core._cli.status_line import Waiting

__all__ = ["command"]


@click.command(
    epilog="""
\b
Examples:
  lollms generate "What is the capital of France?"
  git diff | lollms generate "Write a commit message."
  lollms generate -m llava --image photo.jpg "What is it?"
  lollms generate --json "Tell me a joke." | jq .usage
"""
)
@click.argument("prompt", nargs=-1)
@image_option
@json_option("Print the answer with usage and timings as JSON.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End the answer before this text; repeatable.")
@click.option("--raw", is_flag=True, help="Send the prompt as it is, without a chat template.")
@click.option(
    "--schema",
    "schema_file",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="JSON Schema that the answer must satisfy.",
)
@click.option("--show-reasoning", is_flag=True, help="Print reasoning on stderr when stdout is not a terminal.")
@sampling_options
@connection_options
def command(
    prompt: tuple[str, ...],
    images: tuple[str, ...],
    as_json: bool,
    stop: tuple[str, ...],
    raw: bool,
    schema_file: str | None,
    show_reasoning: bool,
    choices: Choices,
) -> None:
    """Answer PROMPT.

    The answer is printed as it arrives. Without PROMPT it is read from standard input; with both, what comes
    through the pipe follows PROMPT, or takes the place of a lone "-" in it. The word "generate" may be left out.
    """
    text = text_from(prompt, "prompt")
    options: dict[str, Any] = {"stop": stop, "images": images}
    if raw:
        options["completion_format"] = ELF_COMPLETION_FORMAT.Instruct
    if schema_file:
        options["json_schema"] = _schema(schema_file)
    with open_session(choices) as session:
        options |= call_options(session.settings)
        if as_json:
            _print_as_json(session, text, options)
        else:
            _print_as_text(session, text, options, show_reasoning)


def _schema(path: str) -> dict[str, Any]:
    try:
        schema = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise click.UsageError(f"The schema {path} cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise click.UsageError(f"The schema {path} is not JSON: {error.msg} at {where}.") from None
    except (ValueError, RecursionError):
        raise click.UsageError(f"The schema {path} is not JSON.") from None
    if not isinstance(schema, dict):
        raise click.UsageError(f"The schema {path} is not a JSON object.")
    return schema


def _print_as_text(session: Session, prompt: str, options: dict[str, Any], show_reasoning: bool) -> None:
    with AnswerPrinter(session.subject, show_reasoning) as printer:
        completion = session.client.complete(prompt, streaming_callback=printer, **options)
    if isinstance(completion, Completion):
        explain_end(completion, session.subject)


def _print_as_json(session: Session, prompt: str, options: dict[str, Any]) -> None:
    with Waiting(f"Waiting for {session.subject}"):
        completion = session.client.complete(prompt, streaming_callback=current_state().collect, **options)
    if isinstance(completion, Completion):
        usage = {**dataclasses.asdict(completion.usage), "total_tokens": completion.usage.total_tokens}
        print_json(
            {
                "text": completion.text,
                "reasoning": completion.reasoning,
                "finish_reason": completion.finish_reason,
                "format": session.client.format,
                "model": completion.model,
                "usage": usage,
                "timings": dataclasses.asdict(completion.timings),
                "metadata": dict(completion.metadata),
            }
        )
