"""`/tokenize` and `/detokenize`, which OpenAI has not and some servers have.

vLLM takes `{"model", "prompt"}` and gives `{"tokens"}`; llama.cpp's server takes `{"content"}` and gives the same. Both
ignore what they do not know, so that one body serves either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lollms_core import (
    APIStatusError,
    AuthenticationError,
    InvalidRequestError,
    LollmsError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from lollms_core.http import Exchange, HTTPRequest
from lollms_openai.endpoint import Endpoint

__all__ = ["TokenRoutes"]


class TokenRoutes:
    """The routes of one server. Whether it has them is asked once and remembered."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._query = endpoint.query
        self._present: bool | None = None

    @property
    def absent(self) -> bool:
        """The server is known not to have them."""
        return self._present is False

    def tokenize(self, text: str, model: str | None) -> Exchange[list[int] | None]:
        """The token ids, without special tokens around them; `None` if the server has no such route."""
        body = {"prompt": text, "content": text, "add_special_tokens": False, "add_special": False}
        answer = yield from self._ask("/tokenize", body, model)
        tokens = answer.get("tokens")
        # A route of that name that does something else gives no tokens for a text.
        if not isinstance(tokens, list) or (text and not tokens) or not all(isinstance(each, int) for each in tokens):
            self._missing("/tokenize")
            return None
        self._present = True
        return tokens

    def detokenize(self, tokens: Sequence[int], model: str | None) -> Exchange[str | None]:
        """The text; `None` if the server has no such route."""
        answer = yield from self._ask("/detokenize", {"tokens": list(tokens)}, model)
        text = answer.get("prompt", answer.get("content"))
        if not isinstance(text, str):
            self._missing("/detokenize")
            return None
        self._present = True
        return text

    def _ask(self, path: str, body: dict[str, Any], model: str | None) -> Exchange[dict[str, Any]]:
        if model is not None:
            body["model"] = model
        try:
            response = yield HTTPRequest(path=path + self._query, json=body)
            value = response.json()
        except LollmsError as error:
            if self._present or not _says_no_route(error):
                raise
            value = None
        return value if isinstance(value, dict) else {}

    def _missing(self, path: str) -> None:
        if self._present:
            # It has answered before: counting with another tokenizer from now on would be a silent change.
            raise ProtocolError(f"the server's answer of {path} is not what it was before")
        self._present = False


def _says_no_route(error: LollmsError) -> bool:
    if isinstance(error, ServerError):
        # Some servers fail at every path that they do not know. 502 to 504 tell of a moment, not of a path.
        return error.status_code in (500, 501)
    if isinstance(error, RateLimitError):
        return False
    if isinstance(error, AuthenticationError):
        # A gateway refuses what it was not told to let through; whether the key is good, a question will tell.
        return True
    return isinstance(error, APIStatusError | InvalidRequestError | ProtocolError)
