"""From LiteLLM's exceptions, and those of the libraries below it, to ours."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lollms_core import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BackendError,
    ContextWindowError,
    ImageError,
    IncompleteStreamError,
    InvalidRequestError,
    LollmsError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from lollms_core.http import Secrets, answer_error, retry_after, status_error
from lollms_core.protocols.refusals import Refusal

__all__ = ["about_images", "cut_short", "from_litellm", "refusal", "scrubbed"]

# The names of LiteLLM's classes, most special first: it is looked for along the class's bases.
_BY_NAME: dict[str, type[LollmsError]] = {
    "ContextWindowExceededError": ContextWindowError,
    "ContentPolicyViolationError": InvalidRequestError,
    "UnsupportedParamsError": InvalidRequestError,
    "JSONSchemaValidationError": ProtocolError,
    "APIResponseValidationError": ProtocolError,
    "AuthenticationError": AuthenticationError,
    "PermissionDeniedError": PermissionDeniedError,
    "NotFoundError": ModelNotFoundError,
    "RateLimitError": RateLimitError,
    "Timeout": APITimeoutError,
    "APITimeoutError": APITimeoutError,
    "UnprocessableEntityError": InvalidRequestError,
    "BadRequestError": InvalidRequestError,
    "ServiceUnavailableError": ServerError,
    "BadGatewayError": ServerError,
    "InternalServerError": ServerError,
}
_BY_STATUS: dict[int, type[LollmsError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    408: APITimeoutError,
    413: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
}
_HINTS: dict[type[LollmsError], str] = {
    AuthenticationError: "Set the provider's key in the environment (such as OPENAI_API_KEY) or pass service_key.",
    ModelNotFoundError: "Check the model's name, which reads provider/model as in openai/gpt-4o-mini, and the server's "
    "address if you gave one: for most servers it ends in /v1.",
    RateLimitError: "Wait, send fewer requests at once, or look at your quota with the provider.",
    APIConnectionError: "Check host_address, the network, and that the provider's server is running.",
}
_POLICY_HINT = "The provider's content policy refused this; rephrase the prompt or choose another model."
# LiteLLM reports a refused connection as `InternalServerError` or as a bare `APIConnectionError`; what really
# happened is further down the chain.
_BROKEN_LINKS = (
    "ConnectError",
    "ConnectTimeout",
    "ReadError",
    "RemoteProtocolError",
    "WriteError",
    "ClientConnectionError",
    "ClientPayloadError",
    "ClientOSError",
    "gaierror",
    "ConnectionError",
    "SSLError",
)
_CUT = ("RemoteProtocolError", "ClientPayloadError", "ReadError", "TransferEncodingError")
_PREFIXES = re.compile(r"^(?:(?:litellm\.)?[\w-]*(?:Error|Exception|Timeout)\s*[-:]\s*|Error code: \d+ - )+")
_NOISE = re.compile(r"\s*(?:Original exception: |Traceback \(most recent call last\)).*| ssl:<[^>]*>| ssl:default")
# Some of LiteLLM's routes do not tell this error from other bad requests.
_TOO_LONG = re.compile(
    r"(?i)context (?:length|window|size)|maximum model length|prompt is too long|too many (?:input )?tokens"
)
# Found out before anything is sent, and reported as many different things.
_NO_KEY = re.compile(r"(?i)missing (?:credentials|[\w ]{0,40}api key)")
_IMAGES = re.compile(r"(?i)multi-?modal|image|vision")
_LONGEST_MESSAGE = 1000
_SECRETS = re.compile(
    r"(?i)(\bbearer\s+|[?&](?:api[-_]?)?key=|x-api-key['\"]?\s*[:=]\s*['\"]?)[^\s'\"&,}]+"
    r"|\b(?:sk|pk|rk|gsk|xai|hf|AIza)[-_]?[A-Za-z0-9][-_A-Za-z0-9*]{11,}"
)


def from_litellm(
    error: BaseException, *, secrets: tuple[str, ...] = (), begun: bool = False, model: str | None = None
) -> LollmsError:
    """Our error for anything that a call of LiteLLM raised.

    Args:
        error: what was raised; one of ours is returned, without secrets.
        secrets: texts that must not be in the message.
        begun: a part of the answer had arrived, so that a broken connection means an answer cut short.
        model: what was asked for. It is named if there is no such model: servers name it without its provider.
    """
    if isinstance(error, LollmsError):
        error.message = scrubbed(error.message, secrets)
        error.args = (error.message,)
        return error
    ours = next((link for link in _chain(error) if isinstance(link, ProtocolError)), None)
    inner = ours or getattr(error, "original_exception", None)
    if isinstance(inner, BaseException):  # `MidStreamFallbackError`, which is meant for LiteLLM's router
        return from_litellm(inner, secrets=secrets, begun=begun, model=model)
    if (told := _told_in_stream(error)) is not None:
        return from_litellm(answer_error(told, where="the provider"), secrets=secrets)
    status = _status(error)
    redirect = next((code for link in _chain(error) if 300 <= (code := _status(link) or 0) < 400), None)
    if redirect is not None:  # LiteLLM takes it for something else, and none says where it leads
        headers = {"location": _header(error, "location") or ""}
        return from_litellm(status_error(redirect, headers, b"", where="the provider"), secrets=secrets)
    cls = _class(error, status, begun)
    if cls is AuthenticationError and _NO_KEY.search(str(error)):
        status = None  # of LiteLLM's making: nothing was sent
    if cls is IncompleteStreamError:  # of which each library below has odd words of its own
        return cut_short()
    message = scrubbed(_message(error), secrets)
    if cls is ModelNotFoundError and model is not None and model not in message:
        message = f"{model}: {message}"
    hint = _HINTS.get(cls)
    if "ContentPolicyViolationError" in _names(error):
        hint = _POLICY_HINT
    real = _has_response(error) or not issubclass(cls, (APIConnectionError, BackendError))
    return cls(
        message,
        hint=hint,
        status_code=status if issubclass(cls, APIStatusError) or real else None,
        retry_after=_retry_after(error),
        format="litellm",
    )


def refusal(error: BaseException) -> Refusal:
    """What a provider, or LiteLLM itself, said when it refused a request."""
    text = _message(error)
    if "UnsupportedParamsError" in _names(error):  # of LiteLLM's making
        return Refusal("unsupported_parameter", "", text)
    for link in _chain(error):
        body = getattr(link, "body", None)
        if isinstance(body, Mapping) and body:
            told = Refusal.read(json.dumps(body, default=str).encode())
            return Refusal(told.code, told.param, told.text or text)
    return Refusal("", "", text)


def cut_short() -> IncompleteStreamError:
    """The error for a stream that ended without a finish reason."""
    return IncompleteStreamError(
        "the provider's stream ended before the answer did",
        hint="The connection was cut, or the server stopped in the middle; ask again.",
        format="litellm",
    )


def about_images(error: LollmsError, *, sent: bool) -> LollmsError:
    """An `ImageError` in place of a refused request, if images were sent and the refusal is about them."""
    if not sent or type(error) is not InvalidRequestError or not _IMAGES.search(error.message):
        return error
    return ImageError(
        f"the provider refused the image: {error.message}",
        hint="Choose a model that sees, and an image of a kind and size that it takes.",
        status_code=error.status_code,
        format="litellm",
    )


def scrubbed(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text without the given secrets and without anything that looks like a key."""
    return _SECRETS.sub(lambda match: f"{match.group(1) or ''}***", Secrets(secrets).hidden(text))


