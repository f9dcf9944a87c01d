"""Where a warning points to."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from typing import Any

from lollms_core import Backend, Chunk, UnsupportedOptionWarning, hookimpl
from tests.support.inline import Over, over

__all__ = ["over"]


class Learning(Backend):
    """Learns in a thread of its own that an option has no effect."""

    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        thread = threading.Thread(target=self.not_honoured, args=[{"seed"}])
        thread.start()
        thread.join()
        yield Chunk("answer")


def test_a_warning_of_a_backends_thread_is_shown_for_each_client(over: Over) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            over(Learning).generate("x")
    assert [(each.category, each.filename) for each in caught] == [(UnsupportedOptionWarning, "<lollms>")] * 2
