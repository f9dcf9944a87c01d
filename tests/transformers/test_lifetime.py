"""Closing, forgetting, forking: no thread, no memory and no hang is left behind."""

import gc
import subprocess
import sys
import threading
import weakref

import pytest

from lollms_core import ClientClosedError, CloseRequest
from tests.transformers.conftest import FRANCE, LONG, MODEL, answer, greedy, make

pytestmark = pytest.mark.model


def engine_threads():
    return {thread for thread in threading.enumerate() if thread.name == "lollms-transformers"}


def test_close_ends_what_runs_and_frees_the_model():
    before = engine_threads()
    backend = make(MODEL)
    stream = backend.generate(greedy("Write a long story.", 4000))
    next(stream)
    model = weakref.ref(next(iter(backend._engines.values())).loaded.model)
    backend.close(CloseRequest())
    assert engine_threads() == before
    gc.collect()
    assert model() is None
    with pytest.raises(ClientClosedError):
        list(stream)


def test_a_backend_that_is_dropped_closes_itself():
    before = engine_threads()
    backend = make(MODEL)
    answer(backend, greedy(FRANCE, 2))
    (thread,) = engine_threads() - before
    del backend
    gc.collect()
    thread.join(LONG)
    assert not thread.is_alive()


def test_another_model_takes_the_place_of_an_idle_one(tiny):
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tiny(
        "other",
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=49152, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
            )
        ),
    )
    backend = make(MODEL)
    try:
        answer(backend, greedy(FRANCE, 2))
        answer(backend, greedy(FRANCE, 2, model=str(folder)))
        assert list(backend._engines) == [str(folder)]
        answer(backend, greedy(FRANCE, 2))
        assert list(backend._engines) == [MODEL]
    finally:
        backend.close(CloseRequest())


SCRIPT = f"""
import os, sys, warnings
warnings.simplefilter("ignore")
from lollms_core import BackendError, BackendSettings, GenerationRequest, SamplingParams
from lollms_transformers import TransformersBackend

def make():
    return TransformersBackend(BackendSettings(format="transformers", model_name={MODEL!r}))

def ask(backend):
    request = GenerationRequest(prompt={FRANCE!r}, sampling=SamplingParams(n_predict=2, temperature=0.0))
    return "".join(chunk.text for chunk in backend.generate(request))

used = make()
ask(used)
child = os.fork()
if child == 0:
    failures = 0
    for backend in (used, make()):
        try:
            ask(backend)
        except BackendError as error:
            failures += "forked" in error.message and "spawn" in error.hint
    os._exit(failures)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 2, status
assert ask(used) == "The capital"
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")
def test_a_forked_child_gets_an_error_and_the_parent_goes_on():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=LONG)


def test_a_program_that_never_closes_ends():
    code = (
        SCRIPT[: SCRIPT.index("child =")]
        + "\nstream = used.generate(GenerationRequest(prompt='Tell a story.'))\nnext(stream)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LONG)
