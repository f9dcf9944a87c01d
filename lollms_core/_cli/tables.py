"""Tables on stdout."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from lollms_core._cli.screen import colours_wanted, columns, printable
from lollms_core._cli.state import redacted
from lollms_core._cli.wrapping import cells, wrap

__all__ = ["print_table"]

_GAP = 2
_NARROWEST = 8


def print_table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout. Columns without any value are left out.

    On a terminal it fits the width, and cells that are too long have several lines; in a file or a pipe nothing is
    broken.
    """
    texts = [["" if cell is None else printable(redacted(str(cell))) for cell in row] for row in rows]
    used = [index for index in range(len(names)) if index == 0 or any(row[index] for row in texts)]
    head = [names[index] for index in used]
    body = [[row[index].replace("\n", " ") for index in used] for row in texts]
    widths = [max(cells(row[index]) for row in [head, *body]) for index in range(len(head))]
    if (room := columns(sys.stdout)) is not None:
        _narrow(widths, room)
    _print_row(head, widths, bold=sys.stdout.isatty() and colours_wanted())
    for row in body:
        _print_row(row, widths)


def _narrow(widths: list[int], room: int) -> None:
    """Take from the widest column until the table fits, or is as narrow as it can be."""
    while sum(widths) + _GAP * (len(widths) - 1) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1


def _print_row(row: Sequence[str], widths: Sequence[int], *, bold: bool = False) -> None:
    lines = [_broken(cell, width) for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, lines))):
        parts = [cell[number] if number < len(cell) else "" for cell in lines]
        padded = [part + " " * (width - cells(part) + _GAP) for part, width in zip(parts, widths, strict=True)]
        line = "".join(padded).rstrip()
        click.echo(click.style(line, bold=True) if bold else line)


def _broken(text: str, width: int) -> list[str]:
    """The lines of a cell. A word that is longer than the column, such as a model's name, is broken anywhere."""
    lines: list[str] = []
    for line in wrap(text, width).split("\n"):
        while cells(line) > width:
            lines.append(line[:width])
            line = line[width:]
        lines.append(line)
    return lines
