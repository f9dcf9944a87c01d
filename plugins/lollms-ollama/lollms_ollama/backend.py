"""`OllamaBackend`: generates with an Ollama server (its API: https://docs.ollama.com/api)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lollms_core import (
    APIStatusError,
    BackendSettings,
    Capabilities,
    EmbedRequest,
    GenerationRequest,
    ImageError,
    ListModelsRequest,
    LollmsError,
    ModelInfo,
    ModelInfoRequest,
    ModelRequiredError,
    Pending,
    PullModelRequest,
    hookimpl,
)
from lollms_core.contract.backend import ALL_HOOKS
from lollms_core.http import (
    Exchange,
    HTTPBackend,
    HTTPRequest,
    StreamCall,
    answer_error,
    checked_vectors,
    not_due,
    wrong_shape,
)
from lollms_ollama.address import DEFAULT_PORT, client_address
from lollms_ollama.answers import AnswerDecoder, PullDecoder
from lollms_ollama.bodies import answer_body, fit_limit, is_raw
from lollms_ollama.ending import Ending
from lollms_ollama.errors import plain, plain_body, recognised, recognised_embedding
from lollms_ollama.models import Shown, listed_models
from lollms_ollama.option_types import check_options
from lollms_ollama.options import OllamaOptions, duration
from lollms_ollama.pull import PullRequest, PullStream
from lollms_ollama.windows import KnownModels, num_ctx, window_of

__all__ = ["OllamaBackend"]

_PULL_SILENCE = 900.0
"""Seconds. While it checks what it has downloaded, a server says nothing; hundreds of gigabytes take minutes."""


class OllamaBackend(HTTPBackend):
    """Chats through `/api/chat`; `ELF_COMPLETION_FORMAT.Instruct` sends raw text through `/api/generate`.

    The window (`num_ctx`): a `ctx_size` that was chosen is sent as it is. The client's default is not, for it could ask
    for far more memory than anybody wants: it is bounded by the window that the model was trained for, and gives way
    to a `num_ctx` that the model's own Modelfile sets, and to the host of a model that runs elsewhere. `ctx_size=None`
    leaves the window to the server. The server is asked about a model once (`/api/show`, and `/api/ps` for a window
    that nobody chose).
    """

    contract_version = 1
    nonblocking = ALL_HOOKS
    capabilities = Capabilities(
        options=frozenset(
            {
                "n_predict", "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n", "seed",
                "n_threads", "stop", "system_prompt", "messages", "json_schema", "think", "ctx_size",
            }
        ),
        vision=True,
        parts=frozenset({"reasoning", "tool_call", "tool_result"}),
        embeddings=True,
        raw_prompt=True,
        needs_model=True,
        pull=True,
    )  # fmt: skip
    Options = OllamaOptions
    options: OllamaOptions
    default_address = f"http://localhost:{DEFAULT_PORT}"
    address_variable = "OLLAMA_HOST"
    key_variables = ("OLLAMA_API_KEY",)

    def __init__(self, settings: BackendSettings) -> None:
        super().__init__(settings)
        check_options(self.options.model_options, "model_options")
        self._known = KnownModels()

    def base_address(self) -> str:
        """The server's address, from whichever form `OLLAMA_HOST` or `host_address` has."""
        return client_address(super().base_address())

    def unreachable_hint(self) -> str:
        """How to start a server, or where to say where it is."""
        return "Start the server with `ollama serve`, or set host_address (or OLLAMA_HOST) to where it runs."

    def error_from(self, status: int, headers: Mapping[str, str], body: bytes) -> LollmsError:
        """The error for a response that is not a success: `{"error": "…"}` with a status."""
        error = recognised(super().error_from(status, headers, plain_body(body)))
        wrong = next((end for end in ("/v1", "/api") if self.address.path.endswith(end)), None)
        if wrong is not None and type(error) is APIStatusError:
            error.hint = f"Leave {wrong} out of host_address: it is the address of the server alone."
        if status == 401 and b"signin_url" in body:  # a model that runs in Ollama's cloud
            error.hint = "Sign the server in: `ollama signin`."
        return error

    # --- generations -----------------------------------------------------------------------------------------------

    def open_stream(self, request: GenerationRequest) -> Exchange[StreamCall]:
        """The request for an answer; for a model that was not used before, questions about it come first."""
        model = self._model(request.model)
        if isinstance(request, PullRequest):
            return self._pull_call(model)
        shown = yield from self._known.shown(model)
        self._must_see(request, model, shown)
        body = answer_body(request, model, self.options, num_ctx(self.settings, shown))
        window = yield from self._known.window(model, shown, body.get("options", {}))
        if window is not None:
            fit_limit(body, request, window)
        ending = Ending(request, model, window, shown)
        formatted = body.get("format") is not None
        return StreamCall(
            request=HTTPRequest(path="/api/generate" if is_raw(request) else "/api/chat", json=body),
            decoder=lambda _: AnswerDecoder(self._failure, ending, formatted=formatted),
        )

    def _model(self, name: str | None) -> str:
        if not name:
            raise ModelRequiredError(
                "Ollama needs the name of a model",
                hint="Set model_name: `client.list_models()` lists them, `client.pull_model('NAME')` downloads one.",
            )
        return name

    def _must_see(self, request: GenerationRequest, model: str, shown: Shown) -> None:
        if request.all_images and shown.capabilities is not None and "vision" not in shown.capabilities:
            # The server would leave the image out, and the model would describe one that it never saw.
            raise ImageError(
                f"the model {model} does not take images", hint="Choose a model whose capabilities name vision."
            )

    def _failure(self, item: Mapping[str, Any]) -> LollmsError:
        """The error that a line of a stream says."""
        status = item.get("status")
        known = status if isinstance(status, int) and 400 <= status < 600 else None
        return recognised(answer_error(plain(item), where=str(self.address), status=known))

    # --- questions -------------------------------------------------------------------------------------------------

    @hookimpl
    def list_models(self, request: ListModelsRequest) -> Pending[list[ModelInfo]]:
        """The models that the server has (`/api/tags`)."""

        def ask() -> Exchange[list[ModelInfo]]:
            return listed_models((yield HTTPRequest(method="GET", path="/api/tags")).json())

        return self.ask(ask(), request)

    @hookimpl
    def model_info(self, request: ModelInfoRequest) -> Pending[ModelInfo]:
        """What `/api/show` says. Raises `ModelNotFoundError` if the server does not have the model.

        `context_window` is the window that this client's requests get. One that nobody chose is known while the model
        is loaded; otherwise it is the window that the model was trained for.
        """
        model = self._model(request.model)

        def ask() -> Exchange[ModelInfo]:
            shown, info = yield from self._known.show(model)
            window = window_of(num_ctx(self.settings, shown), shown)
            if window is None and not shown.remote:
                window = yield from self._known.loaded(model)
            return dataclasses.replace(info, context_window=window or shown.context_length)

        return self.ask(ask(), request)

    @hookimpl
    def embed(self, request: EmbedRequest) -> Pending[list[list[float]]]:
        """One vector for each text (`/api/embed`). A text that is too long is an error, see `truncate`."""
        model = self._model(request.model)
        body: dict[str, Any] = {"model": model, "input": list(request.texts), "truncate": bool(self.options.truncate)}
        if self.options.keep_alive is not None:
            body["keep_alive"] = duration(self.options.keep_alive)

        def ask() -> Exchange[list[list[float]]]:
            shown = yield from self._known.shown(model)
            if options := self._loading_options(shown):
                body["options"] = options
            try:
                response = yield HTTPRequest(path="/api/embed", json=body)
            except LollmsError as error:
                raise recognised_embedding(error, model) from error.__cause__
            answer = response.json()
            if not isinstance(answer, dict):
                raise wrong_shape(answer, "an object with embeddings")
            if answer.get("error"):
                raise recognised_embedding(self._failure(answer), model)
            if "embeddings" not in answer:
                raise not_due(answer, "the server sent no embeddings")
            return checked_vectors(answer["embeddings"], len(request.texts))

        return self.ask(ask(), request)

    def _loading_options(self, shown: Shown) -> dict[str, Any]:
        """The options with which generations have the model loaded. With others it would be loaded anew each time."""
        options = dict(self.options.model_options)
        if (size := num_ctx(self.settings, shown)) is not None:
            options["num_ctx"] = size
        if self.settings.n_threads_chosen:
            options["num_thread"] = self.settings.n_threads
        return options

    @hookimpl
    def pull_model(self, request: PullModelRequest) -> PullStream:
        """Make the server download a model (`/api/pull`). Nothing begins before the first step."""
        self._known.forget(request.model)
        return PullStream(self.generate(PullRequest(model=request.model, cancel=request.cancel)))

    def _pull_call(self, model: str) -> StreamCall:
        limits = self.settings.timeouts
        if limits.idle is not None:
            limits = dataclasses.replace(limits, idle=max(limits.idle, _PULL_SILENCE))
        return StreamCall(
            request=HTTPRequest(path="/api/pull", json={"model": model, "stream": True}, timeouts=limits),
            decoder=lambda _: PullDecoder(self._failure),
        )
