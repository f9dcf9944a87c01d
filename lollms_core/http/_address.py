"""Server addresses: what users write, made into what is connected to and what may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from lollms_core.contract.errors import ConfigurationError

__all__ = ["Address", "mask", "refuse_bare_password"]

# To the last @ of a word: a password that was not percent-encoded may contain anything. A path with an @ loses its
# beginning in a message, which is the smaller evil.
_USERINFO = re.compile(r"(?<=://)[^\s'\"<>]*@")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. `str()` gives it without user name and password, and without a slash at the end."""

    scheme: str
    host: str
    port: int
    path: str = ""
    """Without a slash at the end; empty for the root."""
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    """User name and password that stood in the address."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address; without a scheme it is `http`, without a port the scheme's own.

        >>> str(Address.parse("localhost:9600"))
        'http://localhost:9600'
        >>> str(Address.parse("https://user:secret@example.org/api/"))
        'https://example.org/api'

        Raises:
            ConfigurationError: it is no HTTP address. The message shows it without its password.
        """
        full = text.strip()
        if "://" not in full:
            full = f"http://{full}"
        refuse_bare_password(full)
        # What `urlsplit` says of a wrong address quotes the part it cannot read, which may be a password.
        try:
            parts = urlsplit(full)
            host = parts.hostname
        except ValueError:
            raise _invalid(full, "its host cannot be read") from None
        try:
            port = parts.port
        except ValueError:
            raise _invalid(full, "its port is not a number from 0 to 65535") from None
        if parts.scheme not in ("http", "https"):
            raise _invalid(full, "it must begin with http:// or https://")
        if not host or any(c.isspace() or not c.isprintable() for c in full):
            raise _invalid(full, "it has no host name" if not host else "it contains spaces or control characters")
        if problem := _host_problem(host):
            raise _invalid(full, problem)
        if parts.query or parts.fragment:
            raise _invalid(full, "it must not have a query or a fragment")
        credentials = None
        if parts.username is not None:
            credentials = (unquote(parts.username), unquote(parts.password or ""))
        default = 443 if parts.scheme == "https" else 80
        return cls(parts.scheme, host, default if port is None else port, parts.path.rstrip("/"), credentials)

    @property
    def origin(self) -> str:
        """Scheme, host and port, as a URL without path; a default port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return f"{self.scheme}://{host}" + ("" if self.port == default else f":{self.port}")

    @property
    def is_loopback(self) -> bool:
        """Whether it names this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def __str__(self) -> str:
        return self.origin + self.path


def refuse_bare_password(text: str) -> None:
    """See to it that what stands before the host ends there.

    Raises:
        ConfigurationError: there is an @ behind the first slash, ? or #: a password that was not percent-encoded, of
            which a part would be taken for the host or the path, and shown.
    """
    rest = text.partition("://")[2] or text
    if "@" in _BEHIND_HOST.sub("", rest, count=1):
        raise _invalid(text, "there is an @ behind its host")


def mask(text: str) -> str:
    """`text` with the user names and passwords of the addresses in it replaced.

    >>> mask("cannot reach http://me:secret@host/x")
    'cannot reach http://***@host/x'
    """
    return _USERINFO.sub("***@", text)


def _host_problem(host: str) -> str:
    """What is wrong with a host name (RFC 1123, section 2.1; `_` is seen in practice); empty if nothing is."""
    if ":" in host:  # an IPv6 address, which `urlsplit` has looked at
        return ""
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return "its host name cannot be written in ASCII"
    labels = name.removesuffix(".").split(".")
    if not all(0 < len(label) <= 63 for label in labels) or len(name) > 253:
        return "a part of its host name is empty, or too long"
    return "" if all(map(_LABEL.fullmatch, labels)) else "its host name has a character that no host name has"


_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_BEHIND_HOST = re.compile(r"[^/?#]*")
_ENCODE = (
    "In a user name or a password, write special characters as %XX: / is %2F, # is %23, ? is %3F, @ is %40, : is %3A "
    "and a space is %20."
)


def _invalid(text: str, why: str) -> ConfigurationError:
    before, mark, rest = text.partition("://")
    hint = "Write it like http://HOST:PORT."
    if "@" in text:
        # Here a password may contain anything, spaces and :// too: it ends at the last @ of all.
        before = before if mark and before.isalnum() else "***"
        rest = f"***@{text.rpartition('@')[2]}"
        hint = _ENCODE
    rest, query, _ = rest.partition("?")  # which may hold a key
    shown = f"{before}{mark}{rest}{query and '?***'}"
    return ConfigurationError(f"{shown!r} is not a server address: {why}", hint=hint)
