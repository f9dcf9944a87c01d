"""`LiteLLMBackend`: the `litellm` format."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from lollms_core import (
    APITimeoutError,
    Backend,
    BackendSettings,
    Capabilities,
    Chunk,
    CloseRequest,
    ConfigurationError,
    DetokenizeRequest,
    EmbedRequest,
    GenerationRequest,
    ListModelsRequest,
    LollmsError,
    ModelInfo,
    ModelInfoRequest,
    ModelRequiredError,
    TokenCount,
    TokenizeRequest,
    hookimpl,
)
from lollms_core.http import Retries, decoded, mask, prepared_headers
from lollms_core.protocols.openai import read_embeddings
from lollms_core.tokenizers import Tokenizer
from lollms_litellm import catalogue
from lollms_litellm.arguments import RESERVED, arguments
from lollms_litellm.calls import BACKOFF, Call, Learned
from lollms_litellm.clients import Clients, Witness
from lollms_litellm.faults import about_images, from_litellm
from lollms_litellm.loading import litellm
from lollms_litellm.relay import relay

__all__ = ["LiteLLMBackend", "LiteLLMOptions"]

T = TypeVar("T")

_NAME_OF_A_KEY = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)S?$", re.IGNORECASE)
_AS_LONG_AS_KEYS = 8
_KEY_IN_OWN_HEADER = frozenset({"anthropic", "gemini"})
_REFUSED = "The provider refused it."
_OWN_NAME = "If its server knows the option, pass it under the server's own name in `extra`."


class LiteLLMOptions(BaseModel):
    """What the `litellm` format can be told beyond the client's own parameters."""

    model_config = ConfigDict(extra="forbid")

    params: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Keyword arguments for every call of LiteLLM, such as `api_version`, `aws_region_name` or `vertex_project`."""
    embedding_model: str | None = None
    """The `provider/model` for `embed`; by default the client's model."""


