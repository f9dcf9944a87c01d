"""SOCKS proxies, where the package that speaks to them is installed: sync calls, and async ones through threads."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.faults.asking import DOORS, KEY, Door
from tests.framing.asking import GOOD, Way
from tests.framing.conftest import Serve
from tests.framing.framings import FRAMINGS
from tests.framing.socks import SocksServer
from tests.support.framing_server import FramingServer

pytest.importorskip("socks", reason="PySocks is not installed; what is said then is tested in test_proxy_errors.py")

OPENAI = DOORS["openai"]


@pytest.mark.parametrize("credentials", [None, ("me", "s3cr/et")], ids=["open", "password"])
def test_a_name_that_the_proxy_looks_up(
    door: Door,
    ask: Way,
    serve: Serve[Any],
    monkeypatch: pytest.MonkeyPatch,
    credentials: tuple[str, str] | None,
) -> None:
    server = serve(FramingServer(door.dialect, FRAMINGS))
    proxy = serve(SocksServer(server.port, credentials))
    written = "me:s3cr%2Fet@" if credentials else ""
    monkeypatch.setenv("ALL_PROXY", f"socks5h://{written}127.0.0.1:{proxy.port}")
    assert ask(door.client("http://model.invalid:8080/chunked")) == GOOD
    assert set(proxy.hosts) == {"model.invalid"}


@pytest.mark.usefixtures("connections_are_kept")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_name_that_the_client_looks_up(
    ask: Way, serve: Serve[Any], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    server = serve(FramingServer(OPENAI.dialect, FRAMINGS))
    proxy = serve(SocksServer(server.port))
    monkeypatch.setenv(variable, f"socks5://127.0.0.1:{proxy.port}")
    assert ask(OPENAI.client(server.address("chunked"))) == GOOD
    assert set(proxy.hosts) == {"127.0.0.1"}
    assert proxy.accepted <= 2, "a connection that was open was not used again"


def test_with_tls(ask: Way, serve: Serve[Any], certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = serve(FramingServer(OPENAI.dialect, FRAMINGS, tls=context))
    proxy = serve(SocksServer(server.port))
    monkeypatch.setenv("HTTPS_PROXY", f"socks5h://127.0.0.1:{proxy.port}")
    assert ask(OPENAI.client(server.address("chunked"), verify_ssl_certificate=str(certificate))) == GOOD
    assert set(proxy.hosts) == {"127.0.0.1"}


def test_a_wrong_password(ask: Way, serve: Serve[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(FramingServer(OPENAI.dialect, FRAMINGS))
    proxy = serve(SocksServer(server.port, ("me", "right")))
    monkeypatch.setenv("ALL_PROXY", f"socks5h://me:wr0ng@127.0.0.1:{proxy.port}")
    made = ask(OPENAI.client("http://model.invalid:8080/chunked"))
    for call, value in made.items():
        assert str(value).startswith("AuthenticationError: "), (call, value)
        assert f"127.0.0.1:{proxy.port}" in value
        assert "wr0ng" not in value
        assert KEY not in value
    assert server.requests == []
