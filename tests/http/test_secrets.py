"""Servers and proxies that repeat what they were sent: no error shows it, in whatever form they write it."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from lollms_core import LollmsClient
from lollms_core.contract.errors import LollmsError, ServerError
from lollms_core.contract.types import CloseRequest, GenerationRequest
from lollms_core.http._secrets import Secrets
from tests.http.backends import make
from tests.support.framing_server import Incoming
from tests.support.openai_stub import running
from tests.support.socket_server import SocketServer
from tests.support.waiting import PATIENT

KEY = 'sk-"é/\\-very-secret'
"""With all that JSON and URLs write in another way."""
PASSWORD = "pass wörd/%"


class Echo(SocketServer):
    """Answers with `answer(what it was sent for authorization)`."""

    def __init__(self, answer: Callable[[str], bytes]) -> None:
        self._answer = answer

    def talk(self, sock: socket.socket) -> None:
        head = Incoming(sock).until(b"\r\n\r\n").decode("latin-1")
        lines = [line.partition(": ")[2] for line in head.splitlines() if "authorization:" in line.lower()]
        sock.sendall(self._answer(" ".join(lines)))


def plain(status: str, text: str, *headers: str) -> bytes:
    body = text.encode()
    lines = [f"HTTP/1.1 {status}", "content-type: text/plain", f"content-length: {len(body)}", "connection: close"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1", "replace") + body


ANSWERS: dict[str, Callable[[str], bytes]] = {
    "a refusal": lambda said: plain("401 Unauthorized", f"you sent {said}"),
    "a refusal in JSON": lambda said: plain("401 Unauthorized", json.dumps({"detail": {"nested": {"a": {"b": said}}}})),
    "cut short": lambda said: plain("500 Internal Server Error", f"{'x' * 175} {said}"),
    "a redirect": lambda said: plain("302 Found", "", f"location: http://elsewhere.test/{quote(said)}/x"),
    "a long redirect": lambda said: plain("302 Found", "", f"location: http://other.test/{'x' * 170}/{quote(said)}"),
    "no HTTP": lambda said: f"you sent {said}\r\n\r\n".encode("latin-1", "replace"),
    "a broken header": lambda said: b"HTTP/1.1 200 OK\r\ncontent-length: " + said.encode("latin-1") + b"\r\n\r\n",
    "no JSON": lambda said: plain("200 OK", f"data: {{{said}\n\n"),
}


def by_sync(backend, request) -> None:
    list(backend.generate(request))


def by_async(backend, request) -> None:
    import asyncio

    async def ask() -> None:
        async for _ in backend.generate(request):
            pass

    asyncio.run(ask())


def shown(ask, address: str, **settings) -> str:
    backend = make("openai", address, max_retries=0, **settings)
    try:
        with pytest.raises(LollmsError) as caught:
            ask(backend, GenerationRequest(prompt="hi", model="m"))
    finally:
        backend.close(CloseRequest())
    error = caught.value
    return "\n".join([*traceback.format_exception(error), repr(error), error.hint, json.dumps(error.to_dict())])


@pytest.mark.parametrize("ask", [by_sync, by_async])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=list(ANSWERS))
@pytest.mark.parametrize("source", ["service_key", "headers", "basic", "address", "netrc", "proxy"])
def test_what_was_sent_is_not_shown(ask, answer, source, monkeypatch, tmp_path):
    settings: dict[str, object] = {}
    with Echo(answer) as server:
        address = f"http://127.0.0.1:{server.port}"
        if source == "service_key":
            settings["api_key"] = SecretStr(KEY)
        elif source == "headers":
            settings["headers"] = {"Authorization": f"Token {KEY}"}
        elif source == "basic":
            settings["headers"] = {"authorization": f"Basic {base64.b64encode(f'me:{PASSWORD}'.encode()).decode()}"}
        elif source == "address":
            address = address.replace("://", f"://me:{quote(PASSWORD)}@")
        elif source == "netrc":
            (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {KEY}\n")
            os.chmod(tmp_path / "netrc", 0o600)
            monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        else:
            monkeypatch.setenv("http_proxy", address.replace("://", f"://me:{quote(PASSWORD)}@"))
            monkeypatch.setenv("no_proxy", "")
            address = "http://elsewhere.test"
        said = shown(ask, address, **settings)
    for secret in (KEY, PASSWORD):
        token = base64.b64encode(f"me:{secret}".encode()).decode()
        for form in (secret, json.dumps(secret)[1:-1], quote(secret), token):
            for size in range(6, len(form) + 1):
                assert form[:size] not in said


SECRET = st.text(st.characters(min_codepoint=33, exclude_characters="*…"), min_size=4, max_size=20)


@given(SECRET, st.text(max_size=20), st.text(max_size=20))
def test_no_form_of_a_secret_is_left(secret, before, after):
    secrets = Secrets([secret])
    for form in (secret, json.dumps(secret)[1:-1], quote(secret)):
        assert form not in secrets.hidden(before + form + after).replace("***", "")
        for size in range(4, len(form)):
            assert f"{form[:size]}…" not in secrets.hidden(f"{before}{form[:size]}…")


def test_what_is_no_secret_stays():
    error = ServerError("the model llama is gone", hint="Pull it.")
    error.__cause__ = ValueError("why")
    Secrets(["sk-1234", "", "ab"]).keep_out_of(error)
    assert (error.message, error.hint, str(error.__cause__)) == ("the model llama is gone", "Pull it.", "why")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_no_log_shows_the_query_of_an_address(caplog: pytest.LogCaptureFixture, asynchronous: bool) -> None:
    """The openai format takes one, as Azure has it: `…/v1?api_key=…`."""
    caplog.set_level(logging.DEBUG)
    limits: dict[str, Any] = {"timeouts": PATIENT, "raise_errors": True}
    with (
        running() as stub,
        LollmsClient(f"{stub.url}/v1?api_key=QUERY-SECRET", "m", default_generation_mode="openai", **limits) as client,
    ):
        assert asyncio.run(client.agenerate("hi")) if asynchronous else client.generate("hi")
        assert "QUERY-SECRET" in stub.requests[-1].path
    assert "QUERY-SECRET" not in caplog.text
