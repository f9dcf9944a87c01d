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
    InvalidRequestError,
    ListModelsRequest,
    LollmsError,
    ModelInfo,
    ModelInfoRequest,
    ModelRequiredError,
    ProtocolError,
    PullModelRequest,
    RateLimitError,
    ServerError,
    TokenCount,
    TokenizeRequest,
    hookimpl,
)
from lollms_core.http import Exchange, HTTPRequest, StreamCall, answer_error
from lollms_core.http_backend import HTTPBackend
from lollms_core.tokenizers import encoding_for
from lollms_ollama.address import DEFAULT_PORT, client_address
from lollms_ollama.answers import AnswerDecoder, PullDecoder
from lollms_ollama.bodies import answer_body, is_raw
from lollms_ollama.ending import Ending
from lollms_ollama.errors import plain, plain_body, recognised
from lollms_ollama.meter import TokenMeter
from lollms_ollama.models import UNKNOWN, Shown, listed_models, shown_model
from lollms_ollama.options import OllamaOptions, duration
from lollms_ollama.pull import PullRequest, PullStream

__all__ = ["OllamaBackend"]

_KNOWN_MODELS = 64
_PULL_SILENCE = 900.0
"""Seconds. While it checks what it has downloaded, a server says nothing; hundreds of gigabytes take minutes."""


