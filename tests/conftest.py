"""Fixtures for every test."""

import os

from tests.support.strangers import strangers as strangers
from tests.support.vllm_server import small_model as small_model
from tests.support.vllm_server import vllm_server as vllm_server

# Read when torch is imported. Its threads wait by spinning otherwise, which slows down whatever runs beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
