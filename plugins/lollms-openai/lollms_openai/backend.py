"""The openai format: OpenAI's chat and completion routes, and servers that have them too."""

from __future__ import annotations

import difflib
import functools
import os
import re
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    BackendSettings,
    Capabilities,
    ContextWindowError,
    DetokenizeRequest,
    EmbedRequest,
    GenerationRequest,
    ImageError,
    InvalidRequestError,
    ListModelsRequest,
    LollmsError,
    ModelInfo,
    ModelInfoRequest,
    ModelNotFoundError,
    ModelRequiredError,
    Pending,
    TokenizeRequest,
    UnsupportedError,
    hookimpl,
)
from lollms_core.contract.backend import ALL_HOOKS
from lollms_core.http import Decoder, Exchange, HTTPBackend, HTTPRequest, StreamCall, one_length
from lollms_core.protocols.openai import CORE_FIELDS, ChatDecoder, chat_body, completion_body, read_embeddings
from lollms_core.protocols.refusals import LIMITS, OPTION_OF, Memory, Refusal, room_left
from lollms_openai.decoders import NotingDecoder, StopDecoder
from lollms_openai.endpoint import Endpoint
from lollms_openai.models import read_models
from lollms_openai.options import OpenAIOptions
from lollms_openai.token_routes import TokenRoutes

__all__ = ["OpenAIBackend"]

