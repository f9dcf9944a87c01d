from __future__ import annotations

import subprocess
import sys

import pytest

from lollms_core import text


def test_every_public_name_resolves() -> None:
    assert all(getattr(text, name) is not None for name in text.__all__)
    assert dir(text) == sorted(text.__all__)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        text.nothing  # noqa: B018


def test_what_streams_need_does_not_load_the_parsers() -> None:
    program = (
        "import sys; from lollms_core.text import ReasoningSplitter, StopFilter;"
        "list(map(ReasoningSplitter().feed, ['<think>a</think>', 'b']));"
        "assert not {m for m in sys.modules if m.endswith(('.commonmark', '.fences', '.captions'))}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