def _class(error: BaseException, status: int | None, begun: bool) -> type[LollmsError]:
    names = _names(error)
    answered = _has_response(error)
    if "ended before a finish_reason" in str(error):  # newer versions look for it themselves
        return IncompleteStreamError
    if not answered and _NO_KEY.search(str(error)):
        return AuthenticationError
    if not answered and (status is None or status >= 500):
        below = [name for link in _chain(error) for name in _names(link)]
        if any(name.endswith(("TimeoutError", "Timeout", "TimeoutException")) for name in below):
            return APITimeoutError
        if begun and (any(name in below for name in _CUT) or any(part in str(error) for part in _CUT)):
            return IncompleteStreamError
        if any(name in below for name in _BROKEN_LINKS) or "Connection error" in str(error):
            return IncompleteStreamError if begun else APIConnectionError
    for name in names:
        if name in _BY_NAME:
            known = _BY_NAME[name]
            too_long = known is InvalidRequestError and _TOO_LONG.search(str(error))
            return ContextWindowError if too_long else known
    if any(isinstance(link, ValueError) and "JSON" in type(link).__name__ for link in _chain(error)):
        return ProtocolError
    if answered and status is not None:
        return _BY_STATUS.get(status, ServerError if status >= 500 else APIStatusError)
    return ServerError if any(type(link).__name__ == "APIError" for link in _chain(error)) else BackendError


def _told_in_stream(error: BaseException) -> Any:
    """An error object inside an answer with status 200, for which OpenAI's library raises its base class."""
    found = (getattr(link, "body", None) for link in _chain(error) if type(link).__name__ == "APIError")
    return next((body for body in found if body), None)


def _names(error: BaseException) -> list[str]:
    return [base.__name__ for base in type(error).__mro__]


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    try:
        return int(status) if status is not None else None
    except (TypeError, ValueError):
        return None


def _has_response(error: BaseException) -> bool:
    """Whether a server answered: LiteLLM puts a made-up response into errors that had none."""
    for link in _chain(error):
        headers = getattr(getattr(link, "response", None), "headers", None)
        if headers:
            return True
        if getattr(link, "litellm_response_headers", None) or (getattr(link, "headers", None) or {}):
            return True
    return False


def _message(error: BaseException) -> str:
    text = str(getattr(error, "message", "") or error)
    if "Connection error." in text:  # all that OpenAI's library says; the link below it knows which address
        text = next((str(link) for link in reversed(list(_chain(error))) if str(link)), text)
    text = _quoted(_PREFIXES.sub("", _NOISE.sub("", " ".join(text.split()))))
    if len(text) > _LONGEST_MESSAGE:
        text = text[:_LONGEST_MESSAGE] + "…"
    return text or type(error).__name__


def _quoted(text: str) -> str:
    """What a server's error object says, where the text is one: as JSON, or as Python prints it."""
    if not text.startswith("{"):
        return text
    try:
        found: Any = json.loads(text)
    except ValueError:
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
    inner = found.get("error", found) if isinstance(found, dict) else found
    message = inner.get("message") if isinstance(inner, dict) else inner
    return message if isinstance(message, str) else text


def _retry_after(error: BaseException) -> float | None:
    """Seconds from `Retry-After`, which is a number of them or a date (RFC 9110, section 10.2.3)."""
    value = _header(error, "retry-after")
    return None if value is None else retry_after({"retry-after": value})


def _header(error: BaseException, name: str) -> str | None:
    for link in _chain(error):
        for source in (
            getattr(getattr(link, "response", None), "headers", None),
            getattr(link, "litellm_response_headers", None),
            getattr(link, "headers", None),
        ):
            for key, value in dict(source or {}).items():
                if str(key).lower() == name:
                    return str(value)
    return None