class OllamaBackend(HTTPBackend):
    """Chats through `/api/chat`; `ELF_COMPLETION_FORMAT.Instruct` sends raw text through `/api/generate`.

    The window (`num_ctx`): a `ctx_size` that was chosen is sent as it is. The guide's default is not, for it could ask
    for far more memory than anybody wants: it is bounded by the window that the model was trained for, and gives way
    to a `num_ctx` that the model's own Modelfile sets, and to the host of a model that runs elsewhere. `ctx_size=None`
    leaves the window to the server. The server is asked about a model once (`/api/show`).
    """

    contract_version = 1
    capabilities = Capabilities(
        options=frozenset(
            {
                "n_predict", "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n", "seed",
                "n_threads", "stop", "system_prompt", "messages", "json_schema", "think", "ctx_size",
            }
        ),
        vision=True,
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
        self._meter = TokenMeter()
        self._shown: dict[str, Shown] = {}

    def base_address(self) -> str:
        """The server's address, from whichever form `OLLAMA_HOST` or `host_address` has."""
        return client_address(super().base_address())

    def unreachable_hint(self) -> str:
        """How to start a server, or where to say where it is."""
        return "Start the server with `ollama serve`, or set host_address (or OLLAMA_HOST) to where it runs."

    def error_from(self, status: int, headers: Mapping[str, str], body: bytes) -> LollmsError:
        """The error for a response that is not a success: `{"error": "…"}` with a status."""
        return recognised(super().error_from(status, headers, plain_body(body)))

    # --- generations -----------------------------------------------------------------------------------------------

    def open_stream(self, request: GenerationRequest) -> Exchange[StreamCall]:
        """The request for an answer; for a model that was not used before, `/api/show` comes first."""
        model = self._model(request.model)
        if isinstance(request, PullRequest):
            return self._pull_call(model)
        shown = yield from self._known(model)
        self._must_see(request, model, shown)
        num_ctx, window = self._window(shown)
        body = answer_body(request, model, self.options, num_ctx, window)
        asked = body.get("options", {}).get("num_ctx", num_ctx)
        if asked != num_ctx and isinstance(asked, int):  # set through `extra`
            window = min(asked, shown.context_length or asked)
        ending = Ending(request, model, window, shown, self._meter)
        return StreamCall(
            request=HTTPRequest(path="/api/generate" if is_raw(request) else "/api/chat", json=body),
            decoder=lambda _: AnswerDecoder(self._failure, ending),
        )

    def _model(self, name: str | None) -> str:
        if not name:
            raise ModelRequiredError(
                "Ollama needs the name of a model",
                hint="Set model_name: `lollms models -f ollama` lists them, and `--pull NAME` beside it adds one.",
            )
        return name

    def _must_see(self, request: GenerationRequest, model: str, shown: Shown) -> None:
        if request.all_images and shown.capabilities is not None and "vision" not in shown.capabilities:
            # The server would leave the image out, and the model would describe one that it never saw.
            raise ImageError(
                f"the model {model} does not take images", hint="Choose a model whose capabilities name vision."
            )

    def _window(self, shown: Shown) -> tuple[int | None, int | None]:
        """What to ask for as `num_ctx`, and what the window will then be, as far as that is known."""
        size, length, own = self.settings.ctx_size, shown.context_length, shown.own_num_ctx
        if size is not None and self.settings.ctx_size_chosen:
            return size, min(size, length or size)
        if own is not None:
            return None, min(own, length or own)
        if size is None or length is None or shown.remote:
            return None, None
        return min(size, length), min(size, length)

    def _known(self, model: str) -> Exchange[Shown]:
        """What the server says about a model, asked once. A server that has no such route knows nothing about it."""
        shown = self._shown.get(model)
        if shown is None:
            try:
                shown, _ = yield from self._show(model)
            except (RateLimitError, ServerError) as error:
                if error.status_code != 501:
                    raise
                shown = UNKNOWN
            except (APIStatusError, InvalidRequestError, ProtocolError):
                shown = UNKNOWN
            if len(self._shown) >= _KNOWN_MODELS:
                self._shown.clear()
            self._shown[model] = shown
        return shown

    def _show(self, model: str) -> Exchange[tuple[Shown, ModelInfo]]:
        response = yield HTTPRequest(path="/api/show", json={"model": model})
        return shown_model(model, response.json())

    def _failure(self, item: Mapping[str, Any]) -> LollmsError:
        """The error that a line of a stream says."""
        status = item.get("status")
        known = status if isinstance(status, int) and status >= 400 else None
        return recognised(answer_error(plain(item), where=str(self.address), status=known))

    # --- tokens ----------------------------------------------------------------------------------------------------

    @hookimpl
    def count_tokens(self, request: TokenizeRequest) -> TokenCount | None:
        """An estimate, corrected by what the server reported for earlier prompts; `None` as long as there are none.

        Ollama has no route that tokenizes.
        """
        factor = self.correction(request.model)
        if factor is None:
            return None
        count = len(encoding_for(request.model).encode(request.text))
        return TokenCount(max(1, round(count * factor)) if request.text else 0, exact=False)

    def correction(self, model: str | None = None) -> float | None:
        """How many tokens of the model one of tiktoken's stands for; `None` before the first prompt long enough."""
        name = model or self.settings.model_name
        if not name:
            return None
        return self._meter.factor(name, "tiktoken", lambda text: len(encoding_for(name).encode(text)))

    # --- questions -------------------------------------------------------------------------------------------------

    @hookimpl
    def list_models(self, request: ListModelsRequest) -> list[ModelInfo]:
        """The models that the server has (`/api/tags`)."""

        def ask() -> Exchange[list[ModelInfo]]:
            return listed_models((yield HTTPRequest(method="GET", path="/api/tags")).json())

        return self.run(ask())

    @hookimpl
    def model_info(self, request: ModelInfoRequest) -> ModelInfo:
        """What `/api/show` says. `context_window` is the window that this client's requests get, as far as known."""
        model = self._model(request.model)

        def ask() -> Exchange[ModelInfo]:
            shown, info = yield from self._show(model)
            self._shown[model] = shown
            _, window = self._window(shown)
            return dataclasses.replace(info, context_window=window or shown.context_length)

        return self.run(ask())

    @hookimpl
    def embed(self, request: EmbedRequest) -> list[list[float]]:
        """One vector for each text (`/api/embed`). A text longer than the window is an error, see `truncate`."""
        body: dict[str, Any] = {"model": self._model(request.model), "input": list(request.texts)}
        body["truncate"] = bool(self.options.truncate)
        if self.options.keep_alive is not None:
            body["keep_alive"] = duration(self.options.keep_alive)
        options = dict(self.options.model_options)
        if self.settings.ctx_size_chosen and self.settings.ctx_size is not None:
            options["num_ctx"] = self.settings.ctx_size
        if options:
            body["options"] = options

        def ask() -> Exchange[list[list[float]]]:
            return _vectors((yield HTTPRequest(path="/api/embed", json=body)).json(), len(request.texts))

        return self.run(ask())

    @hookimpl
    def pull_model(self, request: PullModelRequest) -> PullStream:
        """Make the server download a model (`/api/pull`). Nothing begins before the first step."""
        self._shown.pop(request.model, None)
        return PullStream(self.generate(PullRequest(model=request.model, cancel=request.cancel)))

    def _pull_call(self, model: str) -> StreamCall:
        limits = self.settings.timeouts
        if limits.idle is not None:
            limits = dataclasses.replace(limits, idle=max(limits.idle, _PULL_SILENCE))
        return StreamCall(
            request=HTTPRequest(path="/api/pull", json={"model": model, "stream": True}, timeouts=limits),
            decoder=lambda _: PullDecoder(self._failure),
        )


def _vectors(value: Any, count: int) -> list[list[float]]:
    vectors = value.get("embeddings") if isinstance(value, Mapping) else None
    if not isinstance(vectors, list) or len(vectors) != count:
        raise ProtocolError(f"/api/embed answered with something else than {count} embeddings")
    try:
        return [[float(number) for number in vector] for vector in vectors]
    except (TypeError, ValueError):
        raise ProtocolError("/api/embed answered with an embedding that is not a list of numbers") from None
