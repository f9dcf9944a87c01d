"""Fixtures for every test."""

import contextlib
import os
import signal

from tests.support.strangers import strangers as strangers
from tests.support.vllm_server import small_model as small_model
from tests.support.vllm_server import vllm_server as vllm_server

# The same examples in every run, so that a change is judged by what it changes. `LOLLMS_TESTS_RANDOM=1` looks for more.
with contextlib.suppress(ImportError):  # the environment of vLLM has none
    from hypothesis import HealthCheck, settings

    # No test fails because the machine is busy.
    settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("fixed", settings.get_profile("random"), derandomize=True, database=None)
    settings.load_profile("random" if os.environ.get("LOLLMS_TESTS_RANDOM") else "fixed")

# Read when torch is imported. Its threads wait by spinning otherwise, which slows down whatever runs beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell starts what runs in its background with Ctrl-C ignored, which the programs of the tests would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
