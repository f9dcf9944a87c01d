"""What goes wrong with proxies: who is to blame is said, what to do about it, and no password."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import socket
import socketserver
import ssl
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lollms_core import LollmsClient, LollmsError
from lollms_core.http._sockets import reset_when_closed
from tests.faults.asking import DOORS, Door
from tests.framing.conftest import Serve
from tests.framing.framings import FRAMINGS
from tests.support.fault_server import refused_address
from tests.support.framing_server import FramingServer
from tests.support.proxy_server import ProxyServer
from tests.support.waiting import PATIENCE, in_background

OPENAI = DOORS["openai"]
NOWHERE = "http://model.invalid:8080/chunked"
SECURE = "https://model.invalid:8443/chunked"

Errors = Callable[[Callable[[], LollmsClient]], list[LollmsError]]


def in_sync(make: Callable[[], LollmsClient]) -> list[LollmsError]:
    """The errors of a call that asks for a value, and of a stream, each on a client of its own."""
    with make() as client, pytest.raises(LollmsError) as of_value:
        client.list_models()
    with make() as client, pytest.raises(LollmsError) as of_stream:
        list(client.stream("hi"))
    return [of_value.value, of_stream.value]


def in_async(make: Callable[[], LollmsClient]) -> list[LollmsError]:
    """`in_sync`, async."""

    async def ask() -> list[LollmsError]:
        async with make() as client:
            with pytest.raises(LollmsError) as of_value:
                await client.alist_models()
        async with make() as client:
            with pytest.raises(LollmsError) as of_stream:
                async with contextlib.aclosing(client.astream("hi")) as chunks:
                    async for _ in chunks:
                        pass
        return [of_value.value, of_stream.value]

    return asyncio.run(ask())


@pytest.fixture(params=[in_sync, in_async], ids=["sync", "async"])
def errors(request: pytest.FixtureRequest) -> Errors:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=["http", "https"])
def secure_or_not(request: pytest.FixtureRequest) -> str:
    return NOWHERE if request.param == "http" else SECURE


def everything_shown(error: LollmsError) -> str:
    """Every form in which a program could show the error, and what stands behind it."""
    shown = [error.hint, json.dumps(error.to_dict()), repr(vars(error)), *traceback.format_exception(error)]
    current: BaseException | None = error
    while current is not None:
        shown += [str(current), repr(current), repr(current.args)]
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n".join(shown)


def not_shown(credentials: str, error: LollmsError) -> bool:
    """Whether the password is nowhere to be seen, be it as text or as it stands in a header."""
    password = credentials.partition(":")[2]
    shown = everything_shown(error)
    return not password or not any(secret in shown for secret in (password, _basic(credentials)))


def _basic(credentials: str) -> str:
    return base64.b64encode(credentials.encode()).decode()


# --- 407 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credentials", ["", "me:wr0ng-one"], ids=["no-password", "wrong-password"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tunnel"])
def test_a_proxy_that_does_not_let_pass(
    door: Door,
    errors: Errors,
    serve: Serve[Any],
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    credentials: str,
    secure: bool,
) -> None:
    """It is the proxy that wants to know who asks, so the hint must not send anybody to the model's key."""
    context = None
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = serve(FramingServer(door.dialect, FRAMINGS, tls=context))
    proxy = serve(ProxyServer(server.port, credentials="me:secret"))
    monkeypatch.setenv("HTTPS_PROXY" if secure else "HTTP_PROXY", proxy.url(credentials))
    address = server.address("chunked") if secure else NOWHERE
    trust = {"verify_ssl_certificate": str(certificate)}
    for error in errors(lambda: door.client(address, raise_errors=True, max_retries=2, **trust)):
        assert (error.type, error.status_code, error.retryable) == ("AuthenticationError", 407, False), error
        assert "proxy" in error.message.lower()
        assert "proxy" in error.hint.lower()
        assert "service_key" not in error.hint
        assert not_shown(credentials, error)
    assert server.requests == []
    if door.format == "openai":  # the others may ask several questions before they give up
        assert len(proxy.requests) == 2, "a proxy that had refused was asked again"


