"""The log: the logger `lollms`, silent unless somebody asks.

At the level DEBUG it says which request went where, with which status, what is asked again, and how long answers take.
No prompt, no answer, no key.
"""

from __future__ import annotations

import functools
import logging
import os
import warnings

__all__ = ["log_as_asked", "logger"]

logger = logging.getLogger("lollms")
logger.addHandler(logging.NullHandler())  # or Python itself would print warnings in a program that has set up no log


@functools.cache
def log_as_asked() -> None:
    """Write the log to stderr, if the variable `LOLLMS_LOG` names a level (`debug`, `info`, …)."""
    asked = os.environ.get("LOLLMS_LOG", "").strip()
    level = logging.getLevelName(asked.upper())
    if not isinstance(level, int):
        if asked:
            warnings.warn(f"LOLLMS_LOG={asked} is no level: use debug, info, warning or error", stacklevel=2)
        return
    logger.setLevel(level)
    if all(isinstance(handler, logging.NullHandler) for handler in logger.handlers):  # the command has its own
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
