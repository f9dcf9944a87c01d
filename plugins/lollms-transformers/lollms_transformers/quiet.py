"""Keeping transformers' own bars and advice off the user's terminal while something is loaded.

Its progress bars are a setting of the process, so they are changed for the time of one load and put back. Loads are
serialised by the lock, because two of them would put back each other's values.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from lollms_transformers.advice import advice_withheld, without_advice

__all__ = ["quiet_transformers"]

_lock = threading.RLock()


class _Bar:
    """Stands in for a tqdm bar: passes the iterable through and counts."""

    def __init__(self, on_progress: Callable[[float], None] | None, iterable: Any, total: int | None) -> None:
        self._on_progress = on_progress
        self._iterable = iterable
        self._total = total if total is not None else len(iterable) if hasattr(iterable, "__len__") else 0
        self._done = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable or ():
            yield item
            self.update()

    def update(self, n: int = 1) -> None:
        self._done += n
        if self._on_progress is not None and self._total:
            self._on_progress(min(1.0, self._done / self._total))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


@contextlib.contextmanager
def quiet_transformers(on_progress: Callable[[float], None] | None = None) -> Iterator[None]:
    """Silence transformers' bars and advice. `on_progress` gets the part done, 0 to 1, of each bar not shown."""
    import importlib

    from transformers.utils import logging as hf_logging

    gguf_reader: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")

    def stand_in(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        iterable = args[0] if args else kwargs.get("iterable")
        return _Bar(on_progress, iterable, kwargs.get("total"))

    def plain_stand_in(*args: Any, **kwargs: Any) -> Any:
        return stand_in(stand_in, args, kwargs)

    with _lock, advice_withheld():
        for handler in logging.getLogger("transformers").handlers:
            if type(handler) is logging.StreamHandler:  # the one for the terminal; a program's own keep everything
                handler.addFilter(without_advice)  # for good; a second time changes nothing
        readers_bar = getattr(gguf_reader, "tqdm", None)  # this module alone does not ask the hook
        if readers_bar is not None:
            gguf_reader.tqdm = plain_stand_in
        hook = hf_logging.set_tqdm_hook(stand_in)
        try:
            yield
        finally:
            if readers_bar is not None:
                gguf_reader.tqdm = readers_bar
            hf_logging.set_tqdm_hook(hook)
