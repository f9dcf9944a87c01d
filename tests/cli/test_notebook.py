"""An error in a notebook: the user's own lines, what happened, what to do, and what was behind it."""

from __future__ import annotations

import pytest

from lollms_core import BackendError, LollmsClient, LollmsError


def rendered(work) -> list[str]:
    with pytest.raises(LollmsError) as caught:
        work()
    return caught.value._render_traceback_()


def test_no_frame_of_ours_and_the_cause():
    client = LollmsClient(raise_errors=True, host_address="http://127.0.0.1:9", max_retries=0)
    with client:
        lines = rendered(lambda: client.generate("hi"))
    assert not any("lollms_core" in line for line in lines if line.startswith("  File"))
    assert any("test_notebook.py" in line for line in lines)
    first = next(place for place, line in enumerate(lines) if line.startswith("APIConnectionError: "))
    assert lines[first + 1].startswith("Hint: ")
    assert lines[first + 2].startswith("Caused by ConnectionRefusedError: ")
    assert len(lines) <= 10


def test_an_error_that_hides_what_was_before_it():
    def work():
        try:
            raise KeyError("secret")
        except KeyError:
            raise BackendError("it failed") from None

    assert rendered(work)[-1] == "BackendError: it failed"


def test_an_error_that_was_never_raised():
    assert BackendError("it failed", hint="Try again.")._render_traceback_() == [
        "BackendError: it failed",
        "Hint: Try again.",
    ]


@pytest.fixture
def cell():
    """Runs a cell; what is shown for its error."""
    shell_module = pytest.importorskip("IPython.core.interactiveshell")
    shell = shell_module.InteractiveShell.instance()
    yield lambda source: shell.run_cell(source)
    shell_module.InteractiveShell.clear_instance()


@pytest.mark.filterwarnings("ignore")
def test_ipython_shows_just_that(cell, capsys):
    cell("from lollms_core import LollmsClient")
    cell("client = LollmsClient(raise_errors=True, host_address='http://127.0.0.1:9', max_retries=0)")
    capsys.readouterr()
    cell("def ask():\n    return client.generate('hi')\n\nask()")
    text = capsys.readouterr().out
    assert "    return client.generate('hi')" in text
    assert "APIConnectionError: cannot reach" in text
    assert "Caused by ConnectionRefusedError" in text
    assert "lollms_core/" not in text
    assert len(text.splitlines()) <= 10
    cell("client.close()")
