"""The `lollms` format: a LoLLMS server, the default of every client.

There are two kinds of server, the classic one (port 9600) and the current one (port 9642). Which one answers at the
address is asked of the server, once for a client; the user need not know.
"""

from __future__ import annotations

import dataclasses

from lollms_core.backends.lollms_classic import OPTIONS as CLASSIC_OPTIONS
from lollms_core.backends.lollms_classic import ClassicServer
from lollms_core.backends.lollms_current import CurrentServer
from lollms_core.bridges.pending import Pending
from lollms_core.errors import (
    APIConnectionError,
    AuthenticationError,
    BackendError,
    InvalidRequestError,
    LollmsError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from lollms_core.hookspecs import hookimpl
from lollms_core.http.messages import Exchange, HTTPRequest, StreamCall
from lollms_core.http_backend import HTTPBackend
from lollms_core.types import (
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

__all__ = ["LollmsBackend"]


class LollmsBackend(HTTPBackend):
    """Generates with a LoLLMS server, classic or current.

    A classic server gets prompts as raw text; a conversation, or a prompt with a system prompt, in the `!@>` layout.
    When an answer is cancelled or abandoned it is sent `POST /stop_gen`, which stops *whatever* it is generating,
    another client's answer included. A current server gets everything as chat messages.
    """

    contract_version = 1
    capabilities = Capabilities(
        options=CLASSIC_OPTIONS,
        vision=True,
        embeddings=True,
        personalities=True,
        exact_tokens=True,
        raw_prompt=True,
    )
    neutral = {}  # noqa: RUF012 -- a LoLLMS server's own default for repeat_penalty is the guide's
    default_address = "http://localhost:9600"
    key_variables = ("LOLLMS_API_KEY",)

    def __init__(self, settings: BackendSettings) -> None:
        super().__init__(settings)
        self._server: ClassicServer | CurrentServer | None = None

    def unreachable_hint(self) -> str:
        return (
            "Start a LoLLMS server there (`lollms-server`), set host_address to where one runs, or choose another "
            "format with default_generation_mode (`lollms formats` lists them)."
        )

    # --- generations -----------------------------------------------------------------------------------------------

    def open_stream(self, request: GenerationRequest) -> Exchange[StreamCall]:
        asked_before = self._server is not None
        server = yield from self._which()
        # From the second call on the client knows what this server takes and says so itself.
        if not asked_before and (ignored := request.sampling.chosen - server.options - {"stop"}):
            self.not_honoured(ignored, by="this LoLLMS server")
        return (yield from server.generate(request))

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
        `/v1/models`, with a list or, without a key, with a refusal. What answers none of them is taken for classic,
        so that the error comes from the request that the user made.
        """
        if self._server is None:
            if (yield from self._is_classic()) or not (yield from self._is_current()):
                self._server = ClassicServer(self.settings.model_name)
            else:
                self._server = CurrentServer(self.settings.model_name)
                self.capabilities = dataclasses.replace(
                    self.capabilities, options=self._server.options, raw_prompt=False
                )
        return self._server

    def _is_classic(self) -> Exchange[bool]:
        for path, kind in (("/get_generation_status", dict), ("/list_models", list)):
            try:
                value = (yield HTTPRequest(method="GET", path=path)).json()
            except (BackendError, InvalidRequestError) as error:
                _raise_if_passing(error)
                continue
            if isinstance(value, kind) and (kind is list or "status" in value):
                return True
        return False

    def _is_current(self) -> Exchange[bool]:
        try:
            value = (yield HTTPRequest(method="GET", path="/v1/models")).json()
        except (AuthenticationError, PermissionDeniedError):
            return True
        except (BackendError, InvalidRequestError) as error:
            _raise_if_passing(error)
            return False
        return isinstance(value, dict) and isinstance(value.get("data"), list)


def _raise_if_passing(error: LollmsError) -> None:
    """Raise what says nothing about the kind of server: it cannot be reached, is overloaded, or broken just now."""
    if isinstance(error, APIConnectionError | RateLimitError | ServerError):
        raise error
