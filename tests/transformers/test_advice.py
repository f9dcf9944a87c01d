"""What the libraries warn of stays away from users, and nothing else does."""

import logging
import subprocess
import sys
import threading
import warnings

import pytest
from lollms_transformers.advice import advice_withheld, without_advice

from lollms_core import UnsupportedOptionWarning
from tests.transformers.conftest import LONG, MODEL

pytestmark = pytest.mark.usefixtures("as_for_users")


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning, FutureWarning, UserWarning])
def test_a_deprecation_is_neither_shown_nor_an_error(category, recwarn):
    warnings.simplefilter("error")
    with advice_withheld():
        warnings.warn("`past_key_values` is deprecated", category, stacklevel=2)
    assert not recwarn.list
    with pytest.raises(category):
        warnings.warn("ours to see", category, stacklevel=2)


@pytest.mark.parametrize("category", [UnsupportedOptionWarning, ResourceWarning, RuntimeWarning])
def test_what_is_said_to_the_user_arrives(category):
    with advice_withheld(), pytest.warns(category, match="to be heard"):
        warnings.warn("to be heard", category, stacklevel=2)


def test_other_threads_are_heard_meanwhile():
    inside, heard = threading.Event(), threading.Event()

    def generating():
        with advice_withheld():
            inside.set()
            heard.wait(LONG)
            warnings.warn("the library's", FutureWarning, stacklevel=2)

    thread = threading.Thread(target=generating)
    with pytest.warns(FutureWarning) as caught:
        thread.start()
        assert inside.wait(LONG)
        warnings.warn("the user's", FutureWarning, stacklevel=2)
        heard.set()
        thread.join()
    assert [str(warning.message) for warning in caught] == ["the user's"]


def test_it_can_be_nested_and_ends_with_the_outermost():
    with pytest.raises(FutureWarning), advice_withheld():
        with advice_withheld():
            pass
        warnings.warn("withheld", FutureWarning, stacklevel=2)
        raise FutureWarning
    with pytest.warns(FutureWarning, match="heard"):
        warnings.warn("heard", FutureWarning, stacklevel=2)


def test_the_filters_are_not_touched_again_where_it_is_in_place():
    """Or a warning that Python shows once would be shown after every call."""
    with advice_withheld():
        pass
    before = list(warnings.filters)
    with advice_withheld():
        assert warnings.filters == before
    assert warnings.filters == before


def test_log_records_below_errors_are_withheld_too():
    advice = logging.LogRecord("transformers", logging.WARNING, "", 0, "use `cache`", None, None)
    error = logging.LogRecord("transformers", logging.ERROR, "", 0, "broken", None, None)
    assert without_advice(advice)
    with advice_withheld():
        assert not without_advice(advice)
        assert without_advice(error)


PROGRAM = f"""
import warnings
from lollms_core import LollmsClient, UnsupportedOptionWarning
from transformers import GenerationMixin
from transformers.utils import logging

generate = GenerationMixin.generate

def deprecating(self, *args, **kwargs):
    warnings.warn("this argument has a new name", FutureWarning, stacklevel=2)
    warnings.warn("as torch says it", UserWarning, stacklevel=2)
    logging.get_logger("transformers.generation").warning_once("this field has a new name")
    return generate(self, *args, **kwargs)

GenerationMixin.generate = deprecating
with LollmsClient(default_generation_mode="transformers", model_name={MODEL!r}, raise_errors=True) as client:
    for _ in range(2):
        print(client.generate("What is the capital of France?", n_predict=20, temperature=0))
    client.embed("text")
    client.detokenize(client.tokenize("text"))
"""


@pytest.mark.model
@pytest.mark.parametrize("flags", [["-W", "error"], ["-W", "always"]])
def test_a_program_gets_its_answers_and_nothing_else(flags):
    """Asked twice: the second time `generate` is given the cache of the first."""
    done = subprocess.run([sys.executable, *flags, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "The capital of France is Paris.\n" * 2


@pytest.mark.model
def test_an_option_without_effect_is_an_error_where_warnings_are():
    code = PROGRAM.replace("temperature=0", "temperature=0, think=True")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert "UnsupportedOptionWarning" in done.stderr
    assert "does not honour: think" in done.stderr
