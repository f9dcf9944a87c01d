"""Addresses of servers that speak OpenAI's protocol: what people write, made into a root and the path of the API."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lollms_core.http import Address, refuse_bare_password

__all__ = ["Endpoint"]

_VERSION = re.compile(r"v\d+\w*")
_ROUTE = re.compile(r"/(?:chat/completions|completions|models|embeddings)$")
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an API is."""

    root: str
    """The address of the server, in front of the path of the API."""
    prefix: str
    """The path of the API, such as `/v1`."""
    query: str
    """What follows the path of every request, such as `?api-version=2024-10-21`."""
    kind: Literal["openai", "azure", "compatible"]
    """Whose server it is: OpenAI's own and Azure's know OpenAI's parameters only."""

    @classmethod
    def parse(cls, text: str, api_path: str | None = None) -> Endpoint:
        """Read an address, with or without the path of the API, or the full URL of one of its routes.

        >>> Endpoint.parse("localhost:8000").chat
        '/v1/chat/completions'
        >>> Endpoint.parse("https://openrouter.ai/api/v1/").root
        'https://openrouter.ai/api'
        >>> Endpoint.parse("https://generativelanguage.googleapis.com/v1beta/openai").prefix
        ''

        Args:
            api_path: the path of the API, if it is not to be found from the address.

        Raises:
            ConfigurationError: it is no HTTP address.
        """
        refuse_bare_password(text.strip())
        scheme, mark, rest = text.strip().partition("://")
        if not mark:
            scheme, rest = "", scheme
        rest, mark, query = rest.partition("?")
        query = mark + query if query else ""
        authority, slash, path = rest.partition("/")
        path = _ROUTE.sub("", (slash + path).rstrip("/"))
        kind = _kind(Address.parse(f"http://{authority}").host)
        # A key for OpenAI must not travel in the clear because somebody left the scheme out.
        scheme = scheme or ("http" if kind == "compatible" else "https")
        path, prefix = _divide(path, query, kind) if api_path is None else (path, api_path.strip("/"))
        root = f"{scheme}://{authority}{path}"
        return cls(root, f"/{prefix}" if prefix else "", query, kind)

    def route(self, path: str) -> str:
        """A route of the API, relative to the root."""
        return f"{self.prefix}{path}{self.query}"

    @property
    def chat(self) -> str:
        return self.route("/chat/completions")


def _kind(host: str) -> Literal["openai", "azure", "compatible"]:
    host = host.lower().rstrip(".")
    if host == "api.openai.com" or host.endswith(".api.openai.com"):
        return "openai"
    return "azure" if host.endswith(_AZURE) else "compatible"


def _divide(path: str, query: str, kind: str) -> tuple[str, str]:
    """The part of the path that belongs to the server, and the path of the API."""
    before, _, last = path.rpartition("/")
    if _VERSION.fullmatch(last):
        return before, last
    if query or any(_VERSION.fullmatch(part) for part in path.split("/")):
        return path, ""
    if kind == "azure" and not path:
        return "", "openai/v1"
    return path, "v1"
