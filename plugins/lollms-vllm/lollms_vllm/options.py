"""What a client can tell this format, beyond what it tells every format."""

from __future__ import annotations

from lollms_openai import OpenAIOptions

__all__ = ["VLLMOptions"]


class VLLMOptions(OpenAIOptions):
    """Keyword arguments of `LollmsClient` for a vLLM server: those of the openai format.

    The engine in this process takes every argument of vLLM's `AsyncEngineArgs` instead, such as `tensor_parallel_size`,
    `pipeline_parallel_size`, `distributed_executor_backend`, `dtype`, `max_model_len`, `gpu_memory_utilization`.
    """