# --- not an address ---------------------------------------------------------------------------------------------------

MALFORMED = {
    "slash-in-password": "http://me:s3cr/3t-part@127.0.0.1:3128",
    "question-mark-in-password": "http://me:s3cr?3t-part@127.0.0.1:3128",
    "hash-in-password": "http://me:s3cr#3t-part@127.0.0.1:3128",
    "port-that-is-none": "http://127.0.0.1:notaport",
    "port-that-is-none-and-password": "http://me:s3cr3t-part@127.0.0.1:notaport",
    "port-that-is-none-and-no-scheme": "me:s3cr3t-part@127.0.0.1:notaport",
    "port-too-large": "http://me:s3cr3t-part@127.0.0.1:99999",
    "no-host": "http://me:s3cr3t-part@",
    "no-host-but-a-port": "http://me:s3cr3t-part@:3128",
    "half-a-bracket": "http://me:s3cr3t-part@[::1:3128",
    "another-scheme": "gopher://me:s3cr3t-part@127.0.0.1:3128",
    "spaces": "http://me:s3cr3t-part@127.0.0.1 :3128",
}
PARTS = ("s3cr", "3t-part")


@pytest.mark.parametrize("written", MALFORMED.values(), ids=list(MALFORMED))
def test_a_proxy_address_that_is_none(
    errors: Errors, monkeypatch: pytest.MonkeyPatch, secure_or_not: str, written: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", written)
    monkeypatch.setenv("HTTPS_PROXY", written)
    for error in errors(lambda: OPENAI.client(secure_or_not, raise_errors=True)):
        assert error.type == "ConfigurationError", error
        assert "proxy" in error.message.lower()
        shown = everything_shown(error)
        assert [part for part in PARTS if part in shown] == []


# --- a proxy that is not there ----------------------------------------------------------------------------------------


@pytest.fixture
def nobody() -> Iterator[str]:
    with refused_address() as address:
        yield address.removeprefix("http://")


@pytest.mark.parametrize("credentials", ["", "me:s3cr3t"], ids=["open", "password"])
def test_nothing_listens_where_the_proxy_should_be(
    door: Door, errors: Errors, monkeypatch: pytest.MonkeyPatch, secure_or_not: str, nobody: str, credentials: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://{credentials and credentials + '@'}{nobody}")
    for error in errors(lambda: door.client(secure_or_not, raise_errors=True)):
        assert error.type == "APIConnectionError", error
        assert re.search(rf"cannot reach the proxy \S*{nobody}", error.message), error
        assert "refused" in error.message
        assert not_shown(credentials, error)


def test_nothing_listens_where_the_socks_proxy_should_be(
    door: Door, monkeypatch: pytest.MonkeyPatch, secure_or_not: str, nobody: str
) -> None:
    pytest.importorskip("socks", reason="PySocks is not installed; what is said then is tested below")
    monkeypatch.setenv("ALL_PROXY", f"socks5h://me:s3cr3t@{nobody}")
    for error in in_sync(lambda: door.client(secure_or_not, raise_errors=True)):
        assert re.search(rf"cannot reach the proxy \S*{nobody}: nothing listens there", error.message), error
        assert not_shown("me:s3cr3t", error)


def test_a_proxy_whose_name_is_not_known(errors: Errors, monkeypatch: pytest.MonkeyPatch, secure_or_not: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://me:s3cr3t@no-such-proxy.invalid:3128")
    for error in errors(lambda: OPENAI.client(secure_or_not, raise_errors=True)):
        assert error.type == "APIConnectionError", error
        assert re.search(r"cannot reach the proxy \S*no-such-proxy\.invalid", error.message), error
        assert "host name" in error.message
        assert not_shown("me:s3cr3t", error)


def closes(sock: socket.socket) -> None:
    sock.recv(4096)


def resets(sock: socket.socket) -> None:
    reset_when_closed(sock)


def closes_at_once(sock: socket.socket) -> None:
    pass


def says_something_else(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(b"SSH-2.0-x\r\n")


def breaks_tls(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    sock.recv(4096)
    sock.sendall(b"nothing that is TLS\r\n")


def refuses_by_socks(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(b"\x05\x00")
    sock.recv(4096)
    sock.sendall(b"\x05\x05\x00\x01" + bytes(6))


@contextlib.contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that talks like this to whoever comes; its host and port."""

    class Other(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                talk(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Other) as server:
        thread = in_background(lambda: server.serve_forever(poll_interval=0.02))
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.result()


@pytest.mark.parametrize("talk", [closes, resets, closes_at_once, says_something_else])
def test_what_is_no_proxy_is_named(
    errors: Errors, monkeypatch: pytest.MonkeyPatch, secure_or_not: str, talk: Callable[[socket.socket], None]
) -> None:
    with talking(talk) as where:
        monkeypatch.setenv("ALL_PROXY", f"http://me:s3cr3t@{where}")
        for error in errors(lambda: OPENAI.client(secure_or_not, raise_errors=True, max_retries=0)):
            assert error.type in ("APIConnectionError", "ProtocolError"), error
            assert re.search(rf"the proxy \S*{where}", error.message), error
            assert "write request body" not in error.message
            assert not_shown("me:s3cr3t", error)


def test_a_proxy_is_not_to_blame_for_what_comes_through_its_tunnel(
    errors: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    with talking(breaks_tls) as where:
        monkeypatch.setenv("ALL_PROXY", f"http://me:s3cr3t@{where}")
        for error in errors(lambda: OPENAI.client(SECURE, raise_errors=True, max_retries=0)):
            assert re.search(rf"no secure connection to {SECURE} \(through \S+ \S+ \S*{where}\)", error.message), error
            assert not_shown("me:s3cr3t", error)


def test_a_server_that_drops_a_request_is_told_as_that(errors: Errors) -> None:
    for talk in (closes, resets, closes_at_once):
        with talking(talk) as where:
            for error in errors(lambda: OPENAI.client(f"http://{where}", raise_errors=True, max_retries=0)):
                assert error.message.endswith(f"http://{where} closed the connection before it answered"), error


def test_a_socks_proxy_that_does_not_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("socks", reason="PySocks is not installed; what is said then is tested below")
    with talking(refuses_by_socks) as where:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://me:s3cr3t@{where}")
        for error in in_sync(lambda: OPENAI.client(NOWHERE, raise_errors=True, max_retries=0)):
            assert re.search(rf"the proxy \S*{where} did not connect to the server: 0x05", error.message), error
            assert "NO_PROXY" in error.hint
            assert not_shown("me:s3cr3t", error)


# --- SOCKS without its package ----------------------------------------------------------------------------------------

WITHOUT_PYSOCKS = """
import sys
sys.modules["socks"] = None  # as where the package is not installed: importing it fails
from tests.framing.test_proxy_errors import NOWHERE, OPENAI, everything_shown, in_async, in_sync

for errors in (in_sync, in_async):
    for error in errors(lambda: OPENAI.client(NOWHERE, raise_errors=True)):
        print(errors.__name__, error.type, "s3cr3t" in everything_shown(error), error.hint, sep="\\t")
"""


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4"])
def test_a_socks_proxy_without_the_package_that_it_takes(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """In a process of its own: what is imported once cannot be taken back."""
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:s3cr3t@127.0.0.1:1080")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYSOCKS], cwd=root, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines] == [
        [way, "MissingDependencyError", "False"] for way in ("in_sync", "in_sync", "in_async", "in_async")
    ]
    assert all("pip install pysocks" in line[3].lower() for line in lines)
