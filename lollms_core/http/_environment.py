"""What the surroundings say about reaching a server: proxies, certificates, `.netrc`. Found once for a client."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from lollms_core.contract.errors import ConfigurationError
from lollms_core.http._address import Address, mask, refuse_bare_password

__all__ = ["Environment"]

_SOCKS = ("socks4", "socks4a", "socks5", "socks5h")


@dataclass(frozen=True, slots=True)
class Environment:
    """The settings that `requests` would find for each call, found once."""

    proxy: str | None = field(repr=False)
    """The proxy's URL, which may contain a password."""
    verify: bool | str
    """Whether to check the server's certificate; a string is the path of the authorities to trust."""
    authorization: str | None = field(repr=False)
    """`Basic` credentials from the address or from `.netrc`, for requests that carry no other."""

    @property
    def is_socks(self) -> bool:
        """The proxy speaks SOCKS, not HTTP."""
        return self.proxy is not None and self.proxy.partition("://")[0] in _SOCKS

    @classmethod
    def find(cls, address: Address, verify: bool | str) -> Environment:
        """Read the variables of proxies and of certificates, and `.netrc`.

        Raises:
            ConfigurationError: the certificates that `verify` names do not exist, or a proxy's address is none.
        """
        import os

        # Not `requests.utils`: that takes the locks of the two imports in the other order than `import requests` does,
        # which another thread may be at.
        import requests

        url = str(address)
        with requests.Session() as session:
            settings = session.merge_environment_settings(url, {}, True, verify, None)
        verify = True if settings["verify"] is None else settings["verify"]
        if isinstance(verify, str) and address.scheme == "https" and not os.path.exists(verify):
            raise ConfigurationError(
                f"the file of certificates {verify!r} does not exist",
                hint="Correct verify_ssl_certificate, or the variable REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, whichever "
                "names it.",
            )
        credentials = address.credentials or requests.utils.get_netrc_auth(url)
        return cls(
            proxy=_proxy(requests.utils.select_proxy(url, settings["proxies"])),
            verify=verify,
            authorization=None if credentials is None else _basic(*credentials),
        )


def _proxy(text: str | None) -> str | None:
    """A proxy's address as URL; without a scheme it is `http`, as curl has it. Raises `ConfigurationError`."""
    if not text or not text.strip():
        return None
    scheme, mark, rest = text.strip().partition("://")
    if not mark:
        scheme, rest = "http", scheme
    scheme = scheme.lower()
    try:
        refuse_bare_password(text.strip())
        if scheme not in ("http", "https", *_SOCKS):
            raise ConfigurationError(f"{scheme} is not a kind of proxy: it must be http, https or one of SOCKS")
        # A default port is the server's affair, not the proxy's.
        Address.parse(f"http://{rest}")
    except ConfigurationError as error:
        raise ConfigurationError(
            f"the address of the proxy cannot be used: {mask(error.message)}",
            hint=f"Check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY. {error.hint}".strip(),
        ) from None
    return f"{scheme}://{rest}"


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
