"""What went wrong, as errors: HTTP statuses, error objects inside answers, and the network's own failures."""

from __future__ import annotations

import email.utils
import errno
import json
import re
import socket
import ssl
import time
from collections.abc import Mapping
from datetime import timezone
from typing import Any

from lollms_core.contract.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ContextWindowError,
    InvalidRequestError,
    LollmsError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from lollms_core.http._address import mask
from lollms_core.http._exchange import WEB_PAGE, excerpt

__all__ = [
    "answer_error",
    "connection_error",
    "error_code",
    "error_text",
    "html_error",
    "not_due",
    "not_http_error",
    "own_turn_error",
    "proxy_error",
    "retry_after",
    "status_error",
    "through",
    "timeout_error",
    "tunnel_error",
]

_MAX_TEXT = 2000
_WINDOW = re.compile(
    r"context[ _](?:length|window|size)|maximum context|max_model_len|prompt is too long|too many (?:input )?tokens"
    r"|maximum (?:input|prompt) length|exceeds? the (?:available )?context|`max_new_tokens` must be <="
    r"|`inputs` must have less than|token count .{0,40}exceeds the maximum|input is too long for",
    re.IGNORECASE,
)
_TAGS = re.compile(rb"(?is)<(style|script)\b(?:.*?</\1\s*>|.*)|<[^>]*>")
"""Of a web page, all that is not text."""
_MODEL = re.compile(r"\bmodel\b", re.IGNORECASE)
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
_SOCKS_REFUSALS = frozenset({"SOCKS4Error", "SOCKS5Error"})
_STATUS = re.compile(r"[1-5][0-9]{2}")
_PROXY_KEY = "Put them into the proxy's address: HTTP_PROXY=http://user:password@host:port (special characters as %XX)."
_NOT_ALLOWED = "The proxy may not allow this server, or may not reach it; NO_PROXY exempts it."
_NOT_RETRYABLE = frozenset({501, 505, 511})
_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


def error_text(body: Any) -> str:
    """What a server's error answer says, whichever shape it has.

    `body` is the bytes, the text, or the parsed JSON. Looked for in turn: `error.message`, `error`, `detail`,
    `message`; else the beginning of the text. FastAPI's list of validation problems is joined into one line, and so are
    an `error` that is a phrase and the `message` beside it, as Spring and Fastify have them.
    """
    value = body
    if isinstance(body, bytes | str):
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return excerpt(body)
    return " ".join(_said(value, 4).split())[:_MAX_TEXT]


def _said(value: Any, depth: int) -> str:
    if isinstance(value, str):
        return value
    if not depth:
        return _written(value)
    if isinstance(value, Mapping):
        there = {name: value[name] for name in _WHERE if value.get(name)}
        phrase, message = there.get("error"), there.get("message")
        if isinstance(phrase, str) and isinstance(message, str):
            return message if phrase in message else f"{phrase}: {message}"
        if there:
            telling = [inner for inner in there.values() if _tells(inner)]
            return _said((telling or list(there.values()))[0], depth - 1)
    if isinstance(value, list):
        return "; ".join(_said(item, depth - 1) for item in value[:5])
    return "" if value is None else _written(value)


_WHERE = ("error", "detail", "message", "msg", "errors")


def _tells(value: Any) -> bool:
    """Whether something says what is wrong, rather than that something is."""
    return isinstance(value, str | list) or (isinstance(value, Mapping) and any(value.get(name) for name in _WHERE))


def _written(value: Any) -> str:
    try:
        return excerpt(json.dumps(value))
    except RecursionError:  # reading takes less of the stack than writing
        return ""


def error_code(body: Any) -> tuple[str, str]:
    """The `code` and `param` of an OpenAI-like error, e.g. `("unsupported_parameter", "top_k")`; empty if absent."""
    value = body
    if isinstance(body, bytes | str):
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return "", ""
    inner = value.get("error", value) if isinstance(value, Mapping) else None
    if not isinstance(inner, Mapping):
        return "", ""
    return _word(inner.get("code") or inner.get("type")), _word(inner.get("param"))


