"""The `lollms` format: a LoLLMS server, the default of every client.

There are two kinds of server, the classic one (port 9600) and the current one (port 9642). Which one answers at the
address is asked of the server, once for a client; the user need not know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lollms_core._backends.lollms_classic import ClassicServer, no_model_error, says_no_model
from lollms_core._backends.lollms_current import CurrentServer
from lollms_core.contract.backend import ALL_HOOKS
from lollms_core.contract.errors import (
    APIConnectionError,
    AuthenticationError,
    BackendError,
    InvalidRequestError,
    LollmsError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from lollms_core.contract.hookspecs import hookimpl
from lollms_core.contract.pending import Pending
from lollms_core.contract.types import (
    BackendSettings,
    Capabilities,
    DetokenizeRequest,
    EmbedRequest,
    GenerationRequest,
    ListModelsRequest,
    ListPersonalitiesRequest,
    ModelInfo,
    ModelInfoRequest,
    Personality,
    TokenizeRequest,
)
from lollms_core.http._backend import HTTPBackend
from lollms_core.http._exchange import Exchange, HTTPRequest, StreamCall

__all__ = ["LollmsBackend"]


class LollmsBackend(HTTPBackend):
    """Generates with a LoLLMS server, classic or current.

    A classic server gets prompts as raw text; a conversation, or a prompt with a system prompt, in the `!@>` layout.
    When an answer is cancelled or abandoned while it is running, the server is sent `POST /stop_gen`, and the answer is
    read to its end. A `model_name` switches the model of the server for everyone.

    A current server gets everything as chat messages. It has one engine for each user, so that the generations of one
    client run one after another; those of two clients with the same key end each other's.
    """

    contract_version = 1
    nonblocking = ALL_HOOKS
    capabilities = Capabilities(
        options=ClassicServer.options | CurrentServer.options,
        vision=True,
        embeddings=True,
        personalities=True,
        exact_tokens=True,
        raw_prompt=True,
    )
    neutral = {}  # noqa: RUF012 -- a LoLLMS server's own default for repeat_penalty is ours
    default_address = "http://localhost:9600"
    key_variables = ("LOLLMS_API_KEY",)

    def __init__(self, settings: BackendSettings) -> None:
        super().__init__(settings)
        self._server: ClassicServer | CurrentServer | None = None

    def unreachable_hint(self) -> str:
        return (
            "Start a LoLLMS server there (`lollms-server`), set host_address to where one runs (the current one: port "
            "9642), or choose another "
            "format with default_generation_mode (`lollms formats` lists them)."
        )

    def error_from(self, status: int, headers: Mapping[str, str], body: bytes) -> LollmsError:
        error = super().error_from(status, headers, body)
        if says_no_model(error.message):
            return no_model_error()
        if status == 403 and self._server is not None:
            error.hint = self._server.forbidden_hint(error.message) or error.hint
        return error

    # --- generations -----------------------------------------------------------------------------------------------

    def open_stream(self, request: GenerationRequest) -> Exchange[StreamCall]:
        declared = self.capabilities.options
        server = yield from self._which()
        # Of what is not declared, the client has said that it has no effect.
        if ignored := server.ignored(request) & declared:
            self.not_honoured(ignored, by="this LoLLMS server" + (", for images," if request.all_images else ""))
        return (yield from server.generate(request))

    def revise(self, request: GenerationRequest, call: StreamCall, error: LollmsError) -> Exchange[StreamCall | None]:
        return None if self._server is None else (yield from self._server.revise(call, error))

    def farewell(self, request: GenerationRequest) -> HTTPRequest | None:
        return None if self._server is None else self._server.farewell()

    # --- questions -------------------------------------------------------------------------------------------------

    @hookimpl
    def list_models(self, request: ListModelsRequest) -> Pending[list[ModelInfo]]:
        def ask() -> Exchange[list[ModelInfo]]:
            return (yield from (yield from self._which()).list_models())

        return self.ask(ask(), request)

    @hookimpl
    def model_info(self, request: ModelInfoRequest) -> Pending[ModelInfo]:
        def ask() -> Exchange[ModelInfo]:
            return (yield from (yield from self._which()).model_info(request.model))

        return self.ask(ask(), request)

    @hookimpl
    def tokenize(self, request: TokenizeRequest) -> Pending[list[int]]:
        def ask() -> Exchange[list[int]]:
            return (yield from (yield from self._which()).tokenize(request))

        return self.ask(ask(), request)

    @hookimpl
    def detokenize(self, request: DetokenizeRequest) -> Pending[str]:
        def ask() -> Exchange[str]:
            return (yield from (yield from self._which()).detokenize(request))

        return self.ask(ask(), request)

    @hookimpl
    def embed(self, request: EmbedRequest) -> Pending[list[list[float]]]:
        def ask() -> Exchange[list[list[float]]]:
            return (yield from (yield from self._which()).embed(request))

        return self.ask(ask(), request)

    @hookimpl
    def list_personalities(self, request: ListPersonalitiesRequest) -> Pending[list[Personality]]:
        def ask() -> Exchange[list[Personality]]:
            return (yield from (yield from self._which()).list_personalities())

        return self.ask(ask(), request)

    # --- which server ----------------------------------------------------------------------------------------------

    def _which(self) -> Exchange[ClassicServer | CurrentServer]:
        """The kind of server that answers; asked once.

        Only a classic server answers `/get_generation_status` or `/list_models` with JSON. A current server answers
        `/v1/models`, with a list or, without a key or where its API is off, with a refusal. What answers none of them
        is taken for classic, so that the error comes from the request that the user made, and is asked again the next
        time: it may be starting.
        """
        if self._server is not None:
            return self._server
        server: ClassicServer | CurrentServer = ClassicServer(self.settings.model_name)
        if not (yield from self._is_classic()):
            if not (yield from self._is_current()):
                return server
            server = CurrentServer(self.settings.model_name)
        if self._server is None:  # no other thread has found it out meanwhile, whose turns must be everybody's
            self._server = server
        self.capabilities = dataclasses.replace(
            self.capabilities,
            options=server.options,
            raw_prompt=server.raw_prompt,
        )
        return self._server

    def _is_classic(self) -> Exchange[bool]:
        for path, kind in (("/get_generation_status", dict), ("/list_models", list)):
            value = yield from self._answered(path)
            if isinstance(value, kind) and (kind is list or "status" in value):
                return True
        return False

    def _is_current(self) -> Exchange[bool]:
        try:
            value = yield from self._answered("/v1/models")
        except (AuthenticationError, PermissionDeniedError):
            return True
        return isinstance(value, dict) and isinstance(value.get("data"), list)

    def _answered(self, path: str) -> Exchange[Any]:
        """The JSON of a route; `None` if there is no such route, or it gives something else.

        Raises what says nothing about the kind of server: it cannot be reached, does not speak HTTP, is overloaded, or
        broken just now; or a key or a proxy's password is missing.
        """
        try:
            response = yield HTTPRequest(method="GET", path=path)
        except (APIConnectionError, ProtocolError, RateLimitError, ServerError):
            raise
        except (AuthenticationError, PermissionDeniedError) as error:
            if path == "/v1/models" or error.status_code == 407:
                raise
            return None
        except (BackendError, InvalidRequestError):
            return None
        try:
            return response.json()
        except ProtocolError:
            return None
