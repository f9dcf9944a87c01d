"""The openai format for lollms-core: OpenAI, and every server that speaks its protocol."""

from lollms_openai.backend import OpenAIBackend
from lollms_openai.options import OpenAIOptions

__version__ = "0.1.0"

__all__ = ["OpenAIBackend", "OpenAIOptions", "__version__"]
