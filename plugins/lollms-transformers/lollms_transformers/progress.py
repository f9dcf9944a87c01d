"""How far long work is: told to whoever shows progress, or shown as a bar where nobody does.

A program that shows progress itself, as the command `lollms` does, adds a handler to the logger `lollms.progress`. Two
displays in one terminal would write over each other, so there is no bar of ours then.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import TypeAlias

__all__ = ["Reach", "progress"]

Reach: TypeAlias = Callable[[float, str], None]
"""Called with the part that is done, 0 to 1, and the name of the present stage; ignored unless it goes forward."""

_logger = logging.getLogger("lollms.progress")
_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}"


@contextlib.contextmanager
def progress(remark: str) -> Iterator[Reach]:
    """Say what is about to be done, then how far it is."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    done = -1.0
    listeners = bool(_logger.handlers)

    def reach(part: float, stage: str) -> None:
        nonlocal done
        if part <= done:
            return
        done = part
        if listeners:
            _logger.info(stage, extra={"part": done})
        else:
            bar.set_description(stage, refresh=False)
            bar.update(round(100 * done) - bar.n)

    if listeners:
        _logger.info(remark)
    else:
        tqdm.write(remark, file=sys.stderr)
    with tqdm(total=100, bar_format=_BAR, mininterval=0.5, leave=False, disable=listeners or None) as bar:
        yield reach
