"""What `OLLAMA_HOST` may say, made into an address that a client can connect to."""

from __future__ import annotations

import ipaddress

__all__ = ["DEFAULT_PORT", "client_address"]

DEFAULT_PORT = 11434
"""Where an Ollama server listens unless it is told otherwise."""

_SCHEME_PORTS = {"http": 80, "https": 443}


def client_address(text: str) -> str:
    """The URL to connect to for an address as people write it. Nothing is looked up.

    `OLLAMA_HOST` is read by the server too, which may be told to listen on every interface, and it need not be a URL.
    The rules are those of Ollama's own clients: a port that is missing is 11434, or, where a scheme is written, the
    scheme's own; a host that is missing, or that means every interface, is this machine.

    >>> client_address("example.org")
    'http://example.org:11434'
    >>> client_address("0.0.0.0:8080")
    'http://127.0.0.1:8080'
    >>> client_address("[::]")
    'http://[::1]:11434'
    >>> client_address("::1")
    'http://[::1]:11434'
    >>> client_address(":8080")
    'http://127.0.0.1:8080'
    >>> client_address("https://example.org/ollama/")
    'https://example.org:443/ollama'
    >>> client_address("http://example.org")
    'http://example.org:80'
    >>> client_address("ollama.com")
    'https://ollama.com:443'

    What is no address passes through more or less as it is: whoever parses it can say what is wrong with it.
    """
    text = text.strip().strip("\"'").strip()
    scheme, separator, rest = text.partition("://")
    if separator:
        scheme = scheme.lower()
        default = _SCHEME_PORTS.get(scheme, DEFAULT_PORT)
    else:
        scheme, rest, default = "http", text, DEFAULT_PORT
    authority, slash, path = rest.partition("/")
    if "@" in path:
        return text  # a password that was not percent-encoded; whoever parses it says so, without showing it
    credentials, at, host_and_port = authority.rpartition("@")
    host, port = _split(host_and_port)
    if not separator and host.lower() == "ollama.com":
        # Ollama's own service does not answer without TLS, and a key belongs to it.
        scheme, default = "https", 443
    return f"{scheme}://{credentials}{at}{_reachable(host)}:{port or default}{(slash + path).rstrip('/')}"


def _split(text: str) -> tuple[str, str]:
    """Host, without brackets, and port."""
    if text.startswith("["):
        host, _, tail = text[1:].partition("]")
        return host, tail.removeprefix(":")
    if text.count(":") > 1:  # an IPv6 address without brackets has no room for a port
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def _reachable(host: str) -> str:
    if not host:
        return "127.0.0.1"
    if ":" not in host:
        return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 -- read, not bound
    try:
        if ipaddress.IPv6Address(host).is_unspecified:
            return "[::1]"
    except ValueError:
        pass
    return f"[{host}]"
