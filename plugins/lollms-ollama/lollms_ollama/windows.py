"""Which window a request asks for, and which one it gets. Asks the server what it must know, without IO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from lollms_core import (
    APIStatusError,
    BackendSettings,
    InvalidRequestError,
    ModelInfo,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from lollms_core.http import Exchange, HTTPRequest
from lollms_ollama.models import UNKNOWN, Shown, loaded_window, shown_model

__all__ = ["KnownModels", "num_ctx", "window_of"]

T = TypeVar("T")

_KNOWN_MODELS = 64
_NOT_ASKED = -1


def num_ctx(settings: BackendSettings, shown: Shown) -> int | None:
    """What to ask for as `num_ctx`; `None` leaves it to the server.

    Every request of a client asks for the same, embeddings as well: with another one the server loads the model anew.
    """
    if settings.ctx_size is None or settings.ctx_size_chosen:
        return settings.ctx_size
    if shown.own_num_ctx is not None or shown.context_length is None or shown.remote:
        return None
    return min(settings.ctx_size, shown.context_length)


def window_of(asked: Any, shown: Shown) -> int | None:
    """The window of a request that asks for this `num_ctx` (`None`: for none); `None` where only the server knows."""
    size = asked if isinstance(asked, int) else shown.own_num_ctx
    return None if size is None else min(size, shown.context_length or size)


class KnownModels:
    """What the server said about its models, and is not asked again. Several threads may ask at once."""

    def __init__(self) -> None:
        self._shown: dict[str, Shown] = {}
        self._loaded: dict[str, int | None] = {}

    def forget(self, model: str) -> None:
        """Ask again: the model may have changed."""
        self._shown.pop(model, None)
        self._loaded.pop(model, None)

    def show(self, model: str) -> Exchange[tuple[Shown, ModelInfo]]:
        """What the server says about a model now (`/api/show`)."""
        response = yield HTTPRequest(path="/api/show", json={"model": model})
        shown, info = shown_model(model, response.json())
        _remember(self._shown, model, shown)
        return shown, info

    def shown(self, model: str) -> Exchange[Shown]:
        """What the server says about a model, asked once."""
        known = self._shown.get(model)
        if known is None:
            answer = yield from _if_it_can_say(self.show(model))
            known = answer[0] if answer else UNKNOWN
            _remember(self._shown, model, known)
        return known

    def window(self, model: str, shown: Shown, options: Mapping[str, Any]) -> Exchange[int | None]:
        """The window of a request with these options; `None` if it cannot be known.

        Where nobody chose one, the model is loaded as the request will have it, once, and the server is asked what
        window it then has: before that it does not know, or it has the window of another client.
        """
        window = window_of(options.get("num_ctx"), shown)
        if window is not None or shown.remote or shown == UNKNOWN:
            return window
        window = self._loaded.get(model, _NOT_ASKED)
        if window == _NOT_ASKED:
            window = yield from _if_it_can_say(self._load(model, options))
            _remember(self._loaded, model, window)
        return window

    def loaded(self, model: str) -> Exchange[int | None]:
        """The window that a model is loaded with now; `None` if it is not loaded, or the server does not say."""
        return (yield from _if_it_can_say(_running(model)))

    def _load(self, model: str, options: Mapping[str, Any]) -> Exchange[int | None]:
        # Without a prompt it is only loaded. No `keep_alive`: 0 would unload it, and the next request says it anyway.
        yield HTTPRequest(path="/api/generate", json={"model": model, "stream": False, "options": dict(options)})
        return (yield from _running(model))


def _running(model: str) -> Exchange[int | None]:
    return loaded_window((yield HTTPRequest(method="GET", path="/api/ps")).json(), model)


def _if_it_can_say(asking: Exchange[T]) -> Exchange[T | None]:
    """What the server says; `None` if it has no such route, as many that speak Ollama's protocol."""
    try:
        return (yield from asking)
    except (RateLimitError, ServerError) as error:
        if error.status_code not in (None, 501):  # none: an error object under 200
            raise
    except (APIStatusError, InvalidRequestError, ProtocolError):
        pass
    return None


def _remember(known: dict[str, Any], model: str, value: Any) -> None:
    if len(known) >= _KNOWN_MODELS:
        known.clear()
    known[model] = value
