"""A vLLM server: OpenAI's protocol, and what vLLM adds to it.

Source: vLLM's OpenAI-compatible server, https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from lollms_openai import OpenAIBackend
from lollms_openai.token_routes import TokenRoutes

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    APIConnectionError,
    BackendSettings,
    ContextWindowError,
    DetokenizeRequest,
    GenerationRequest,
    InvalidRequestError,
    LollmsError,
)
from lollms_core.http import Exchange, HTTPRequest, StreamCall
from lollms_core.protocols.openai import wire_messages

__all__ = ["VLLMServer"]

_TEMPLATE_ROOM = 1024
_MESSAGE_ROOM = 64
"""Tokens that a chat template may add, generously: a whole default system prompt, and the marks around each message."""


class VLLMServer(OpenAIBackend):
    """A vLLM server at `host_address`."""

    default_address = "http://localhost:8000"
    address_variable: ClassVar[str | None] = None
    key_variables = ("VLLM_API_KEY",)

    capabilities = replace(
        OpenAIBackend.capabilities,
        options=OpenAIBackend.capabilities.options | OpenAIBackend.extra_options,
        exact_tokens=True,
    )

    def __init__(self, settings: BackendSettings) -> None:
        super().__init__(settings)
        self._asked_for_windows = False
        self._highest_token = -1

    def unreachable_hint(self) -> str:
        return (
            "Start it with `vllm serve MODEL`, or give a model_name and no host_address, which runs the engine in this "
            "process."
        )

    def think_fields(self, think: bool | str | None) -> dict[str, Any]:
        """A level is `reasoning_effort`; yes and no are what chat templates with a switch understand."""
        if think is None:
            return {}
        if isinstance(think, str):
            return {"reasoning_effort": think}
        return {"chat_template_kwargs": {"enable_thinking": think}}

    def open_stream(self, request: GenerationRequest) -> Exchange[StreamCall]:
        model = yield from self._resolve(request.model)
        if not self._asked_for_windows:
            yield from self._ask_for_windows()
        if "n_predict" in request.sampling.chosen:
            yield from self._check_room(request, model)
        return (yield from super().open_stream(replace(request, model=model)))

    def _ask_for_windows(self) -> Exchange[None]:
        try:
            yield from self._models()
        except APIConnectionError:
            raise
        except LollmsError:
            pass  # a gateway in front of it may not have the route; then the server's own checks must do
        self._asked_for_windows = True

    def _check_room(self, request: GenerationRequest, model: str) -> Exchange[None]:
        """Refuse a chosen limit that does not fit: the server would lower it without a word.

        Counts the prompt, with the server's own template, only if it may be too long: a token is at least one byte.
        """
        window, limit = self._windows.get(model), request.sampling.n_predict
        if window is None or limit is None or request.all_images:
            return
        messages = request.as_messages()
        most = _TEMPLATE_ROOM + sum(len(message.text.encode()) + _MESSAGE_ROOM for message in messages)
        if most + limit <= window:
            return
        body: dict[str, Any] = {"model": model}
        if request.completion_format is ELF_COMPLETION_FORMAT.Chat:
            body["messages"] = wire_messages(messages)
        else:
            body["prompt"] = request.as_text()
        try:
            response = yield HTTPRequest(path="/tokenize", json=body)
            count = response.json().get("count")
        except APIConnectionError:
            raise
        except LollmsError:
            return
        if isinstance(count, int) and count + limit > window:
            raise ContextWindowError(
                f"the prompt has {count} tokens and n_predict asks for {limit} more, "
                f"but the window of {model} is {window}"
            )

    def _detokenize(self, routes: TokenRoutes, request: DetokenizeRequest) -> Exchange[str | None]:
        text = yield from super()._detokenize(routes, request)
        if text is not None:
            yield from self._check_vocabulary(routes, request.tokens, request.model)
        return text

    def _check_vocabulary(self, routes: TokenRoutes, tokens: Sequence[int], model: str | None) -> Exchange[None]:
        """Refuse ids beyond the vocabulary, which the server decodes to nothing."""
        highest = max(tokens, default=-1)
        if highest <= self._highest_token:
            return
        name = yield from self._token_model(model)
        if not (yield from routes.detokenize([highest], name)):
            raise InvalidRequestError(f"token {highest} is not in the vocabulary of {name}")
        self._highest_token = highest
