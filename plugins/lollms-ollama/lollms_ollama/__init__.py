"""The ollama format for lollms-core."""

__version__ = "0.1.0"