_EXTRA_FIELDS = {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"}
"""What OpenAI refuses and most other servers take; sent only where the caller chose a value."""

_MOST_STOPS = 4
"""OpenAI takes no more stop sequences."""

_MOST_TEXTS = 2048
"""OpenAI embeds no more texts in one request."""

_LEAST_GUESS = 512


class OpenAIBackend(HTTPBackend):
    """OpenAI, and every server that speaks its protocol, at `host_address` or `OPENAI_BASE_URL`.

    Protocol: OpenAI's API reference. `capabilities` of an instance depend on its address.
    """

    contract_version = 1
    nonblocking = ALL_HOOKS

    default_address = "https://api.openai.com/v1"
    address_variable: ClassVar[str | None] = "OPENAI_BASE_URL"
    key_variables = ("OPENAI_API_KEY",)
    Options = OpenAIOptions
    options: OpenAIOptions

    capabilities = Capabilities(
        options=frozenset(
            {"n_predict", "temperature", "top_p", "seed", "stop", "system_prompt", "messages", "json_schema", "think"}
        ),
        vision=True,
        parts=frozenset({"provider", "tool_call", "tool_result"}),
        embeddings=True,
        raw_prompt=True,
    )
    """Of OpenAI's own server. Another one takes more: see `extra_options`."""

    extra_options: ClassVar[frozenset[str]] = frozenset(_EXTRA_FIELDS)
    """What servers other than OpenAI's are taken to honour besides."""

    def __init__(self, settings: BackendSettings) -> None:
        super().__init__(settings)
        self._memory = Memory()
        # Not on the errors: what a server said may hold what it was sent, a key for one.
        self._refusals: weakref.WeakKeyDictionary[LollmsError, Refusal] = weakref.WeakKeyDictionary()
        self._windows: dict[str, int] = {}
        self._only_model: str | None = None
        if not self.is_openai:
            self.capabilities = replace(self.capabilities, options=self.capabilities.options | self.extra_options)
        self._token_routes = None if self.is_openai else TokenRoutes(self._endpoint)

    # --- where, and with which key ---------------------------------------------------------------------------------

    @functools.cached_property
    def _endpoint(self) -> Endpoint:
        return Endpoint.parse(super().base_address(), self.options.api_path)

    @property
    def is_openai(self) -> bool:
        """Whether the server is OpenAI's own, or Azure's, which refuse what they do not know."""
        return self._endpoint.kind != "compatible"

    def base_address(self) -> str:
        """The server's root; the path of the API is in each request."""
        return self._endpoint.root

    def request_headers(self) -> dict[str, str]:
        """The key, organisation and project, then the client's own headers.

        Raises:
            AuthenticationError: the server is OpenAI's and there is no key. Nothing has been sent then.
        """
        headers = super().request_headers()
        key = self.key
        given = {name.lower() for name in self.settings.headers}
        if self.is_openai and not key and not given & {"authorization", "api-key"}:
            raise AuthenticationError(
                f"{self.address} needs a key, and there is none",
                hint=f"{self.key_hint()} For a server of your own, set host_address or {self.address_variable}.",
            )
        if self._endpoint.kind == "azure" and key and "api-key" not in given and not key.startswith("eyJ"):
            headers["api-key"] = key  # Azure's own keys; what begins with eyJ is a token of Microsoft Entra
            if "authorization" not in given:
                del headers["Authorization"]
        ours = {
            "OpenAI-Organization": self.options.organization or self._from_environment("OPENAI_ORG_ID"),
            "OpenAI-Project": self.options.project or self._from_environment("OPENAI_PROJECT_ID"),
        }
        headers.update({name: value for name, value in ours.items() if value and name.lower() not in given})
        return headers

    def _from_environment(self, name: str) -> str | None:
        # They say who pays at OpenAI, which is nobody else's business.
        return os.environ.get(name) if self._endpoint.kind == "openai" else None

    def unreachable_hint(self) -> str:
        if self.is_openai:
            return "Check the network connection and the proxy settings."
        return super().unreachable_hint()

    # --- generation ------------------------------------------------------------------------------------------------

    def open_stream(self, request: GenerationRequest) -> Exchange[StreamCall]:
        _one_answer(request)
        model = yield from self._resolve(request.model)
        body = self._chat_body(request, model) if _is_chat(request) else self._completion_body(request, model)
        gone = self._memory.strip(_route_key(request, model), body, request.extra)
        self._say_dropped(gone, request, model)
        self._fit(request, body, model)
        return self._call(request, body)

    def _fields(self, request: GenerationRequest, model: str, limit: str) -> dict[str, str]:
        sampling = request.sampling
        fields = {name: wire for name, wire in CORE_FIELDS.items() if name != "n_predict"}
        if not self.is_openai:
            fields |= {name: wire for name, wire in _EXTRA_FIELDS.items() if name in sampling.chosen}
        elif len(sampling.stop) > _MOST_STOPS:
            del fields["stop"]
        fields["n_predict"] = self._memory.limit_name(_route_key(request, model), limit)
        return fields

    def _fit(self, request: GenerationRequest, body: dict[str, Any], model: str) -> None:
        """Take back a limit of new tokens that nobody chose and that is beyond the model's window."""
        window = self._windows.get(model)
        if window is None or "n_predict" in request.sampling.chosen:
            return
        for name in LIMITS:
            if name in body and name not in request.extra and body[name] >= window:
                # Left out, it means all that fits; but on the route of raw prompts it means sixteen.
                if _is_chat(request):
                    del body[name]
                else:
                    body[name] = window - 1

    def _chat_body(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        fields = self._fields(request, model, LIMITS[0] if self.is_openai else LIMITS[1])
        body = chat_body(request, model=model, fields=fields)
        for name, value in self.think_fields(request.think).items():
            body.setdefault(name, value)
        return body

    def _completion_body(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        if request.messages:
            raise InvalidRequestError(
                "a conversation cannot be sent raw", hint="Give one prompt, or leave out completion_format=Instruct."
            )
        if request.images:
            raise ImageError("a raw prompt (Instruct) cannot carry images", hint="Leave completion_format at Chat.")
        if request.think is not None:
            self.not_honoured({"think"}, by="a raw prompt (Instruct)")
        return completion_body(request, model=model, fields=self._fields(request, model, LIMITS[1]))

    def think_fields(self, think: bool | str | None) -> dict[str, Any]:
        """The fields of a chat request that ask for reasoning, or forbid it."""
        if think is None:
            return {}
        return {"reasoning_effort": think if isinstance(think, str) else "medium" if think else "none"}

    def _call(self, request: GenerationRequest, body: dict[str, Any]) -> StreamCall:
        # Some servers, such as `transformers serve`, take stop sequences and leave them in the text.
        trusted = self.is_openai or "include_stop_str_in_output" in body
        stop = () if trusted and "stop" in body else request.sampling.stop
        path = "/chat/completions" if _is_chat(request) else "/completions"

        def decoder(headers: Mapping[str, str]) -> Decoder:
            found: Decoder = ChatDecoder(headers)
            if stop:
                found = StopDecoder(found, stop)
            if request.json_schema is not None:
                found = NotingDecoder(found, {"json_schema": "response_format: json_schema, strict"})
            return found

        return StreamCall(request=HTTPRequest(path=self._endpoint.route(path), json=body), decoder=decoder)

    # --- what a server refuses ---------------------------------------------------------------------------------------

    def error_from(self, status: int, headers: Mapping[str, str], body: bytes) -> LollmsError:
        error = super().error_from(status, headers, body)
        if status in (400, 422):
            self._refusals[error] = Refusal.read(body)
        return error

    def revise(self, request: GenerationRequest, call: StreamCall, error: LollmsError) -> Exchange[StreamCall | None]:
        body = dict(call.request.json)
        if isinstance(error, ModelNotFoundError) and self._only_model and body["model"] == self._only_model:
            # The server was started again, with another model than the one that it had alone.
            gone, self._only_model = self._only_model, None
            model = yield from self._resolve(request.model)
            return None if model == gone else self._call(request, {**body, "model": model})
        refusal = self._refusals.get(error)
        if refusal is None:
            return None
        if self._without_refused(request, body, refusal) or self._with_less(request, body, refusal, error):
            return self._call(request, body)
        _explain(request, refusal, error)
        return None

    def _without_refused(self, request: GenerationRequest, body: dict[str, Any], refusal: Refusal) -> bool:
        """Drop or rename the one field that the server does not support, and remember it."""
        candidates = [name for name in OPTION_OF if name in body and name not in request.extra]
        spare = [name for name in candidates if OPTION_OF[name] not in request.sampling.chosen]
        name = refusal.field(candidates, spare)
        if name is None:
            return False
        key = _route_key(request, body["model"])
        value = body.pop(name)
        if name == "stream_options":
            self._memory.stream_options = False
        elif name in LIMITS and _is_chat(request) and (other := self._memory.rename_limit(key, name)):
            body[other] = value
        else:
            self._memory.drop(key, name, value)
            self._say_dropped([name], request, body["model"])
        return True

    def _with_less(
        self, request: GenerationRequest, body: dict[str, Any], refusal: Refusal, error: LollmsError
    ) -> bool:
        """Lower a limit of new tokens that nobody chose and that does not fit into the window."""
        name = next((name for name in LIMITS if name in body), None)
        if name is None or name in request.extra or "n_predict" in request.sampling.chosen:
            return False
        if not (isinstance(error, ContextWindowError) or refusal.param == name):
            return False
        room = room_left(refusal.text)
        if room is not None and room <= 0:
            return False  # the prompt alone is too long
        limit: int = body.pop(name)
        if room is not None and room < limit:
            body[name] = room
        elif not _is_chat(request):
            # Without a limit this route gives sixteen tokens.
            body[name] = limit // 2
            return limit > _LEAST_GUESS
        return True

    def _say_dropped(self, fields: list[str], request: GenerationRequest, model: str) -> None:
        for name in fields:
            option = OPTION_OF[name]
            chosen = request.think is not None if option == "think" else option in request.sampling.chosen
            if chosen and option != "stop":  # the decoder looks for stop sequences then
                self.not_honoured({option}, by=model, hint=f"The server refused {name}.")

    # --- models ------------------------------------------------------------------------------------------------------

    def _resolve(self, model: str | None) -> Exchange[str]:
        """The model to use: the one that was named, else the only one that the server has."""
        found = model or self.settings.model_name or self._only_model
        if found:
            return found
        models = yield from self._models()
        # vLLM lists adapters beside the model that they belong to.
        bases = [info.name for info in models if not info.metadata.get("parent")]
        if len(bases) == 1:
            self._only_model = bases[0]
            return bases[0]
        shown = ", ".join(bases[:8]) + (", …" if len(bases) > 8 else "")
        raise ModelRequiredError(
            f"{self.address} has {len(bases)} models and none was chosen" + (f": {shown}" if shown else ""),
            hint="Pass model_name; `client.list_models()` lists the names.",
        )

    def _models(self) -> Exchange[list[ModelInfo]]:
        response = yield HTTPRequest(method="GET", path=self._endpoint.route("/models"))
        models = read_models(response.json())
        self._windows.update({info.name: info.context_window for info in models if info.context_window})
        return models

    def _model_info(self, model: str | None) -> Exchange[ModelInfo]:
        name = yield from self._resolve(model)
        models = yield from self._models()
        for info in models:
            if info.name == name:
                return info
        close = difflib.get_close_matches(name, [info.name for info in models], n=3)
        raise ModelNotFoundError(
            f"{self.address} has no model {name!r}",
            hint=f"Did you mean {' or '.join(close)}?"
            if close
            else "`client.list_models()` lists the names that it knows.",
        )

    @hookimpl
    def list_models(self, request: ListModelsRequest) -> Pending[list[ModelInfo]]:
        """What `/v1/models` lists, in its order."""
        return self.ask(self._models(), request)

    @hookimpl
    def model_info(self, request: ModelInfoRequest) -> Pending[ModelInfo]:
        """The model's entry in `/v1/models`. OpenAI's own does not give the window."""
        return self.ask(self._model_info(request.model), request)

    # --- tokens and vectors ------------------------------------------------------------------------------------------

    def _token_model(self, model: str | None) -> Exchange[str | None]:
        try:
            return (yield from self._resolve(model))
        except APIConnectionError:
            raise
        except LollmsError:
            return None  # several models and none chosen, or a server without a list: it may not mind

    def _tokenize(self, routes: TokenRoutes, request: TokenizeRequest) -> Exchange[list[int] | None]:
        tokens = None
        if not routes.absent:
            model = yield from self._token_model(request.model)
            tokens = yield from routes.tokenize(request.text, model)
        if self.capabilities.exact_tokens != (tokens is not None):
            self.capabilities = replace(self.capabilities, exact_tokens=tokens is not None)
        return tokens

    def _detokenize(self, routes: TokenRoutes, request: DetokenizeRequest) -> Exchange[str | None]:
        if routes.absent:
            return None
        model = yield from self._token_model(request.model)
        return (yield from routes.detokenize(request.tokens, model))

    @hookimpl
    def tokenize(self, request: TokenizeRequest) -> Pending[list[int] | None] | None:
        """The tokens by the server's own route; `None`, for tiktoken, where it has none, as at OpenAI."""
        if self._token_routes is None:
            return None
        return self.ask(self._tokenize(self._token_routes, request), request)

    @hookimpl
    def detokenize(self, request: DetokenizeRequest) -> Pending[str | None] | None:
        """The text by the server's own route, or `None`."""
        if self._token_routes is None:
            return None
        return self.ask(self._detokenize(self._token_routes, request), request)

    @hookimpl
    def embed(self, request: EmbedRequest) -> Pending[list[list[float]]]:
        """The vectors that `/v1/embeddings` gives, with the model of the option `embedding_model`."""
        return self.ask(self._embed(request), request)

    def _embed(self, request: EmbedRequest) -> Exchange[list[list[float]]]:
        model = yield from self._resolve(self.options.embedding_model or request.model)
        vectors: list[list[float]] = []
        for start in range(0, len(request.texts), _MOST_TEXTS):
            texts = list(request.texts[start : start + _MOST_TEXTS])
            body = {"model": model, "input": texts}
            try:
                response = yield HTTPRequest(path=self._endpoint.route("/embeddings"), json=body)
            except APIStatusError as error:
                if error.status_code not in (404, 405):
                    raise
                raise UnsupportedError(
                    f"{self.address} has no route for embeddings with {model}",
                    hint="Serve an embedding model, and name it with the option embedding_model.",
                    status_code=error.status_code,
                ) from error
            vectors += read_embeddings(response.json(), len(texts), first=start + 1)
        one_length(vectors)
        return vectors


def _one_answer(request: GenerationRequest) -> None:
    if request.extra.get("n", 1) not in (None, 1):
        raise InvalidRequestError(
            "extra cannot ask for several answers (n): a call has one", hint="Make one call for each answer."
        )


def _is_chat(request: GenerationRequest) -> bool:
    return request.completion_format is ELF_COMPLETION_FORMAT.Chat


def _route_key(request: GenerationRequest, model: str) -> str:
    """What refusals are remembered for: the two routes of a server need not take the same fields."""
    return model if _is_chat(request) else f"{model} (raw)"


def _explain(request: GenerationRequest, refusal: Refusal, error: LollmsError) -> None:
    """Raise a better error, if it is clear what the server does not take."""
    about = f"{refusal.param} {refusal.text}"
    if request.all_images and re.search(r"multimodal|multi-modal|image|vision", about, re.IGNORECASE):
        raise ImageError(
            f"the server refused the image: {error.message}",
            hint="Choose a model that sees, and an image of a kind and size that it takes.",
            status_code=error.status_code,
        ) from error
    if request.json_schema is not None and re.search(r"schema|response_format|additionalProperties", about):
        raise InvalidRequestError(
            f"the server refused the JSON schema: {error.message}",
            hint="Strict structured output wants `additionalProperties: false` and every property in `required`, in "
            "each object of the schema; a pydantic model does so with `ConfigDict(extra='forbid')` and no defaults.",
            status_code=error.status_code,
        ) from error
