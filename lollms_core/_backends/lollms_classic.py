"""The classic LoLLMS server's protocol, without IO: text over HTTP, port 9600.

Source: the server's own routes `lollms_generate`, `lollms_generate_with_images`, `lollms_tokenize`,
`lollms_detokenize`, `lollms_embed`, `list_models`, `list_mounted_personalities`, `get_active_model`,
`get_model_status` and `stop_gen`, and what a server (v20) was seen to do with them.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lollms_core.contract.errors import (
    BackendError,
    ImageError,
    InvalidRequestError,
    LollmsError,
    ModelLoadError,
    ProtocolError,
    ServerError,
    UnsupportedError,
)
from lollms_core.contract.types import (
    ELF_COMPLETION_FORMAT,
    Chunk,
    DetokenizeRequest,
    EmbedRequest,
    GenerationRequest,
    Image,
    ModelInfo,
    Personality,
    SamplingParams,
    TokenizeRequest,
)
from lollms_core.http._embeddings import checked_vectors, one_length
from lollms_core.http._exchange import Decoder, Exchange, HTTPRequest, HTTPResponse, StreamCall, parse_json
from lollms_core.http._failures import answer_error, not_due
from lollms_core.http._shapes import shown
from lollms_core.http._sse import MAX_SIZE
from lollms_core.http._text import TextDecoder
from lollms_core.text._layouts import conversation_text, prompt_text

__all__ = ["ClassicServer", "EmptyAnswerError", "RawTextDecoder", "no_model_error", "says_no_model"]

_SAMPLING = ("n_predict", "temperature", "top_k", "top_p", "repeat_penalty", "repeat_last_n")
"""What reaches the model. The server takes `seed`, `n_threads` and `personality` too, and drops them."""
_WITH_IMAGES = ("temperature",)
"""The same for a request with images."""
_NEARLY_GREEDY = 0.001
_ONLY_THE_BEST = 1e-6
_ALL_TOKENS = 1_000_000
_FAILED = frozenset({500})
"""An exception in the server's handler: for want of a model, a list, or a newer library. It will be there again."""
_NO_MODEL = re.compile(r"'NoneType' object has no attribute")
"""What the server says of its model when there is none."""


class EmptyAnswerError(BackendError):
    """The server answered with nothing at all, under status 200."""

    default_hint = (
        "Possible causes: the prompt is longer than the model's window, no model is loaded, or another client stopped "
        "the server's generation. Shorten the prompt, or look at the server's console."
    )


