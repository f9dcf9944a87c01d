"""What LiteLLM knows about models without asking the network: providers, parameters, windows, prices, vocabularies."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lollms_core import InvalidRequestError, ModelInfo
from lollms_core.tokenizers import Tokenizer, encoding_for
from lollms_litellm.loading import litellm, module

__all__ = ["Route", "describe", "exact_tokenizer", "missing_keys", "offline_models", "route"]

_VLLM = {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"}
# Parameters outside OpenAI's protocol that a provider documents, where LiteLLM's own configuration does not list them.
_BEYOND_OPENAI: dict[str, dict[str, str]] = {"hosted_vllm": _VLLM}
# The names under which LiteLLM's provider configurations hold such parameters, and ours.
_CONFIGURED = {
    "top_k": "top_k",
    "k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "repeat_last_n": "repeat_last_n",
    "num_thread": "n_threads",
    "num_ctx": "ctx_size",
}
_RAW_PROVIDERS = frozenset({"text-completion-openai", "text-completion-codestral", "azure_text"})
_KEYS: dict[str, tuple[str, ...]] = {
    "ai21": ("AI21_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "cerebras": ("CEREBRAS_API_KEY",),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "nvidia_nim": ("NVIDIA_NIM_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
    "xai": ("XAI_API_KEY",),
}
"""Providers that cannot be asked without a key, and the variables in which LiteLLM looks for it."""
_CREDENTIALS: dict[str, tuple[str, ...]] = {
    "bedrock": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"),
    "huggingface": ("HUGGINGFACE_API_KEY", "HF_TOKEN"),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    "vertex_ai": ("GOOGLE_APPLICATION_CREDENTIALS", "VERTEXAI_PROJECT"),
    "watsonx": ("WATSONX_API_KEY", "WATSONX_APIKEY"),
}
"""Variables that show that somebody uses a provider which has other ways to log in too."""
_MODES = {
    "chat": ("completion", "chat"),
    "completion": ("completion",),
    "embedding": ("embedding",),
    "responses": ("completion", "chat"),
}
"""LiteLLM's words for what a model does, and ours. Models with other modes make pictures, speech and the like."""
_ABILITIES = {
    "supports_vision": "vision",
    "supports_reasoning": "thinking",
    "supports_function_calling": "tools",
    "supports_response_schema": "json_schema",
    "supports_audio_input": "audio",
}


_FAMILY = re.compile(r"-[\w-]*models$")


@dataclass(frozen=True, slots=True)
class Route:
    """Where a model's requests go, and what may be in them."""

    model: str
    """As the caller wrote it."""
    name: str
    """Without the provider."""
    provider: str
    api_base: str | None
    api_key: str | None = field(repr=False)
    """What LiteLLM finds for the provider in the environment, beside what the caller gave."""
    parameters: frozenset[str]
    """OpenAI's parameter names that LiteLLM translates for this model."""
    beyond: dict[str, str]
    """Our names of further parameters, to the provider's."""
    max_output: int | None

    @property
    def raw_model(self) -> str | None:
        """What to ask for so that a prompt is sent as it is, without a chat template; `None`: there is no way."""
        if self.provider in _RAW_PROVIDERS:
            return self.model
        if self.provider == "openai":
            # OpenAI's own chat models have no such route.
            known = self.name in litellm().open_ai_chat_completion_models
            return None if known else f"text-completion-openai/{self.name}"
        return self.model if self.provider in litellm().openai_text_completion_compatible_providers else None

    @property
    def raw_by_openai(self) -> bool:
        """Whether raw text goes through OpenAI's library."""
        providers = ("openai", "text-completion-openai", *litellm().openai_text_completion_compatible_providers)
        return self.provider in providers


def route(model: str, api_base: str | None, api_key: str | None = None) -> Route:
    """The route of a model. Raises `InvalidRequestError` for a provider that LiteLLM does not know."""
    library = litellm()
    try:
        name, provider, key, base = library.get_llm_provider(model=model, api_base=api_base, api_key=api_key)
    except library.BadRequestError:
        raise InvalidRequestError(
            f"LiteLLM knows no provider for the model {model!r}",
            hint="Name it as provider/model, such as openai/gpt-4o-mini or hosted_vllm/NAME.",
            format="litellm",
        ) from None
    supported = library.get_supported_openai_params(model=name, custom_llm_provider=provider) or ()
    facts = _facts(model)
    return Route(
        model=model,
        name=name,
        provider=provider,
        api_base=base or api_base or _openai_default(provider, "BASE_URL"),
        api_key=key or api_key or _openai_default(provider, "API_KEY"),
        parameters=frozenset(supported),
        beyond=_beyond_openai(name, provider),
        max_output=facts.get("max_output_tokens"),
    )


def _openai_default(provider: str, name: str) -> str | None:
    return os.environ.get(f"OPENAI_{name}") if provider in ("openai", "text-completion-openai") else None