class LiteLLMBackend(Backend):
    """Any `provider/model` that LiteLLM can reach. LiteLLM is imported by the first call, not before."""

    contract_version = 1
    no_models = (
        "The list has the models of the providers whose keys are set, such as OPENAI_API_KEY. A model is named "
        "`provider/model`."
    )
    # "stop" is not declared, so that the core cuts at any number of sequences whatever the provider can; they are
    # sent too, up to the four that providers take.
    capabilities = Capabilities(
        options=frozenset(
            {
                "ctx_size",
                "messages",
                "n_predict",
                "temperature",
                "top_k",
                "top_p",
                "min_p",
                "repeat_penalty",
                "repeat_last_n",
                "n_threads",
                "seed",
                "system_prompt",
                "json_schema",
                "think",
            }
        ),
        vision=True,
        parts=frozenset({"provider", "tool_call", "tool_result"}),
        embeddings=True,
        raw_prompt=True,
        needs_model=True,
    )
    Options = LiteLLMOptions
    options: LiteLLMOptions

    def __init__(self, settings: BackendSettings) -> None:
        super().__init__(settings)
        self._clients = Clients(settings)
        self._learned = Learned()
        self._secrets = _secrets(settings, self.options)

    @hookimpl
    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        model = self._model(request.model)
        # The import takes seconds, which the caller's event loop must not stand still for.
        await asyncio.to_thread(litellm)
        route = self._route(model)
        settings = self.settings
        num_ctx = settings.ctx_size if settings.ctx_size_chosen else None
        call = arguments(request, route, limit=self._limit, num_ctx=num_ctx)
        if call.ignored:
            self.not_honoured(call.ignored, by=model, hint=_OWN_NAME)

        def refused(options: Collection[str]) -> None:
            self.not_honoured(options, by=model, hint=_REFUSED)

        gone = {call.ours.pop(name) for name in self._learned.memory.strip(call.key, call.values, request.extra)}
        if unmet := (gone & call.chosen) - {"stop"}:  # the client looks for stop sequences itself
            refused(unmet)
        await self._clients.used()
        common = self._common(route)
        if (call.raw and route.raw_by_openai) or route.provider == "text-completion-openai":
            common["client"] = Witness(self._clients.openai(route.api_base, route.api_key))
        work = Call(
            call,
            common,
            timeouts=settings.timeouts,
            max_retries=settings.max_retries,
            translate=lambda error, begun: about_images(
                self._error(error, begun=begun, model=model, extra=request.extra), sent=bool(request.all_images)
            ),
            learned=self._learned,
            not_honoured=refused,
        )
        stream = relay(work.produce, request.cancel)
        try:
            async for chunk in stream:
                yield chunk
        finally:
            await stream.aclose()

    @hookimpl
    def list_models(self, request: ListModelsRequest) -> list[ModelInfo]:
        return self._guarded(lambda: catalogue.offline_models(self.settings.model_name))

    @hookimpl
    def model_info(self, request: ModelInfoRequest) -> ModelInfo:
        return self._guarded(lambda: self._described(self._model(request.model)))

    @hookimpl
    def tokenize(self, request: TokenizeRequest) -> list[int] | None:
        tokenizer = self._tokenizer(request.model)
        return None if tokenizer is None else tokenizer.encode(request.text)

    @hookimpl
    def count_tokens(self, request: TokenizeRequest) -> TokenCount | None:
        tokens = self.tokenize(request)
        return None if tokens is None else TokenCount(len(tokens), exact=True)

    @hookimpl
    def detokenize(self, request: DetokenizeRequest) -> str | None:
        tokenizer = self._tokenizer(request.model)
        return None if tokenizer is None else tokenizer.decode(request.tokens)

    def _tokenizer(self, model: str | None) -> Tokenizer | None:
        name = model or self.settings.model_name
        return None if name is None else self._guarded(lambda: catalogue.exact_tokenizer(name))

    @hookimpl
    async def embed(self, request: EmbedRequest) -> list[list[float]]:
        model = self._model(self.options.embedding_model or request.model)
        await asyncio.to_thread(litellm)
        route = self._route(model)
        await self._clients.used()
        values = self._common(route) | {"model": model, "input": list(request.texts)}
        library = litellm()
        if route.provider == "openai" or route.provider in library.openai_compatible_providers:
            # With a client of its own, LiteLLM takes 0 retries for its default.
            values.setdefault("client", self._clients.openai(route.api_base, route.api_key))
        answer = await self._retried(lambda: self._in_time(library.aembedding(**values)), model)
        rows = [item if isinstance(item, dict) else item.model_dump() for item in answer.data or ()]
        return read_embeddings({"data": rows}, len(request.texts))

    @hookimpl
    async def close(self, request: CloseRequest) -> None:
        await self._clients.close()

    # --- the parts of a call -----------------------------------------------------------------------------------------

    def _model(self, model: str | None) -> str:
        name = model or self.settings.model_name
        if not name:
            raise ModelRequiredError(
                "the litellm format needs a model_name",
                hint='Name it as provider/model, for example model_name="openai/gpt-4o-mini".',
                format=self.settings.format,
            )
        return name

    def _limit(self, key: str) -> tuple[str, int | None]:
        return self._learned.memory.limit_name(key, "max_tokens"), self._learned.limits.get(key)

    def _described(self, model: str) -> ModelInfo:
        info = catalogue.describe(model)
        info = replace(info, metadata={**info.metadata, "asked": False})  # of the provider; the doctor says so
        if self._key() or "api_key" in self.options.params:
            return info
        missing = catalogue.missing_keys(model)
        return replace(info, metadata={**info.metadata, "missing_keys": missing}) if missing else info

    def _key(self) -> str | None:
        key = self.settings.api_key
        return key.get_secret_value().strip() if key is not None else None

    def _route(self, model: str) -> catalogue.Route:
        return self._guarded(lambda: catalogue.route(model, self.settings.host_address, self._key()))

    def _common(self, route: catalogue.Route) -> dict[str, Any]:
        """The keyword arguments of every call. Retries are ours, so that they are the same for all providers."""
        settings = self.settings
        values: dict[str, Any] = {"max_retries": 0, "timeout": self._clients.timeout(settings.timeouts)}
        if (key := self._key()) is not None:
            values["api_key"] = key
        if settings.host_address is not None:
            values["api_base"] = settings.host_address
        # LiteLLM would take what cannot be sent for a fault of the server, which passes.
        prepared_headers({**settings.headers, "Authorization": f"Bearer {key}"})
        _check_address(settings.host_address or "", with_key=bool(key))
        if settings.headers:
            values["extra_headers"] = dict(settings.headers)
        if settings.verify_ssl_certificate is not True:
            values |= self._clients.unverified(route.provider, route.api_base, route.api_key)
        if route.provider in _KEY_IN_OWN_HEADER:
            values["client"] = self._clients.staying(route.provider)
        return values | {name: value for name, value in self.options.params.items() if name not in RESERVED}

    async def _retried(self, attempt: Callable[[], Awaitable[T]], model: str) -> T:
        retries = Retries(self.settings.max_retries, BACKOFF)
        while True:
            try:
                return await attempt()
            except APITimeoutError:
                raise  # patience has an end for all attempts together
            except Exception as caught:
                error = self._error(caught, model=model)
            wait = retries.wait(error)
            if wait is None:
                raise error
            await asyncio.sleep(wait)

    async def _in_time(self, answer: Awaitable[T]) -> T:
        """An answer within the first-token limit: LiteLLM's is for each silence, and not kept by all."""
        limit = self.settings.timeouts.first_token
        work = asyncio.ensure_future(answer)
        try:
            done, _ = await asyncio.wait({work}, timeout=limit)
            if done:
                return work.result()
        finally:
            work.cancel()
        raise APITimeoutError(
            f"the provider did not answer within {limit:g} seconds",
            hint="Give it more time: set another limit for the first_token timeout (Timeouts(first_token=...)).",
        )

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except Exception as caught:
            error = self._error(caught)
        raise error

    def _error(
        self,
        error: BaseException,
        *,
        begun: bool = False,
        model: str | None = None,
        extra: Mapping[str, Any] = MappingProxyType({}),
    ) -> LollmsError:
        secrets = (*self._secrets, *_of_the_environment(), *_named_secrets(extra))
        return from_litellm(error, secrets=secrets, begun=begun, model=model)


