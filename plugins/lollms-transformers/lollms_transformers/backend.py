"""The backend: the hooks, and which models are in memory."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from lollms_core import (
    Backend,
    BackendSettings,
    CancelToken,
    Capabilities,
    ClientClosedError,
    CloseRequest,
    DetokenizeRequest,
    EmbedRequest,
    FuturePending,
    GenerationRequest,
    InvalidRequestError,
    ListModelsRequest,
    ModelInfo,
    ModelInfoRequest,
    ModelRequiredError,
    Pending,
    TokenizeRequest,
    hookimpl,
)
from lollms_core.mailbox import Mailbox, MailboxStream
from lollms_transformers.advice import advice_withheld
from lollms_transformers.engine import Engine
from lollms_transformers.job import Job
from lollms_transformers.options import TransformersOptions

__all__ = ["TransformersBackend"]

T = TypeVar("T")


class TransformersBackend(Backend):
    """Runs models in this process with `transformers`. Loads a model with the first call that needs it."""

    contract_version = 1
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
                "seed",
                "n_threads",
                "stop",
                "system_prompt",
                "think",  # where the chat template takes it; the engine says so where it does not
            }
        ),
        parts=frozenset({"reasoning", "tool_call", "tool_result"}),
        vision=True,
        embeddings=True,
        exact_tokens=True,
        raw_prompt=True,
        needs_model=True,
        local=True,
    )
    nonblocking = frozenset({"generate"})
    Options = TransformersOptions
    options: TransformersOptions

    def __init__(self, settings: BackendSettings) -> None:
        super().__init__(settings)
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False
        # A client that is dropped without `close()` must not leave its model and thread behind.
        weakref.finalize(self, _close_engines, self._engines)

    @hookimpl
    def generate(self, request: GenerationRequest) -> MailboxStream:
        def start(mailbox: Mailbox) -> tuple[Callable[[], None], Callable[[], bool]]:
            alive = self._engine(request.model).submit(Job(request, mailbox))
            return request.cancel.on_cancel(mailbox.cancel_waiting), alive

        return MailboxStream(start)

    @hookimpl
    def tokenize(self, request: TokenizeRequest) -> list[int] | Pending[list[int]]:
        def tokens(loaded: Any) -> list[int]:
            with loaded.tokenizer_lock:
                found: list[int] = loaded.tokenizer(request.text, add_special_tokens=False)["input_ids"]
            return found

        return self._with_tokenizer(request, tokens)

    @hookimpl
    def detokenize(self, request: DetokenizeRequest) -> str | Pending[str]:
        def text(loaded: Any) -> str:
            with loaded.tokenizer_lock:
                _check_vocabulary(loaded.tokenizer, request.tokens)
                decoded: str = loaded.tokenizer.decode(
                    list(request.tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False
                )
            return decoded

        return self._with_tokenizer(request, text)

    @hookimpl
    def embed(self, request: EmbedRequest) -> Pending[list[list[float]]]:
        def vectors(loaded: Any) -> list[list[float]]:
            from lollms_transformers.embedding import embed

            return embed(loaded, request.texts, self.options.max_batch_size)

        return self._pending(request.model, vectors, request.cancel)

    @hookimpl
    def list_models(self, request: ListModelsRequest) -> list[ModelInfo]:
        from lollms_transformers.listing import loadable_models

        return loadable_models(self.options.folders)

    @hookimpl
    def model_info(self, request: ModelInfoRequest) -> Pending[ModelInfo]:
        from lollms_transformers.listing import loaded_info

        return self._pending(request.model, loaded_info, request.cancel)

    @hookimpl
    def close(self, request: CloseRequest) -> None:
        with self._lock:
            self._closed = True
            engines = dict(self._engines)
            self._engines.clear()
        _close_engines(engines)

    def _engine(self, model: str | None) -> Engine:
        """The engine of a model; makes room for it among those that are loaded."""
        name = model or self.settings.model_name
        if not name:
            raise ModelRequiredError("the transformers format needs a model_name", hint=self._suggestion())
        with self._lock:
            if self._closed:
                raise ClientClosedError("the client was closed")
            engine = self._engines.pop(name, None)
            surplus = [] if engine is not None else self._surplus()
            if engine is None:
                engine = Engine(self._loader(name), self.options)
            self._engines[name] = engine  # at the end: the one used last
        for old in surplus:
            old.close()
        return engine

    def _surplus(self) -> list[Engine]:
        """Take idle engines out, the one idle longest first, until there is room for one more."""
        out = []
        for name in list(self._engines):
            if len(self._engines) < self.options.max_loaded_models:
                break
            if self._engines[name].idle:
                out.append(self._engines.pop(name))
        return out

    def _loader(self, name: str) -> Callable[[], Any]:
        # Only a weak reference to the backend, so that a dropped client can be collected while its engine waits.
        options, settings, backend = self.options, self.settings, weakref.ref(self)
        secret = options.token or settings.api_key

        def load() -> Any:
            from lollms_transformers.loading import load_model

            ctx_size = settings.ctx_size if settings.ctx_size_chosen else None
            loaded = load_model(name, options, secret.get_secret_value() if secret else None, ctx_size)

            def not_honoured(names: set[str]) -> None:
                owner = backend()
                if owner is not None:
                    owner.not_honoured(names, by=name)

            return dataclasses.replace(loaded, not_honoured=not_honoured)

        return load

    def _pending(self, model: str | None, function: Callable[[Any], T], cancel: CancelToken) -> Pending[T]:
        """What `function` gives for the loaded model in the engine's thread."""
        # Begun here and not when it is waited for: making room for a model can take a while, and here is a thread.
        future = self._engine(model).start_call(function)
        return FuturePending(lambda: future, cancel)

    def _with_tokenizer(
        self, request: TokenizeRequest | DetokenizeRequest, function: Callable[[Any], T]
    ) -> T | Pending[T]:
        """What `function` gives for the loaded model; in this thread once that is there: tokenizers need no engine."""
        engine = self._engine(request.model)
        if engine.loaded is None:
            return self._pending(request.model, function, request.cancel)
        with advice_withheld():
            return function(engine.loaded)

    def _suggestion(self) -> str:
        from lollms_transformers.listing import loadable_models

        names = [model.name for model in loadable_models(self.options.folders)][:5]
        if not names:
            return "Set model_name: a model of the hub, a folder, or a .gguf file; none was found on this machine."
        return f"Set model_name: a model of the hub, a folder, or a .gguf file. Loadable here: {', '.join(names)}."


def _close_engines(engines: dict[str, Engine]) -> None:
    for engine in list(engines.values()):
        engine.close()


def _check_vocabulary(tokenizer: Any, tokens: tuple[int, ...]) -> None:
    size = len(tokenizer)
    for token in tokens:
        if not 0 <= token < size or tokenizer.convert_ids_to_tokens(token) is None:
            raise InvalidRequestError(
                f"{token} is not a token of this model", hint=f"Its vocabulary has the tokens 0 to {size - 1}."
            )
