"""TLS: trusted by nobody, by a file, by anybody, and a server that speaks none."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lollms_core import LollmsClient
from lollms_core.contract.errors import (
    APIConnectionError,
    APITimeoutError,
    CallCancelledError,
    ConfigurationError,
    InvalidRequestError,
    LollmsError,
)
from lollms_core.contract.types import CancelToken, CloseRequest, GenerationRequest
from lollms_core.http._backend import HTTPBackend
from tests.http.backends import make
from tests.support.dialects import OPENAI
from tests.support.fault_server import TEXT, FaultServer
from tests.support.framing_server import Incoming
from tests.support.socket_server import SocketServer
from tests.support.waiting import PATIENCE, PATIENT, in_background

WHOLE = "".join(TEXT)
REQUEST = GenerationRequest(prompt="hi", model="m")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server(certificate: Path) -> Iterator[FaultServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FaultServer(OPENAI, tls=context) as server:
        yield server
        assert server.wait_for_connections(0)


def in_sync(backend: HTTPBackend, request: GenerationRequest = REQUEST) -> str:
    try:
        return "".join(chunk.text for chunk in backend.generate(request))
    finally:
        backend.close(CloseRequest())


def in_async(backend: HTTPBackend, request: GenerationRequest = REQUEST) -> str:
    async def answer() -> str:
        return "".join([chunk.text async for chunk in backend.generate(request)])

    return asyncio.run(answer())


Answer = Callable[..., str]


@pytest.fixture(params=[in_sync, in_async], ids=["sync", "async"])
def answer(request: pytest.FixtureRequest) -> Answer:
    return cast(Answer, request.param)


def test_an_unknown_certificate_is_refused_with_a_way_out(answer: Answer, server: FaultServer) -> None:
    with pytest.raises(APIConnectionError) as caught:
        answer(make("openai", server.address("ok")))
    assert "certificate is not trusted" in str(caught.value)
    assert "verify_ssl_certificate" in caught.value.hint
    assert not caught.value.retryable
    assert server.requests == []


def test_a_file_of_authorities(answer: Answer, server: FaultServer, certificate: Path) -> None:
    assert answer(make("openai", server.address("ok"), verify_ssl_certificate=str(certificate))) == WHOLE


def test_the_environments_authorities(
    answer: Answer, server: FaultServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert answer(make("openai", server.address("ok"))) == WHOLE


def test_any_certificate(answer: Answer, server: FaultServer) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
        assert answer(make("openai", server.address("ok"), verify_ssl_certificate=False)) == WHOLE


def test_a_missing_file_is_said_at_once(answer: Answer) -> None:
    with pytest.raises(ConfigurationError, match="no-such"):
        answer(make("openai", "https://127.0.0.1:9", verify_ssl_certificate="/no-such/ca.pem"))


def test_a_server_without_tls(answer: Answer) -> None:
    with FaultServer(OPENAI) as plain, pytest.raises(APIConnectionError) as caught:
        answer(make("openai", plain.address("ok").replace("http://", "https://")))
    assert "http://" in caught.value.hint
    assert not caught.value.retryable


@pytest.mark.parametrize("end", ["cancel", "close"])
@pytest.mark.parametrize("through_a_proxy", [False, True])
def test_a_handshake_that_nobody_answers_can_be_ended(
    end: str, through_a_proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Silent(tunnel=through_a_proxy) as silent:
        address = f"https://127.0.0.1:{silent.port}"
        if through_a_proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.port}")
            address = "https://elsewhere.test"
        client = LollmsClient(address, "m", default_generation_mode="openai", max_retries=0, raise_errors=True)
        asking = in_background(client.list_models)
        assert silent.begun.wait(PATIENCE)
        getattr(client, end)()
        with pytest.raises(CallCancelledError):
            asking.result()
        client.close()


def test_a_handshake_that_nobody_answers_may_be_none(answer: Answer) -> None:
    limits = replace(PATIENT, connect=0.2)
    with Silent(tunnel=False) as silent, pytest.raises(APITimeoutError) as caught:
        answer(make("openai", f"https://127.0.0.1:{silent.port}", timeouts=limits))
    assert "write http:// in the address" in caught.value.hint


class Silent(SocketServer):
    """Takes a connection, opens a tunnel if it is a proxy, and never says a word of TLS."""

    def __init__(self, *, tunnel: bool) -> None:
        self.begun = threading.Event()
        self._tunnel = tunnel

    def talk(self, sock: socket.socket) -> None:
        if self._tunnel:
            Incoming(sock).until(b"\r\n\r\n")
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        sock.recv(1)
        self.begun.set()
        while sock.recv(65536):
            pass


def test_cancel_over_tls(server: FaultServer, certificate: Path) -> None:
    cancel = CancelToken()
    backend = make("openai", server.address("stall"), verify_ssl_certificate=str(certificate))
    stream = iter(backend.generate(GenerationRequest(prompt="hi", model="m", cancel=cancel)))
    assert next(stream).text == TEXT[0]
    cancel.cancel()
    assert list(stream)[-1].finish_reason == "cancelled"
    assert server.gone.wait(PATIENCE)


_SAID = b'{"error": {"message": "at most a megabyte, please"}}'
_REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_SAID), _SAID)


class Refusing(SocketServer):
    """Answers 413 when it has seen the headers; then it reads on slowly, or closes."""

    def __init__(self, certificate: Path, lingers: bool) -> None:
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate)
        self._lingers = lingers

    def talk(self, sock: socket.socket) -> None:
        Incoming(sock).until(b"\r\n\r\n")
        sock.sendall(_REFUSAL)
        while self._lingers and sock.recv(65536):
            time.sleep(0.01)


@pytest.mark.parametrize("lingers", [True, False])
@pytest.mark.parametrize("megabytes", [1, 8])
def test_a_large_request_that_is_refused(answer: Answer, certificate: Path, lingers: bool, megabytes: int) -> None:
    """As nginx does, which reads on for a while, and as others do, which do not."""
    large = GenerationRequest(prompt="x" * (megabytes * 1_000_000), model="m")

    with Refusing(certificate, lingers) as server:
        trusting = {"verify_ssl_certificate": str(certificate), "max_retries": 0}
        backend = make("openai", f"https://127.0.0.1:{server.port}", **trusting)
        with pytest.raises(LollmsError) as caught:
            answer(backend, large)
    if lingers or isinstance(caught.value, InvalidRequestError):
        assert caught.value.status_code == 413
        assert "at most a megabyte" in caught.value.message
    else:  # the answer was lost with the connection
        assert "closed the connection before it answered" in caught.value.message
