"""The vllm format for lollms-core: a vLLM server, or vLLM's engine in this process.

Importing this package imports neither vllm nor torch; the engine is started by the first call that needs it.
"""

from lollms_vllm.backend import VLLMBackend
from lollms_vllm.options import VLLMOptions

__version__ = "0.1.0"

__all__ = ["VLLMBackend", "VLLMOptions", "__version__"]
