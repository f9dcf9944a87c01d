"""Names that people try as formats although they name a provider or a program, and how to reach those."""

from __future__ import annotations

__all__ = ["suggestion"]

_BY_LITELLM = {
    name: prefix
    for prefix, names in {
        "anthropic": "anthropic claude",
        "azure": "azure",
        "bedrock": "bedrock aws amazon",
        "cerebras": "cerebras",
        "cohere": "cohere",
        "deepseek": "deepseek",
        "fireworks_ai": "fireworks fireworks_ai",
        "gemini": "gemini google",
        "github": "github",
        "groq": "groq",
        "mistral": "mistral mistralai",
        "moonshot": "moonshot kimi",
        "nvidia_nim": "nvidia nvidia_nim",
        "openrouter": "openrouter",
        "perplexity": "perplexity",
        "replicate": "replicate",
        "together_ai": "together together_ai togetherai",
        "vertex_ai": "vertex vertex_ai vertexai",
        "watsonx": "watsonx",
        "xai": "xai grok",
    }.items()
    for name in names.split()
}
"""What LiteLLM puts before a model's name, by what people call the provider."""

_LIKE_OPENAI = {
    "jan": "http://localhost:1337/v1",
    "llama-cpp": "http://localhost:8080/v1",
    "llama.cpp": "http://localhost:8080/v1",
    "llamacpp": "http://localhost:8080/v1",
    "llamafile": "http://localhost:8080/v1",
    "lm-studio": "http://localhost:1234/v1",
    "lmstudio": "http://localhost:1234/v1",
    "localai": "http://localhost:8080/v1",
    "sglang": "http://localhost:30000/v1",
    "tgi": "http://localhost:8080/v1",
}
"""Programs with a server that speaks OpenAI's protocol, and where it listens if nobody says otherwise."""

_OTHER_NAMES = {
    "chatgpt": "openai",
    "gguf": "transformers",
    "gpt": "openai",
    "hf": "transformers",
    "huggingface": "transformers",
    "torch": "transformers",
}


def suggestion(name: str) -> str:
    """How to reach what is probably meant by a name that is no format; empty if that is not known."""
    name = name.lower()
    if name in _BY_LITELLM:
        return _with(f"-f litellm -m {_BY_LITELLM[name]}/NAME", "litellm")
    if name in _LIKE_OPENAI:
        return _with(f"-f openai --host-address {_LIKE_OPENAI[name]}", "openai")
    if name in _OTHER_NAMES:
        return _with(f"-f {_OTHER_NAMES[name]}", _OTHER_NAMES[name])
    return ""


def _with(options: str, format: str) -> str:
    from lollms_core import installed_formats

    first = "" if format in installed_formats() else f" after `lollms install {format}`"
    return f"Use `{options}`{first}."
