"""The vllm format: a server by its address, or the engine in this process by a model's name."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

from lollms_core import (
    BackendSettings,
    CloseRequest,
    DetokenizeRequest,
    EmbedRequest,
    GenerationRequest,
    ListModelsRequest,
    ModelInfo,
    ModelInfoRequest,
    ModelNotFoundError,
    Pending,
    Ready,
    TokenizeRequest,
    UnsupportedError,
    UnsupportedOptionError,
    hookimpl,
)
from lollms_core.contract.backend import ALL_HOOKS
from lollms_vllm.arguments import argument_names, near_misses
from lollms_vllm.engine import Engine
from lollms_vllm.failures import missing_engine
from lollms_vllm.options import VLLMOptions
from lollms_vllm.server import VLLMServer

__all__ = ["VLLMBackend"]


class VLLMBackend(VLLMServer):
    """vLLM. With `host_address`, or without a model, a server; with `model_name` alone, the engine in this process."""

    Options = VLLMOptions
    nonblocking = ALL_HOOKS

    def __init__(self, settings: BackendSettings) -> None:
        super().__init__(settings)
        self._engine: Engine | None = None
        if _in_process(settings):
            arguments = {name: value for name, value in settings.options.items() if name not in _own_options()}
            self._engine = Engine(settings, arguments)
            self.capabilities = replace(
                self.capabilities, options=self.capabilities.options | {"ctx_size"}, embeddings=False, local=True
            )

    @classmethod
    def _checked_options(cls, settings: BackendSettings) -> Any:
        own = {name: value for name, value in settings.options.items() if name in _own_options()}
        unknown = [name for name in settings.options if name not in own]
        if unknown and not _in_process(settings):
            raise UnsupportedOptionError(
                f"the {settings.format} format has no option {unknown[0]!r} for a server",
                hint=f"{near_misses(unknown[0], _own_options())} Engine arguments are for the engine in this process: "
                "give a model_name and no host_address, or pass them to `vllm serve`.",
                format=settings.format,
            )
        known = argument_names()
        for name in unknown if known else ():
            if name not in known:
                raise UnsupportedOptionError(
                    f"neither the {settings.format} format nor vLLM's engine has an option {name!r}",
                    hint=near_misses(name, known | _own_options()),
                    format=settings.format,
                )
        return super()._checked_options(replace(settings, options=own))

    @hookimpl
    def generate(self, request: GenerationRequest) -> Any:
        """The answer, as a stream that sync and async callers iterate natively."""
        if self._engine is None:
            return super().generate(request)
        self._check_model(request.model)
        return self._engine.stream(request)

    def _check_model(self, model: str | None) -> None:
        if model not in (None, self.settings.model_name):
            raise ModelNotFoundError(
                f"the engine in this process holds {self.settings.model_name!r}, not {model!r}",
                hint="Make another client for another model.",
            )

    @hookimpl
    def list_models(self, request: ListModelsRequest) -> Pending[list[ModelInfo]]:
        """The models of the server, or the one model of the engine."""
        if self._engine is None:
            return super().list_models(request)
        if importlib.util.find_spec("vllm") is None:
            raise missing_engine(ModuleNotFoundError(name="vllm"))
        return Ready([ModelInfo(name=str(self.settings.model_name))])

    @hookimpl
    def model_info(self, request: ModelInfoRequest) -> Pending[ModelInfo]:
        """The server's entry, or what the engine knows; starts the engine."""
        if self._engine is None:
            return super().model_info(request)
        self._check_model(request.model)
        return self._engine.model_info(request)

    @hookimpl
    def tokenize(self, request: TokenizeRequest) -> Pending[list[int] | None] | None:
        """The model's own tokens; starts the engine."""
        if self._engine is None:
            return super().tokenize(request)
        self._check_model(request.model)
        return self._engine.tokenize(request)

    @hookimpl
    def detokenize(self, request: DetokenizeRequest) -> Pending[str | None] | None:
        """The text of tokens; starts the engine."""
        if self._engine is None:
            return super().detokenize(request)
        self._check_model(request.model)
        return self._engine.detokenize(request)

    @hookimpl
    def embed(self, request: EmbedRequest) -> Any:
        """The server's vectors; the engine in this process, which answers, has none."""
        if self._engine is None:
            return super().embed(request)
        raise UnsupportedError(
            "vLLM's engine in this process answers and has no embeddings",
            hint="Start a server with an embedding model (`vllm serve MODEL --runner pooling`) and give its address as "
            "host_address.",
        )

    @hookimpl
    def close(self, request: CloseRequest) -> None:
        """Close the connections, or end the engine's process."""
        if self._engine is not None:
            self._engine.close()
        super().close(request)


def _in_process(settings: BackendSettings) -> bool:
    return settings.host_address is None and bool(settings.model_name)


def _own_options() -> frozenset[str]:
    return frozenset(VLLMOptions.model_fields)