def _beyond_openai(name: str, provider: str) -> dict[str, str]:
    found = dict(_BEYOND_OPENAI.get(provider, {}))
    try:
        kind = module("litellm.types.utils").LlmProviders(provider)
        config = module("litellm.utils").ProviderConfigManager.get_provider_chat_config(model=name, provider=kind)
    except Exception:  # a provider without such a configuration: then nothing is known
        config = None
    if config is not None:
        found |= {ours: theirs for theirs, ours in _CONFIGURED.items() if hasattr(config, theirs)}
    return found


@functools.cache
def _price_list() -> dict[str, dict[str, Any]]:
    """What LiteLLM knows of each model. Read from its package: importing all of it takes seconds."""
    found = importlib.util.find_spec("litellm")
    for folder in (found.submodule_search_locations or ()) if found else ():
        with contextlib.suppress(OSError, ValueError):
            listed = json.loads(Path(folder, "model_prices_and_context_window_backup.json").read_text("utf-8"))
            return {name: entry for name, entry in listed.items() if "litellm_provider" in entry}
    return dict(litellm().model_cost)  # the file has another place now, or LiteLLM is not there, which this says


def _facts(model: str) -> dict[str, Any]:
    prices = _price_list()
    provider, _, name = model.rpartition("/")
    for entry in (prices.get(model), prices.get(name)):
        if entry is not None and provider in ("", _provider(entry)):
            return {key: value for key, value in entry.items() if value is not None}
    return {}


def _provider(entry: Mapping[str, Any]) -> str:
    # LiteLLM divides the models of some providers into families, as in `vertex_ai-anthropic_models`.
    return _FAMILY.sub("", str(entry.get("litellm_provider", "")))


def _provider_of(model: str) -> str:
    provider, slash, _ = model.partition("/")
    return provider if slash else _provider(_facts(model))


def describe(model: str) -> ModelInfo:
    """What the price list says; a model that is not in it has its name alone.

    The context window is the input limit; `metadata` holds everything else, such as `input_cost_per_token` and
    `output_cost_per_token` in US dollars, as LiteLLM names it.
    """
    facts = _facts(model)
    window = facts.get("max_input_tokens") or facts.get("max_tokens")
    return ModelInfo(
        name=model,
        context_window=window if isinstance(window, int) else None,
        capabilities=_capabilities(facts),
        metadata=facts,
    )


def _capabilities(facts: dict[str, Any]) -> tuple[str, ...]:
    return _MODES.get(str(facts.get("mode")), ()) + tuple(
        ours for theirs, ours in _ABILITIES.items() if facts.get(theirs) is True
    )


def missing_keys(model: str) -> tuple[str, ...]:
    """The environment variables of which the model's provider needs one for its key, if none of them is set."""
    provider = _provider_of(model)
    return () if _has_key(provider) else _KEYS.get(provider, ())


def offline_models(model: str | None) -> list[ModelInfo]:
    """The listed models of the providers whose keys are in the environment, and of the configured model's provider."""
    by_provider: dict[str, list[str]] = {}
    for name, entry in _price_list().items():
        if entry.get("mode") in _MODES:
            by_provider.setdefault(_provider(entry), []).append(name)
    names: dict[str, None] = {}
    providers = [provider for provider in sorted(by_provider) if _has_key(provider)]
    if model is not None:
        names[model] = None
        chosen = _provider_of(model)
        if chosen not in by_provider and chosen not in _KEYS:
            chosen = route(model, None).provider  # which imports LiteLLM, and refuses what it does not know
        providers.insert(0, chosen)
    for provider in providers:
        for name in sorted(by_provider.get(provider, ())):
            names[_qualified(name, provider)] = None
    return [describe(name) for name in names]


def _has_key(provider: str) -> bool:
    # By the names of variables alone: LiteLLM's `validate_environment` starts a login over the network for some.
    names = _KEYS.get(provider) or _CREDENTIALS.get(provider) or (f"{provider.upper()}_API_KEY",)
    return any(os.environ.get(name) for name in names)


def _qualified(name: str, provider: str) -> str:
    return name if name.startswith(f"{provider}/") else f"{provider}/{name}"


def exact_tokenizer(model: str) -> Tokenizer | None:
    """The tokenizer of one of OpenAI's models, if LiteLLM carries its vocabulary.

    `litellm.encode` is of no use here: it takes cl100k_base for newer models too.
    """
    import tiktoken

    provider, _, name = model.rpartition("/")
    if provider not in ("", "openai", "azure", "text-completion-openai"):
        return None
    try:
        tiktoken.encoding_name_for_model(name)
    except KeyError:
        return None
    module("litellm.litellm_core_utils.default_encoding")  # makes LiteLLM's folder the one that tiktoken looks into
    tokenizer = encoding_for(name)
    return tokenizer if tokenizer.exact else None
