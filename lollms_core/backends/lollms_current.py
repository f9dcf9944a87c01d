"""The current LoLLMS server's protocol, without IO: OpenAI's routes under `/v1` and some of its own, port 9642."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lollms_core.errors import ModelRequiredError, ProtocolError, UnsupportedError
from lollms_core.http.failures import answer_error
from lollms_core.http.messages import Exchange, HTTPRequest, HTTPResponse, StreamCall
from lollms_core.http.openai_protocol import CORE_FIELDS, ChatDecoder, chat_body, read_embeddings
from lollms_core.types import (
    ELF_COMPLETION_FORMAT,
    DetokenizeRequest,
    EmbedRequest,
    GenerationRequest,
    ModelInfo,
    Personality,
    TokenizeRequest,
)

__all__ = ["CurrentServer"]

OPTIONS = frozenset({*CORE_FIELDS, "personality", "system_prompt", "messages", "json_schema"})
"""What a request to this server can say."""


class CurrentServer:
    """What to send to a current server, and what its answers mean. Remembers the only model, and personality ids."""

    options = OPTIONS

    def __init__(self, model: str | None) -> None:
        self._model = model
        self._personality_ids: list[Any] | None = None

    def generate(self, request: GenerationRequest) -> Exchange[StreamCall]:
        if request.completion_format is ELF_COMPLETION_FORMAT.Instruct and not request.messages:
            raise UnsupportedError(
                "this LoLLMS server has no route for raw prompts", hint="Leave completion_format at Chat."
            )
        body = chat_body(request, model=(yield from self._model_name(request.model)), include_usage=False)
        if request.personality is not None and request.personality >= 0:
            body["personality"] = yield from self._personality_id(request.personality)
        return StreamCall(request=HTTPRequest(path="/v1/chat/completions", json=body), decoder=ChatDecoder)

    def farewell(self) -> HTTPRequest | None:
        """Closing the connection is enough."""
        return None

    def list_models(self) -> Exchange[list[ModelInfo]]:
        data = yield from _listed("/v1/models")
        return [ModelInfo(name=str(item.get("id", "")), metadata=item) for item in data]

    def model_info(self, model: str | None) -> Exchange[ModelInfo]:
        name = yield from self._model_name(model)
        value = _object((yield HTTPRequest(path="/v1/context_size", json={"model": name})))
        size = value.get("context_size")
        return ModelInfo(name=name, context_window=size if isinstance(size, int) else None)

    def tokenize(self, request: TokenizeRequest) -> Exchange[list[int]]:
        body = {"model": (yield from self._model_name(request.model)), "text": request.text}
        tokens = _object((yield HTTPRequest(path="/v1/tokenize", json=body))).get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise ProtocolError("the server's tokens are not a list of whole numbers")
        return tokens

    def detokenize(self, request: DetokenizeRequest) -> Exchange[str]:
        body = {"model": (yield from self._model_name(request.model)), "tokens": list(request.tokens)}
        text = _object((yield HTTPRequest(path="/v1/detokenize", json=body))).get("text")
        if not isinstance(text, str):
            raise ProtocolError("the server's text for these tokens is not a string")
        return text

    def embed(self, request: EmbedRequest) -> Exchange[list[list[float]]]:
        body = {"model": (yield from self._model_name(request.model)), "input": list(request.texts)}
        return read_embeddings((yield HTTPRequest(path="/v1/embeddings", json=body)).json(), len(request.texts))

    def list_personalities(self) -> Exchange[list[Personality]]:
        data = yield from _listed("/v1/personalities")
        self._personality_ids = [item.get("id") for item in data]
        return [
            Personality(
                id=item["id"] if isinstance(item.get("id"), int) else index,
                name=str(item.get("name", "")),
                category=item.get("category") if isinstance(item.get("category"), str) else None,
            )
            for index, item in enumerate(data)
        ]

    def _personality_id(self, number: int) -> Exchange[Any]:
        """What the server calls the personality that `list_personalities` gives as `number`: its ids may be text."""
        if self._personality_ids is None:
            yield from self.list_personalities()
        ids = self._personality_ids or []
        if number in ids or number >= len(ids) or isinstance(ids[number], int):
            return number
        return ids[number]

    def _model_name(self, asked: str | None) -> Exchange[str]:
        if name := asked or self._model:
            return name
        models = yield from self.list_models()
        if len(models) != 1:
            names = ", ".join(model.name for model in models[:5])
            raise ModelRequiredError(
                "this LoLLMS server has several models and none was named"
                if models
                else "this LoLLMS server has no model",
                hint=f"Pass model_name, such as one of: {names}."
                if models
                else "Add a binding and a model to the server.",
            )
        self._model = models[0].name
        return self._model


def _listed(path: str) -> Exchange[list[Mapping[str, Any]]]:
    data = _object((yield HTTPRequest(method="GET", path=path))).get("data")
    if not isinstance(data, list):
        raise ProtocolError(f"the server's answer to {path} contains no list")
    return [item for item in data if isinstance(item, dict)]


def _object(response: HTTPResponse) -> Mapping[str, Any]:
    value = response.json()
    if not isinstance(value, dict):
        raise ProtocolError("the server's answer is not a JSON object")
    if value.get("error") or value.get("object") == "error":
        raise answer_error(value, where="the LoLLMS server")
    return value