def _word(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a `Retry-After` header asks to wait (RFC 9110, section 10.2.3: a number or a date), if any."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(value)
            # The form of `asctime`, which servers once used, names no zone (section 5.6.7): all dates are in GMT.
            seconds = (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None


def status_error(
    status: int, headers: Mapping[str, str], body: bytes, *, where: str, key_hint: str = ""
) -> LollmsError:
    """The error for a response whose status is not a success.

    Args:
        where: the address of the server, for messages.
        key_hint: what to do about a missing or wrong key.
    """
    page = "text/html" in headers.get("content-type", "")
    text = f"an HTML page: {excerpt(_TAGS.sub(b' ', body[:20000]))}" if page else error_text(body)
    code, _ = error_code(body)
    message = mask(f"{where} answered with status {status}" + (f": {text}" if text else ""))
    if 300 <= status < 400:
        return _redirect(status, headers, where)
    if status == 401:
        return AuthenticationError(message, status_code=status, hint=key_hint)
    if status == 403:
        return PermissionDeniedError(message, status_code=status, hint=key_hint)
    if status == 407:
        return AuthenticationError(
            "the proxy asks for a user name and a password (status 407)", status_code=status, hint=_PROXY_KEY
        )
    if status == 404 and (code == "model_not_found" or (not page and _MODEL.search(text))):
        return ModelNotFoundError(
            message, status_code=status, hint="`client.list_models()` lists the names that it knows."
        )
    if status in (400, 413, 422):
        if _WINDOW.search(text) or code == "context_length_exceeded":
            return ContextWindowError(message, status_code=status)
        return InvalidRequestError(message, status_code=status)
    wait = retry_after(headers)
    if status == 408:
        return APITimeoutError(message, status_code=status, retry_after=wait)
    if status == 429:
        quota = code in _QUOTA
        hint = "The quota of this key is used up." if quota else _wait_hint(wait)
        return RateLimitError(message, status_code=status, retry_after=wait, hint=hint, retryable=not quota)
    if status >= 500:
        again = status not in _NOT_RETRYABLE
        return ServerError(message, status_code=status, retry_after=wait, retryable=again)
    hint = "Is this the address of the right kind of server?" if status in (404, 405) else ""
    return APIStatusError(message, status_code=status, hint=hint)


def _wait_hint(wait: float | None) -> str:
    if wait is None:
        return "Send fewer requests at once."
    seconds = f"{wait:.0f}" if wait >= 10 else f"{wait:.2g}"
    return f"Wait {seconds} second{'' if wait == 1 else 's'}; send fewer requests at once."


def _redirect(status: int, headers: Mapping[str, str], where: str) -> LollmsError:
    target = excerpt(mask(headers.get("location", "")).partition("?")[0]) or "nowhere"
    return APIStatusError(
        f"{where} redirects to {target} (status {status}): not followed, a prompt and a key go only where you say",
        hint=f"If {target} is right, set host_address to it.",
        status_code=status,
    )


def html_error(body: bytes, where: str) -> ProtocolError:
    """The error for an answer that is a web page in place of what the protocol says."""
    return ProtocolError(
        f"{where} answered with an HTML page in place of data (text/html): {excerpt(body)}",
        hint=WEB_PAGE,
    )


def answer_error(value: Any, *, where: str = "the server", status: int | None = None) -> LollmsError:
    """The error for an error object inside an answer that began as a success.

    `value` is the parsed object, its `error` member, or text. A `code` of three digits in it counts as the status that
    it would have had.
    """
    text = mask(error_text(value) or "an error without a message")
    code, _ = error_code(value)
    if status is None:
        status = int(code) if _STATUS.fullmatch(code) else _MEANT.get(code) or _meant_by_type(value)
    message = f"{where} answered with an error: {text}"
    # "Too many tokens" can be said of those of a minute, too.
    if code == "context_length_exceeded" or (status != 429 and _WINDOW.search(text)):
        return ContextWindowError(message, status_code=status)
    if status is not None and 400 <= status < 500:
        return status_error(status, {}, json.dumps({"error": {"message": text, "code": code}}).encode(), where=where)
    if code == "model_not_found":
        return ModelNotFoundError(message, status_code=status)
    return ServerError(message, status_code=status)


def not_due(value: Any, problem: str, *, where: str = "the server") -> LollmsError:
    """The error for an answer under a status of success that is not what is due.

    Args:
        value: the parsed answer. If it is an object that says what went wrong, the error says that.
        problem: what is told otherwise, as a `ProtocolError`.
        where: whose answer it is.
    """
    if isinstance(value, Mapping) and any(value.get(name) for name in _WHERE):
        return answer_error(value, where=where)
    return ProtocolError(problem)


_MEANT: Mapping[str, int] = {
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "invalid_request_error": 400,
}
"""The status that stands, or should stand, with a `code` or a `type` of an error: OpenAI's and Anthropic's words."""


def _meant_by_type(value: Any) -> int | None:
    inner = value.get("error", value) if isinstance(value, Mapping) else None
    if not isinstance(inner, Mapping):
        return None
    told = inner.get("http_status_code")  # of Text Generation Inference
    if isinstance(told, int) and 400 <= told < 600:
        return told
    return _MEANT.get(_word(inner.get("type")))


def timeout_error(kind: str, limit: float | None, where: str) -> APITimeoutError:
    """The error for a limit that was passed.

    `kind` is a field of `Timeouts`: `connect`, `first_token`, `idle`; or `upload`, which has the limit of `idle`, or
    `turn`, which has that of `first_token`.
    """
    what, field = {
        "connect": (f"no connection to {where}", "connect"),
        "first_token": (f"{where} did not begin to answer", "first_token"),
        "idle": (f"{where} stopped in the middle of its answer: nothing came", "idle"),
        "upload": (f"{where} stopped taking the request: nothing went out", "idle"),
        "turn": (f"{where} answers one call at a time, and the one before this did not end", "first_token"),
    }[kind]
    secure = kind == "connect" and where.startswith("https://")
    doubt = " If it does not speak TLS on that port, write http:// in the address." if secure else ""
    return APITimeoutError(
        f"{what} within {limit:g} second{'' if limit == 1 else 's'}" if limit is not None else what,
        hint=f"Check the server, or set another limit for the {field} timeout (Timeouts({field}=...)).{doubt}",
    )


def own_turn_error(where: str) -> InvalidRequestError:
    """The error for a call that would wait for a stream which only its own thread or task can read to the end."""
    return InvalidRequestError(
        f"{where} answers one call at a time, and a stream of this client is still open here",
        hint="Read that stream to its end or close it first, or use a second client.",
    )


def not_http_error(said: str, where: str, *, begins_well: bool = False) -> ProtocolError:
    """The error for a peer whose bytes are no HTTP response.

    Args:
        said: what the HTTP library says of them.
        where: whose bytes they are.
        begins_well: they begin as a response, but the head of it breaks the rules.
    """
    if begins_well:
        return ProtocolError(f"the head of the answer from {where} cannot be read: {excerpt(said)}")
    return ProtocolError(
        f"what answers at {where} does not speak HTTP: {excerpt(said)}",
        hint="Does the server want https:// in place of http://, or another port?",
    )


def proxy_error(cause: BaseException, proxy: str, *, connected: bool) -> LollmsError | None:
    """The error for a proxy that cannot be reached, or that did not open a tunnel; `None` if it is about the server.

    Args:
        cause: the exception of the operating system, or the one in which `http.client` tells the proxy's status.
        proxy: its address; may contain a password.
        connected: the proxy had been reached.
    """
    where = f"the proxy {mask(proxy)}"
    refusal = _TUNNEL.search(str(cause))
    if refusal is not None:
        return tunnel_error(int(refusal[1]), where)
    told = type(cause).__name__ if type(cause).__module__ == "socks" else ""  # PySocks may not be installed
    if told == "SOCKS5AuthError":
        return AuthenticationError(f"{where} did not let us pass: {_strerror(cause)}", hint=_PROXY_KEY)
    if told in _SOCKS_REFUSALS:
        return APIConnectionError(f"{where} did not connect to the server: {_strerror(cause)}", hint=_NOT_ALLOWED)
    behind_tunnel = isinstance(cause, ssl.SSLError) and not proxy.lower().startswith("https")
    if connected or behind_tunnel:
        return None
    hint = "Check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or exempt the server with NO_PROXY."
    if isinstance(cause, TimeoutError):
        return APITimeoutError(f"no connection to {where} in time", hint=hint)
    return connection_error(cause, where, hint=hint)


def through(where: str, proxy: str | None) -> str:
    """A server's address, with that of the proxy on the way there: what went wrong may be the fault of either."""
    return where if proxy is None else f"{where} (through the proxy {mask(proxy)})"


def tunnel_error(status: int, where: str) -> LollmsError:
    """The error for a proxy that answered `CONNECT` with something else than success."""
    if status == 407:
        return AuthenticationError(
            f"{where} asks for a user name and a password (status 407)", status_code=status, hint=_PROXY_KEY
        )
    return APIConnectionError(
        f"{where} did not connect to the server (status {status})",
        hint=_NOT_ALLOWED,
        retryable=status >= 500,
    )


def connection_error(cause: BaseException, where: str, *, hint: str = "") -> APIConnectionError:
    """The error for a connection that failed or broke, from the operating system's or the TLS library's exception."""
    if isinstance(cause, ssl.SSLError):
        return _tls(cause, where)
    if isinstance(cause, socket.gaierror):
        return APIConnectionError(
            f"cannot reach {where}: its host name is not known ({_strerror(cause)})",
            hint="Check the spelling of the address and the network connection.",
            retryable=cause.errno == socket.EAI_AGAIN,
        )
    if isinstance(cause, ConnectionRefusedError):
        return APIConnectionError(
            f"cannot reach {where}: nothing listens there (connection refused)",
            hint=hint or "Start the server, or check host_address.",
        )
    # aiohttp's own class of errors has the number alone.
    broken = isinstance(cause, OSError) and cause.errno in (errno.ECONNRESET, errno.EPIPE)
    if broken or isinstance(cause, ConnectionResetError | BrokenPipeError | EOFError):
        return APIConnectionError(
            f"{where} closed the connection before it answered", hint="Ask again; its log may tell why it did so."
        )
    return APIConnectionError(f"cannot reach {where}: {_strerror(cause)}", hint=hint)


def _tls(cause: ssl.SSLError, where: str) -> APIConnectionError:
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted ({cause.verify_message})"
        hint = "Pass verify_ssl_certificate='/path/to/ca.pem' to trust its authority, or False to trust any server."
    else:
        why = f"TLS failed ({cause.reason or _strerror(cause)})"
        hint = "Does this server speak TLS on that port? If not, write http:// in the address."
    return APIConnectionError(f"no secure connection to {where}: {why}", hint=hint, retryable=False)


def _strerror(cause: BaseException) -> str:
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return mask(excerpt(text or type(cause).__name__))
