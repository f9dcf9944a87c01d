"""Proxies that the environment names: plain and with a tunnel, with and without scheme and password."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from packaging.version import Version

from tests.faults.asking import DOORS, KEY, Door
from tests.framing.asking import GOOD, Way
from tests.framing.conftest import Serve
from tests.framing.framings import FRAMINGS
from tests.support.dialects import Dialect
from tests.support.framing_server import FramingServer
from tests.support.proxy_server import ESTABLISHED, ProxyServer

OPENAI = DOORS["openai"]
NOWHERE = "http://model.invalid:8080/chunked"
"""A server that only a proxy can reach."""
PLAIN = "me:secret"
ODD = "m e@work:s3cr/et:100%?#@[x]"
"""Allowed in credentials, and none of it may stand in a URL as it is."""
QUOTED = ":".join(quote(part, safe="") for part in ODD.split(":", 1))

Plain = Callable[..., ProxyServer]
Tunnel = Callable[..., tuple[ProxyServer, str, dict[str, Any]]]


@pytest.fixture
def plain(serve: Serve[Any]) -> Plain:
    """Starts a server and a proxy before it."""

    def start(dialect: Dialect, **settings: Any) -> ProxyServer:
        server = serve(FramingServer(dialect, FRAMINGS))
        proxy: ProxyServer = serve(ProxyServer(server.port, **settings))
        return proxy

    return start


@pytest.fixture
def tunnel(serve: Serve[Any], certificate: Path) -> Tunnel:
    """The same with TLS: the proxy, the server's address, and the settings with which a client trusts it."""

    def start(dialect: Dialect, **settings: Any) -> tuple[ProxyServer, str, dict[str, Any]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server = serve(FramingServer(dialect, FRAMINGS, tls=context))
        proxy = serve(ProxyServer(server.port, **settings))
        return proxy, server.address("chunked"), {"verify_ssl_certificate": str(certificate)}

    return start


# --- plain ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credentials", [None, PLAIN], ids=["open", "password"])
def test_a_plain_proxy(
    door: Door, ask: Way, plain: Plain, monkeypatch: pytest.MonkeyPatch, credentials: str | None
) -> None:
    proxy = plain(door.dialect, credentials=credentials)
    monkeypatch.setenv("HTTP_PROXY", proxy.url(credentials or ""))
    assert ask(door.client(NOWHERE)) == GOOD
    assert {request.target.split("/")[2] for request in proxy.requests} == {"model.invalid:8080"}
    assert all(b"Host: model.invalid:8080\r\n" in request.head for request in proxy.requests)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_the_variables_for_http(ask: Way, plain: Plain, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    proxy = plain(OPENAI.dialect)
    monkeypatch.setenv(variable, proxy.url())
    assert ask(OPENAI.client(NOWHERE)) == GOOD
    assert proxy.requests


@pytest.mark.parametrize("scheme", ["http://", "HTTP://", ""])
@pytest.mark.parametrize("credentials", [None, PLAIN, ODD], ids=["open", "password", "odd-password"])
@pytest.mark.parametrize("end", ["", "/"])
def test_the_forms_of_a_proxys_address(
    ask: Way, plain: Plain, monkeypatch: pytest.MonkeyPatch, scheme: str, credentials: str | None, end: str
) -> None:
    proxy = plain(OPENAI.dialect, credentials=credentials)
    written = {None: "", PLAIN: PLAIN, ODD: QUOTED}[credentials]
    monkeypatch.setenv("HTTP_PROXY", proxy.url(written, scheme) + end)
    assert ask(OPENAI.client(NOWHERE)) == GOOD
    assert proxy.requests


@pytest.mark.parametrize(
    "name",
    ["length-close", "until-close-1.0", "length-1.0-keep-alive", "chunked-bytewise", "103", "gzip-members-apart"],
)
def test_framings_through_a_plain_proxy(ask: Way, plain: Plain, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", plain(OPENAI.dialect).url())
    assert ask(OPENAI.client(NOWHERE.replace("chunked", name))) == GOOD


# --- with a tunnel ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("connections_are_kept")
@pytest.mark.parametrize("credentials", [None, PLAIN], ids=["open", "password"])
def test_a_tunnel(
    door: Door, ask: Way, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch, credentials: str | None
) -> None:
    proxy, address, trust = tunnel(door.dialect, credentials=credentials)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url(credentials or ""))
    assert ask(door.client(address, **trust)) == GOOD
    assert {request.method for request in proxy.requests} == {"CONNECT"}
    assert not [request for request in proxy.requests if KEY.encode() in request.head], "the key is the server's alone"
    assert proxy.tunnels <= 2, "a tunnel that was open was not used again"


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_the_variables_for_https(ask: Way, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    proxy, address, trust = tunnel(OPENAI.dialect)
    monkeypatch.setenv(variable, proxy.url())
    assert ask(OPENAI.client(address, **trust)) == GOOD
    assert proxy.tunnels


@pytest.mark.parametrize("scheme", ["http://", ""])
@pytest.mark.parametrize("credentials", [PLAIN, ODD], ids=["password", "odd-password"])
def test_passwords_for_a_tunnel(
    ask: Way, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch, scheme: str, credentials: str
) -> None:
    proxy, address, trust = tunnel(OPENAI.dialect, credentials=credentials)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url({PLAIN: PLAIN, ODD: QUOTED}[credentials], scheme))
    assert ask(OPENAI.client(address, **trust)) == GOOD
    assert proxy.tunnels


@pytest.mark.parametrize("said", ESTABLISHED)
def test_how_a_proxy_says_that_a_tunnel_is_open(
    ask: Way, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    proxy, address, trust = tunnel(OPENAI.dialect, established=ESTABLISHED[said])
    monkeypatch.setenv("HTTPS_PROXY", proxy.url())
    assert ask(OPENAI.client(address, **trust)) == GOOD


# --- around a proxy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("value", ["127.0.0.1", "*", "127.0.0.0/8", "localhost, 127.0.0.1 ,.invalid"])
def test_servers_that_are_exempt(
    ask: Way, serve: Serve[Any], monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    server = serve(FramingServer(OPENAI.dialect, FRAMINGS))
    proxy = serve(ProxyServer(server.port))
    monkeypatch.setenv("HTTP_PROXY", proxy.url())
    monkeypatch.setenv(variable, value)
    assert ask(OPENAI.client(server.address("chunked"))) == GOOD
    assert proxy.requests == []


@pytest.mark.skipif(
    Version(version("requests")) < Version("2.34"), reason="requests takes del.invalid for an end of model.invalid"
)
def test_a_server_that_is_not_exempt(ask: Way, plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = plain(OPENAI.dialect)
    monkeypatch.setenv("HTTP_PROXY", proxy.url())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,other.invalid,del.invalid")
    assert ask(OPENAI.client(NOWHERE)) == GOOD
    assert proxy.requests