def _secrets(settings: BackendSettings, options: LiteLLMOptions) -> tuple[str, ...]:
    """Texts of the client's that must not appear in an error."""
    found = set(_named_secrets(options.params))
    for value in settings.headers.values():
        found |= {value, *decoded(value)}
    if settings.api_key is not None:
        found.add(settings.api_key.get_secret_value())
    return tuple(found)


def _of_the_environment() -> list[str]:
    """Keys that LiteLLM may have found by itself, under the name that a provider's documentation gives them."""
    named = (value for name, value in os.environ.items() if _NAME_OF_A_KEY.search(name))
    return [value for value in named if len(value) >= _AS_LONG_AS_KEYS]


def _named_secrets(values: Mapping[str, Any]) -> Iterator[str]:
    """Texts that must not be shown, at any depth: of headers and credentials all, elsewhere what is named as one."""
    for name, value in values.items():
        secret = _is_secret(str(name))
        if isinstance(value, Mapping):
            if secret or "headers" in str(name).lower():
                yield from _texts(value)
            else:
                yield from _named_secrets(value)
        elif secret:
            yield from _texts(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value
        yield value.rpartition(" ")[2]  # without `Bearer`
        yield from decoded(value)


def _check_address(address: str, *, with_key: bool) -> None:
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018
    except ValueError as error:
        raise ConfigurationError(
            f"{mask(address)!r} is not a server address: {error}", hint="Write it like http://localhost:8000/v1."
        ) from None
    if with_key and parts.username is not None:
        raise ConfigurationError(
            f"{mask(address)!r} has a user name in it, and there is a key: LiteLLM cannot send both",
            hint="Leave one of them out.",
        )


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in ("key", "secret", "token", "password", "credential"))
