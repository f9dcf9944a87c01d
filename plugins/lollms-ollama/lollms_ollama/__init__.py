"""The `ollama` format for lollms-core: models that an Ollama server runs."""

from lollms_ollama.backend import OllamaBackend
from lollms_ollama.options import OllamaOptions
from lollms_ollama.truncation import TruncatedPromptWarning

__all__ = ["OllamaBackend", "OllamaOptions", "TruncatedPromptWarning", "__version__"]

__version__ = "0.1.0"
