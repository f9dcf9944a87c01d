"""Fixtures for every test."""

from tests.support.strangers import strangers as strangers
from tests.support.vllm_server import small_model as small_model
from tests.support.vllm_server import vllm_server as vllm_server
