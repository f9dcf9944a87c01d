"""The classic LoLLMS server's protocol, without IO: text over HTTP, port 9600.

Source: the server's own routes `lollms_generate`, `lollms_generate_with_images`, `lollms_tokenize`,
`lollms_detokenize`, `lollms_embed`, `list_models`, `list_mounted_personalities` and `stop_gen`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from lollms_core.errors import ImageError, ModelLoadError, ProtocolError, UnsupportedError
from lollms_core.http.failures import answer_error
from lollms_core.http.messages import Decoder, Exchange, HTTPRequest, StreamCall, parse_json
from lollms_core.http.sse import MAX_SIZE
from lollms_core.http.text import TextDecoder
from lollms_core.text.layouts import conversation_text, prompt_text
from lollms_core.types import (
    ELF_COMPLETION_FORMAT,
    Chunk,
    DetokenizeRequest,
    EmbedRequest,
    GenerationRequest,
    Image,
    ModelInfo,
    Personality,
    TokenizeRequest,
)

__all__ = ["ClassicServer", "RawTextDecoder"]

_SAMPLING = ("n_predict", "temperature", "top_k", "top_p", "repeat_penalty", "repeat_last_n", "seed", "n_threads")

OPTIONS = frozenset({*_SAMPLING, "personality", "system_prompt", "messages"})
"""What a request to this server can say."""


class ClassicServer:
    """What to send to a classic server, and what its answers mean."""

    options = OPTIONS

    def __init__(self, model: str | None) -> None:
        self._model = model

    def generate(self, request: GenerationRequest) -> Exchange[StreamCall]:
        yield from ()
        personality = -1 if request.personality is None else request.personality
        body: dict[str, Any] = {"prompt": _text(request), "personality": personality, "stream": True}
        if model := request.model or self._model:
            body["model_name"] = model
        for name in _SAMPLING:
            if (value := getattr(request.sampling, name)) is not None:
                body[name] = value
        path = "/lollms_generate"
        if images := request.all_images:
            path = "/lollms_generate_with_images"
            body["images"] = [_bare_base64(image) for image in images]
        body.update(request.extra)
        return StreamCall(request=HTTPRequest(path=path, json=body), decoder=RawTextDecoder)

    def farewell(self) -> HTTPRequest | None:
        """The server goes on generating when its reader has gone. This stops whatever it generates, for anyone."""
        return HTTPRequest(path="/stop_gen", json={})

    def list_models(self) -> Exchange[list[ModelInfo]]:
        names = _value((yield HTTPRequest(method="GET", path="/list_models")).json())
        if not isinstance(names, list):
            raise ProtocolError("the server's list of models is not a list")
        return [ModelInfo(name=str(name)) for name in names]

    def model_info(self, model: str | None) -> Exchange[ModelInfo]:
        """The name is all that this server tells."""
        name = model or self._model
        if name:
            return ModelInfo(name=name)
        models = yield from self.list_models()
        if len(models) == 1:
            return models[0]
        raise UnsupportedError(
            "this LoLLMS server does not tell which of its models is the active one",
            hint="Name one: model_info(model_name), or the client's model_name. list_models() gives the names.",
        )

    def tokenize(self, request: TokenizeRequest) -> Exchange[list[int]]:
        body = {"prompt": request.text, "return_named": False}
        tokens = _value((yield HTTPRequest(path="/lollms_tokenize", json=body)).json())
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise ProtocolError("the server's tokens are not a list of whole numbers")
        return tokens

    def detokenize(self, request: DetokenizeRequest) -> Exchange[str]:
        body = {"tokens": list(request.tokens), "return_named": False}
        text = _value((yield HTTPRequest(path="/lollms_detokenize", json=body)).json())
        if not isinstance(text, str):
            raise ProtocolError("the server's text for these tokens is not a string")
        return text

    def embed(self, request: EmbedRequest) -> Exchange[list[list[float]]]:
        vectors = []
        for text in request.texts:
            value = _value((yield HTTPRequest(path="/lollms_embed", json={"text": text})).json())
            try:
                vectors.append([float(number) for number in value["vector"]])
            except (KeyError, TypeError, ValueError):
                raise ProtocolError("the server's answer contains no vector") from None
        return vectors

    def list_personalities(self) -> Exchange[list[Personality]]:
        value = _value((yield HTTPRequest(method="GET", path="/list_mounted_personalities")).json())
        names = value.get("personalities") if isinstance(value, dict) else None
        if not isinstance(names, list):
            raise ProtocolError("the server's answer contains no personalities")
        return [
            Personality(
                id=index,
                name=str(name),
                category=str(name).rpartition("/")[0] or None,
                active=index == value.get("active_personality_id"),
            )
            for index, name in enumerate(names)
        ]


class RawTextDecoder(Decoder):
    """Decodes the text that `lollms_generate` streams: no framing, no end mark; newlines are content.

    The server tells a failure as JSON in the place of text, `{"status": false, "error": …}`, under status 200 and
    possibly under the content type of a stream. Text is held back only while it could still become that; `null`
    labelled as JSON means that no model is loaded.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._text = TextDecoder()
        self._is_json = "json" in headers.get("content-type", "")
        self._held: list[str] | None = []
        self._size = 0
        self._shape = ""

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """The text that these bytes complete. Raises `ProtocolError` if an error object has no end in sight."""
        text = self._text.feed(data)
        if self._held is None:
            if text:
                yield Chunk(text)
            return
        self._held.append(text)
        self._size += len(text)
        if self._size > MAX_SIZE:
            raise ProtocolError("the server sent an error object without an end")
        if not self._may_be_error(text):
            yield from self._release()

    def close(self) -> Iterator[Chunk]:
        """The body has ended, which is the only end that there is."""
        rest = self._text.close()
        if self._held is not None:
            self._held.append(rest)
            rest = self._judged("".join(self._held))
        if rest:
            yield Chunk(rest)
        yield Chunk(finish_reason="unknown")

    def _may_be_error(self, text: str) -> bool:
        if self._is_json:
            return True
        if len(self._shape) < len(_ERROR_BEGINS):
            # Compared without white space, so that either way of writing JSON is seen.
            self._shape = (self._shape + "".join(text.split(None, _ENOUGH)))[: len(_ERROR_BEGINS)]
        return _ERROR_BEGINS.startswith(self._shape)

    def _release(self) -> Iterator[Chunk]:
        assert self._held is not None
        text, self._held = "".join(self._held), None
        if text:
            yield Chunk(text)

    def _judged(self, text: str) -> str:
        if not self._is_json and not (text.lstrip().startswith("{") and self._shape == _ERROR_BEGINS):
            return text
        try:
            value = parse_json(text.strip())
        except ProtocolError:
            if self._is_json:
                raise
            return text
        _value(value)
        return value if isinstance(value, str) else text


_ERROR_BEGINS = '{"status":false'
_ENOUGH = len(_ERROR_BEGINS)
"""As many words have at least as many characters; what stands behind them need not be looked at."""


def _value(value: Any) -> Any:
    """A JSON answer of this server. Raises what it means if it is an error object or `null`."""
    if value is None:
        raise ModelLoadError(
            "the LoLLMS server has no model loaded", hint="Choose a model in the server's settings, then try again."
        )
    if isinstance(value, dict) and value.get("status") is False and "error" in value:
        raise answer_error(value, where="the LoLLMS server")
    return value


def _text(request: GenerationRequest) -> str:
    if request.messages:
        return conversation_text(request.as_messages())
    if request.system_prompt and request.completion_format is ELF_COMPLETION_FORMAT.Chat:
        return conversation_text(request.as_messages())
    return prompt_text(request.prompt, request.system_prompt)


def _bare_base64(image: Image) -> str:
    if image.data is None:
        raise ImageError(
            "a classic LoLLMS server takes the image itself, not its URL", hint="Download it and pass the file's path."
        )
    return base64.b64encode(image.data).decode("ascii")
