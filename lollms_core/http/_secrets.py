"""Keeping out of errors what a server repeats: keys, headers, passwords, however they are written."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Iterable
from urllib.parse import quote, unquote, unquote_plus, urlsplit

from lollms_core.contract.errors import LollmsError

__all__ = ["Secrets", "decoded", "queried", "userinfo"]

SHORTEST = 4
"""Characters. What is shorter stands in many a message by chance."""


class Secrets:
    """What must not be shown."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # aiohttp sends UTF-8, which a server may read as Latin-1, as headers are by the book.
        wholes = {form for secret in secrets for form in (secret, secret.encode(errors="replace").decode("latin-1"))}
        forms = {form for whole in wholes for form in _forms(whole)}
        # The longest first: one may contain another.
        self._forms = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)

    def hidden(self, text: str) -> str:
        """`text` with `***` in their places, and in those of what an excerpt, which ends in `…`, has left of one."""
        for form in self._forms:
            pieces = text.replace(form, "***").split("…")
            text = "…".join(_without_beginning_at_end(piece, form) for piece in pieces)
        return text

    def keep_out_of(self, error: LollmsError) -> None:
        """Hide them in what an error says, and drop its cause if that shows one."""
        message = self.hidden(error.message)
        if message != error.message:
            error.message = message
            error.args = (message,)
        error.hint = self.hidden(error.hint)
        cause = error.__cause__ or error.__context__
        while cause is not None:
            shown = f"{cause} {cause!r}"
            if self.hidden(shown) != shown:
                error.__cause__ = error.__context__ = None
                return
            cause = cause.__cause__ or cause.__context__


def _without_beginning_at_end(text: str, form: str) -> str:
    for size in range(min(len(form) - 1, len(text)), SHORTEST - 1, -1):
        if text.endswith(form[:size]):
            return f"{text[:-size]}***"
    return text


def userinfo(url: str | None) -> list[str]:
    """The password of a URL, as it stands there and as it is meant, and the `Basic` token that is made of it."""
    try:
        parts = urlsplit(url if url and "://" in url else f"http://{url or ''}")
    except ValueError:  # then nobody has sent it either
        return []
    if not parts.password:
        return []
    user, password = unquote(parts.username or ""), unquote(parts.password)
    return [parts.password, password, base64.b64encode(f"{user}:{password}".encode()).decode("ascii")]


def queried(url: str | None) -> list[str]:
    """The values in a URL's query, of which one may be a key, as they stand there and as they are meant."""
    found = []
    for field in (url or "").partition("?")[2].partition("#")[0].split("&"):
        name, _, value = field.partition("=")
        if name.lower() not in ("api-version", "version"):
            found += [value, unquote(value), unquote_plus(value)]
    return found


def decoded(authorization: str | None) -> list[str]:
    """The token of an `Authorization` header, and the password in it if it is `Basic`."""
    scheme, _, token = (authorization or "").partition(" ")
    found = [token]
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            found.append(base64.b64decode(token, validate=True).decode().partition(":")[2])
    return found


def _forms(secret: str) -> set[str]:
    """How a server may write it, or a library that quotes the server: as it is, in JSON, in a URL, as Python does."""
    return {
        secret,
        repr(secret)[1:-1],
        repr(secret.encode(errors="replace"))[2:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        quote(secret),
    }
