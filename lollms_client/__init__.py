"""The guide's import name: the public names of `lollms_core`, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lollms_core
from lollms_core import __all__ as __all__
from lollms_core import __version__ as __version__

if TYPE_CHECKING:
    from lollms_core import *  # noqa: F403


def __getattr__(name: str) -> Any:
    return getattr(lollms_core, name)


def __dir__() -> list[str]:
    return dir(lollms_core)
