"""The `litellm` format for lollms-core: any `provider/model` that LiteLLM can reach.

Importing this package does not import LiteLLM, nor does making the client: the first call does.
"""

from lollms_litellm.backend import LiteLLMBackend, LiteLLMOptions

__version__ = "0.1.0"

__all__ = ["LiteLLMBackend", "LiteLLMOptions", "__version__"]
