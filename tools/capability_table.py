"""The table of what each format honours, from the declarations of the backends.

    python tools/capability_table.py                       # print it
    python tools/capability_table.py --write docs/formats.md
    python tools/capability_table.py --check docs/formats.md

In a document the table stands between `<!-- capabilities:begin -->` and `<!-- capabilities:end -->`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lollms_core import ELF_GENERATION_FORMAT, Capabilities, LollmsError
from lollms_core._client.registry import load_format

__all__ = ["main", "replaced", "table"]

BEGIN, END = "<!-- capabilities:begin -->", "<!-- capabilities:end -->"

FORMATS = (*(member.value for member in ELF_GENERATION_FORMAT), "echo")

_OPTIONS = {
    "n_predict": "–",
    "temperature": "–",
    "top_k": "–",
    "top_p": "–",
    "min_p": "–",
    "repeat_penalty": "–",
    "repeat_last_n": "–",
    "seed": "–",
    "stop": "core",
    "n_threads": "–",
    "ctx_size": "–",
    "system_prompt": "–",
    "messages": "prompt",
    "json_schema": "–",
    "think": "–",
    "personality": "–",
}
"""Every option, and what is done for a backend that does not declare it."""

_LEGEND = {
    "core": "*core*: the core looks for stop sequences itself. ",
    "prompt": "*prompt*: a conversation becomes one text. ",
}

_ABILITIES = {
    "raw_prompt": "raw prompts (`Instruct`)",
    "vision": "images",
    "embeddings": "embeddings",
    "exact_tokens": "the model's own tokenizer",
    "personalities": "personalities",
    "pull": "downloads models",
    "needs_model": "needs `model_name`",
    "local": "nothing leaves the machine",
}


_PARTS = {
    "tool_call": "tool calls in messages",
    "tool_result": "results of tools in messages",
    "reasoning": "reasoning in messages",
    "provider": "other parts of messages",
}


def table(capabilities: Mapping[str, Capabilities]) -> str:
    """The Markdown table; the keys are the names of the formats, in the order of the columns."""
    unknown = {option for declared in capabilities.values() for option in declared.options} - set(_OPTIONS)
    if unknown:
        raise ValueError(f"declared, but no option of a call: {', '.join(sorted(unknown))}")
    rows = [["", *(f"`{name}`" for name in capabilities)], ["---", *("---" for _ in capabilities)]]
    for option, otherwise in _OPTIONS.items():
        rows.append([f"`{option}`", *("yes" if option in c.options else otherwise for c in capabilities.values())])
    for field, words in _ABILITIES.items():
        rows.append([words, *("yes" if getattr(c, field) else "–" for c in capabilities.values())])
    for part, words in _PARTS.items():
        rows.append([words, *("yes" if part in c.parts else "–" for c in capabilities.values())])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    legend = "".join(words for word, words in _LEGEND.items() if any(word in row for row in rows))
    return "\n".join(
        [
            *lines,
            "",
            f"{legend}Choosing an option that has a – gives a warning, and under `strict=True` an error. Asking for "
            "anything else that has one is always an error.",
        ]
    )


def replaced(document: str, new: str) -> str:
    """The document with the table in place of what stands between the marks. Raises `ValueError` without marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"there is no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print, write or check the table. Returns the exit status: 1 for a table that is out of date, 2 for an error."""
    parser = argparse.ArgumentParser(description="The table of what each format honours.")
    parser.add_argument("formats", nargs="*", default=list(FORMATS), help="names of formats; all official ones if none")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", metavar="FILE", type=Path, help="fail if the table in this document is not this one")
    action.add_argument("--write", metavar="FILE", type=Path, help="put the table into this document")
    given = parser.parse_args(arguments)
    try:
        new = table({name: load_format(name).capabilities for name in given.formats})
        document = given.check or given.write
        if document is None:
            sys.stdout.write(new + "\n")
            return 0
        old = document.read_text(encoding="utf-8")
        wanted = replaced(old, new)
    except (LollmsError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if old == wanted:
        return 0
    if given.check:
        sys.stderr.write(
            f"the table in {document} is not what the backends declare; run this with --write {document}\n"
        )
        return 1
    document.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
