"""One real vLLM server for all formats that can reach it."""

from __future__ import annotations

from tests.support.vllm_server import small_model as small_model
from tests.support.vllm_server import vllm_server as vllm_server