class ClassicServer:
    """What to send to a classic server, and what its answers mean."""

    options = frozenset({*_SAMPLING, "system_prompt", "messages"})
    raw_prompt = True

    def __init__(self, model: str | None) -> None:
        self._model = model

    def ignored(self, request: GenerationRequest) -> frozenset[str]:
        """The options of this request that were chosen and do not reach the model."""
        reaching = _WITH_IMAGES if request.all_images else _SAMPLING
        ignored = request.sampling.chosen - {*reaching, "stop"}
        return ignored if request.personality is None else ignored | {"personality"}

    def generate(self, request: GenerationRequest) -> Exchange[StreamCall]:
        yield from ()
        body: dict[str, Any] = {"prompt": _text(request), "personality": -1, "stream": True}
        if model := request.model or self._model:
            body["model_name"] = model
        body.update(_sampling(request.sampling))
        path = "/lollms_generate"
        if images := request.all_images:
            path = "/lollms_generate_with_images"
            body["images"] = [_bare_base64(image) for image in images]
        body.update(request.extra)
        return StreamCall(request=HTTPRequest(path=path, json=body), decoder=RawTextDecoder)

    def revise(self, call: StreamCall, error: LollmsError) -> Exchange[StreamCall | None]:
        """Ask once more where nothing came: somebody else's stop, or an answer that the server lost."""
        if isinstance(error, EmptyAnswerError):
            if call.decoder is RawTextDecoder:
                return StreamCall(request=call.request, decoder=functools.partial(RawTextDecoder))
            yield from self._raise_if_no_model()
        elif isinstance(error, ServerError | InvalidRequestError) and error.status_code in (400, 500):
            yield from self._raise_if_no_model()
        return None

    def farewell(self) -> HTTPRequest | None:
        """The server goes on generating when its reader has gone.

        This sets its one flag, which the next piece of a running answer consumes, whoever's it is; if none is running,
        the next request of any client is answered with nothing.
        """
        return HTTPRequest(path="/stop_gen", json={})

    def forbidden_hint(self, text: str) -> str:
        """What to do about status 403."""
        return ""

    def _raise_if_no_model(self) -> Exchange[None]:
        """Raise `ModelLoadError` if the server says that no model is loaded; say nothing if it does not tell."""
        try:
            value = (yield HTTPRequest(method="GET", path="/get_model_status", final=_FAILED)).json()
        except LollmsError:
            return
        if isinstance(value, dict) and value.get("status") is False:
            raise no_model_error()

    def _told(self, request: HTTPRequest) -> Exchange[HTTPResponse]:
        """A response; where the server fails, it is asked whether that is for want of a model."""
        try:
            return (yield request)
        except (ServerError, InvalidRequestError):
            yield from self._raise_if_no_model()
            raise

    def _list(self, path: str, what: str) -> Exchange[Any]:
        try:
            return _value((yield HTTPRequest(method="GET", path=path, final=_FAILED)).json())
        except ServerError as error:
            if error.status_code != 500:
                raise
            raise UnsupportedError(
                f"this LoLLMS server does not list its {what}: it answered with status 500, as in headless mode",
                hint="Name what you want, or start the server without headless mode.",
                status_code=500,
            ) from None

    def list_models(self) -> Exchange[list[ModelInfo]]:
        names = yield from self._list("/list_models", "models")
        if not isinstance(names, list):
            raise _not_due(names, "the server's list of models is not a list")
        for place, name in enumerate(names, 1):
            if not isinstance(name, str):
                raise ProtocolError(f"name {place} in the server's list of models is {shown(name)}")
        return [ModelInfo(name=name) for name in names]

    def model_info(self, model: str | None) -> Exchange[ModelInfo]:
        """The name, and whether it is the one that is loaded: all that this server tells."""
        name = model or self._model
        active = yield from self._active_model()
        if name:
            return ModelInfo(name=name, metadata={} if active is None else {"active": name == active})
        if active:
            return ModelInfo(name=active, metadata={"active": True})
        yield from self._raise_if_no_model()
        raise UnsupportedError(
            "this LoLLMS server does not tell which of its models is the active one",
            hint="Name one: model_info(model_name), or the client's model_name. list_models() gives the names.",
        )

    def _active_model(self) -> Exchange[str | None]:
        try:
            value = (yield HTTPRequest(method="GET", path="/get_active_model", final=_FAILED)).json()
        except (BackendError, InvalidRequestError):
            return None
        return str(value["model"]) if isinstance(value, dict) and value.get("status") and "model" in value else None

    def tokenize(self, request: TokenizeRequest) -> Exchange[list[int]]:
        body = {"prompt": request.text, "return_named": False}
        tokens = _value((yield from self._told(HTTPRequest(path="/lollms_tokenize", json=body, final=_FAILED))).json())
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise _not_due(tokens, "the server's tokens are not a list of whole numbers")
        return tokens

    def detokenize(self, request: DetokenizeRequest) -> Exchange[str]:
        body = {"tokens": list(request.tokens), "return_named": False}
        text = _value((yield from self._told(HTTPRequest(path="/lollms_detokenize", json=body, final=_FAILED))).json())
        if not isinstance(text, str):
            raise _not_due(text, "the server's text for these tokens is not a string")
        return text

    def embed(self, request: EmbedRequest) -> Exchange[list[list[float]]]:
        vectors: list[list[float]] = []
        for number, text in enumerate(request.texts, 1):
            try:
                value = _value((yield HTTPRequest(path="/lollms_embed", json={"text": text})).json())
            except ServerError as error:
                error.hint = (
                    error.hint or "The server's vector library may be too new for it: see the server's console."
                )
                raise
            if not isinstance(value, dict) or "vector" not in value:
                raise _not_due(value, "the server's answer contains no vector")
            vectors += checked_vectors([value["vector"]], 1, first=number)
        one_length(vectors)
        return vectors

    def list_personalities(self) -> Exchange[list[Personality]]:
        value = yield from self._list("/list_mounted_personalities", "personalities")
        names = value.get("personalities") if isinstance(value, dict) else None
        if not isinstance(names, list):
            raise _not_due(value, "the server's answer contains no personalities")
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

    An answer without any text is an `EmptyAnswerError`: that is how the server tells nearly everything.

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
        self._empty = True

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """The text that these bytes complete. Raises `ProtocolError` if an error object has no end in sight."""
        text = self._text.feed(data)
        self._empty = self._empty and not text
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
        elif self._empty:
            raise EmptyAnswerError("the LoLLMS server answered with nothing")
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
        if self._is_json and isinstance(value, dict):
            says_only_that = value.get("message") and value.keys() <= _ERROR_WORDS
            if value.get("error") or value.get("detail") or says_only_that:
                raise answer_error(value, where="the LoLLMS server")
        return value if isinstance(value, str) else text


_ERROR_BEGINS = '{"status":false'
_ERROR_WORDS = frozenset({"status", "success", "code", "message"})
_ENOUGH = len(_ERROR_BEGINS)
"""As many words have at least as many characters; what stands behind them need not be looked at."""


def no_model_error() -> ModelLoadError:
    """The error of a server that has no model loaded."""
    return ModelLoadError(
        "the LoLLMS server has no model loaded", hint="Choose a model in the server's settings, then try again."
    )


def says_no_model(text: str) -> bool:
    """Whether a server's error message is the one that it has without a model."""
    return _NO_MODEL.search(text) is not None


_not_due = functools.partial(not_due, where="the LoLLMS server")


def _value(value: Any) -> Any:
    """A JSON answer of this server. Raises what it means if it is an error object or `null`."""
    if value is None:
        raise no_model_error()
    if isinstance(value, dict) and value.get("status") is False and "error" in value:
        if says_no_model(str(value["error"])):
            raise no_model_error()
        raise answer_error(value, where="the LoLLMS server")
    return value


def _sampling(sampling: SamplingParams) -> dict[str, Any]:
    """The parameters as they must be sent: the server replaces a value that is false by its own setting."""
    values = {name: value for name in _SAMPLING if (value := getattr(sampling, name)) is not None}
    if values.get("temperature") == 0:
        values["temperature"] = _NEARLY_GREEDY
    if values.get("top_k") == 0:
        values["top_k"] = _ALL_TOKENS
    if values.get("top_p") == 0:
        values["top_p"] = _ONLY_THE_BEST
    if values.get("repeat_last_n") == 0:
        del values["repeat_last_n"]
        values["repeat_penalty"] = 1.0  # a penalty that looks at no token is none
    return values


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
