"""The current LoLLMS server's protocol, without IO: OpenAI's routes under `/v1` and some of its own, port 9642."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from lollms_core.contract.backend import near_misses
from lollms_core.contract.errors import (
    IncompleteStreamError,
    InvalidRequestError,
    LollmsError,
    ProtocolError,
    UnsupportedError,
)
from lollms_core.contract.types import (
    ELF_COMPLETION_FORMAT,
    DetokenizeRequest,
    EmbedRequest,
    GenerationRequest,
    ModelInfo,
    Personality,
    TokenizeRequest,
)
from lollms_core.http._exchange import Decoder, Exchange, HTTPRequest, HTTPResponse, StreamCall
from lollms_core.http._failures import answer_error, not_due
from lollms_core.http._shapes import shown
from lollms_core.http._turns import Turns
from lollms_core.protocols.openai import ChatDecoder, chat_body, read_embeddings

__all__ = ["CurrentServer"]

_FIELDS = {"n_predict": "max_tokens", "temperature": "temperature"}
"""What of the sampling reaches the model. The server takes other fields of OpenAI's and drops them."""


class CurrentServer:
    """What to send to a current server, and what its answers mean.

    It has one engine for each user, and every request of the user's that ends also ends the others, whose streams then
    close without a finish reason. So the generations of one client take turns.
    """

    options = frozenset({*_FIELDS, "personality", "system_prompt", "messages"})
    raw_prompt = False

    def __init__(self, model: str | None) -> None:
        self._model = model
        self._turns = Turns()

    def ignored(self, request: GenerationRequest) -> frozenset[str]:
        """The options of this request that were chosen and do not reach the model."""
        return request.sampling.chosen - self.options - {"stop"}

    def generate(self, request: GenerationRequest) -> Exchange[StreamCall]:
        if request.completion_format is ELF_COMPLETION_FORMAT.Instruct and not request.messages:
            raise UnsupportedError(
                "this LoLLMS server has no route for raw prompts", hint="Leave completion_format at Chat."
            )
        body = chat_body(request, model=self._name(request.model), fields=_FIELDS, include_usage=False)
        body.pop("response_format", None)
        body.update(request.extra)
        if request.personality is not None:
            body["personality"] = yield from self._personality_id(request.personality)
        return self._call(body)

    def _call(self, body: dict[str, Any]) -> StreamCall:
        return StreamCall(
            request=HTTPRequest(path="/v1/chat/completions", json=body), decoder=_decoder, turns=self._turns
        )

    def revise(self, call: StreamCall, error: LollmsError) -> Exchange[StreamCall | None]:
        """An empty stream hides an error of the model; without streaming, the server tells it."""
        yield from ()
        if isinstance(error, IncompleteStreamError) and call.request.json.get("stream"):
            return self._call({**call.request.json, "stream": False})
        return None

    def farewell(self) -> HTTPRequest | None:
        """Closing the connection is enough."""
        return None

    def forbidden_hint(self, text: str) -> str:
        """What to do about status 403."""
        if "not enabled" in text or "disabled" in text:
            return (
                "The API is switched off in the server's settings, as it is on a fresh server; the key is not to blame."
            )
        return ""

    def list_models(self) -> Exchange[list[ModelInfo]]:
        data = yield from _listed("/v1/models")
        for place, item in enumerate(data, 1):
            if not isinstance(item.get("id"), str):
                raise ProtocolError(
                    f"the id of entry {place} in the server's list of models is {shown(item.get('id'))}"
                )
        return [ModelInfo(name=item["id"], metadata=item) for item in data]

    def model_info(self, model: str | None) -> Exchange[ModelInfo]:
        name = self._name(model)
        value = _object((yield HTTPRequest(path="/v1/context_size", json={"model": name})))
        size = value.get("context_size")
        return ModelInfo(name=name, context_window=size if isinstance(size, int) else None)

    def tokenize(self, request: TokenizeRequest) -> Exchange[list[int]]:
        body = {"model": self._name(request.model), "text": request.text}
        value = _object((yield HTTPRequest(path="/v1/tokenize", json=body)))
        tokens = value.get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise _not_due(value, "the server's tokens are not a list of whole numbers")
        return tokens

    def detokenize(self, request: DetokenizeRequest) -> Exchange[str]:
        body = {"model": self._name(request.model), "tokens": list(request.tokens)}
        value = _object((yield HTTPRequest(path="/v1/detokenize", json=body)))
        text = value.get("text")
        if not isinstance(text, str):
            raise _not_due(value, "the server's text for these tokens is not a string")
        return text

    def embed(self, request: EmbedRequest) -> Exchange[list[list[float]]]:
        body = {"model": self._name(request.model), "input": list(request.texts)}
        return read_embeddings((yield HTTPRequest(path="/v1/embeddings", json=body)).json(), len(request.texts))

    def list_personalities(self) -> Exchange[list[Personality]]:
        data = yield from _listed("/v1/personalities")
        return [
            Personality(
                id=item["id"] if isinstance(item.get("id"), int) else str(item.get("id") or ""),
                name=str(item.get("name") or ""),
                category=item.get("category") if isinstance(item.get("category"), str) else None,
            )
            for item in data
        ]

    def _personality_id(self, wanted: int | str) -> Exchange[int | str]:
        """The server's id for a personality that is named by its index in the list, its name or its id."""
        known = yield from self.list_personalities()
        for personality in known:
            if wanted == personality.id:
                return personality.id
        if isinstance(wanted, int) and 0 <= wanted < len(known):
            return known[wanted].id
        for personality in known:
            if str(wanted).lower() in (personality.name.lower(), f"{personality.category}/{personality.name}".lower()):
                return personality.id
        hint = near_misses(str(wanted), [personality.name for personality in known if personality.name])
        if not hint:
            last = len(known) - 1
            nameless = f"Its personalities have no names: choose one by its place in the list, 0 to {last}."
            hint = nameless if known else "It has none at all; leave the personality out."
        raise InvalidRequestError(f"this LoLLMS server has no personality {wanted!r}", hint=hint)

    def _name(self, asked: str | None) -> str:
        """The model's name; the empty one is the server's default."""
        return asked or self._model or ""


def _decoder(headers: Mapping[str, str]) -> Decoder:
    return ChatDecoder(headers, needs_finish_reason=True)


def _listed(path: str) -> Exchange[list[Mapping[str, Any]]]:
    value = _object((yield HTTPRequest(method="GET", path=path)))
    data = value.get("data")
    if not isinstance(data, list):
        raise _not_due(value, f"the server's answer to {path} contains no list")
    for place, item in enumerate(data, 1):
        if not isinstance(item, dict):
            raise ProtocolError(f"entry {place} in the server's answer to {path} is {shown(item)}")
    return data


_not_due = functools.partial(not_due, where="the LoLLMS server")


def _object(response: HTTPResponse) -> Mapping[str, Any]:
    value = response.json()
    if not isinstance(value, dict):
        raise ProtocolError("the server's answer is not a JSON object")
    if value.get("error") or value.get("object") == "error":
        raise answer_error(value, where="the LoLLMS server")
    return value
