"""What the documents show: their snippets of Python, their commands, and the output that is printed below either."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

__all__ = ["ROOT", "Block", "blocks", "pages"]

ROOT = Path(__file__).parents[2]
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*")
_QUIET = ("text", "toml", "json", "yaml", "dockerfile")
"""Kinds of blocks in which nothing is to be run."""


@dataclass
class Block:
    """A piece of a page that a reader would paste.

    `python` is run as it is, `sh` line by line, and of `console` the lines behind a `$`, each with its output below.
    """

    page: str
    line: int
    kind: str
    content: str
    output: str | None = None
    """What the page says that it prints."""
    not_run: str | None = None
    """Why it cannot be run by a test."""

    def commands(self) -> Iterator[tuple[str, str | None]]:
        """The commands of a `sh` or `console` block, each with the output that the page shows for it."""
        if self.kind == "sh":
            for line in self.content.replace("\\\n", " ").splitlines():
                if line.strip() and not line.startswith("#"):
                    yield line, None
            return
        for part in re.split(r"^\$ ", self.content, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def pages() -> list[str]:
    """The documents that people read, as paths below the root."""
    found = [ROOT / "README.md", *ROOT.glob("plugins/*/README.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order. Raises `AssertionError` for one of a kind that nobody knows how to run."""
    found: list[Block] = []
    reason, last = None, None
    for token in MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8")):
        if token.type == "html_block" and "not run" in token.content:
            said = _NOT_RUN.fullmatch(token.content)
            assert said, f"{page}: not of the form `<!-- not run: why -->`: {token.content}"
            reason = said[1]
            continue
        assert reason is None or token.type == "fence", f"{page}: nothing to run follows `not run: {reason}`"
        if token.type == "fence":
            kind = token.info.split()[0] if token.info.strip() else ""
            line = token.map[0] + 1 if token.map else 0
            if kind in ("python", "sh", "console"):
                found.append(Block(page, line, kind, token.content, not_run=reason))
            elif kind == "text" and last == "python" and found[-1].not_run is None:
                found[-1].output = token.content
            else:
                assert kind in _QUIET, f"{page}, line {line}: a block of the kind {kind!r}"
            last = kind
        elif token.type == "code_block":
            raise AssertionError(f"{page}: an indented block, which does not say what it is: {token.content[:60]}")
        elif token.type != "html_block" and token.level == 0 and token.nesting >= 0:
            last = None  # what stands below something else is not the output
        reason = None
    return found
