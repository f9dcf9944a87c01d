"""Errors that a server, or a proxy in front of it, tells under status 200, in answer to any question."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lollms_core import LollmsClient, LollmsError
from tests.faults.asking import DOORS
from tests.support.waiting import in_background

SAID: list[dict[str, Any]] = [
    {"error": "boom"},
    {"error": {"message": "boom", "code": 500}},
    {"status": False, "error": "boom"},
    {"detail": "boom"},
    {"message": "boom"},
    {"success": False, "message": "boom"},
    {"status": "error", "message": "boom"},
]
QUESTIONS: dict[str, Callable[[LollmsClient], object]] = {
    "generate": lambda client: client.generate("hi"),
    "models": lambda client: client.list_models(),
    "embed": lambda client: client.embed(["hi"]),
    "model_info": lambda client: client.model_info("m"),
    "tokenize": lambda client: client.tokenize("hi"),
    "detokenize": lambda client: client.detokenize([1]),
    "personalities": lambda client: client.list_personalities(),
}
ASKED = {
    "ollama": ("generate", "models", "embed", "model_info"),
    "openai": ("generate", "models", "embed", "model_info"),
    "lollms-classic": ("generate", "models", "embed", "tokenize", "detokenize", "personalities"),
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    answer: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        # By which a classic server is told from a current one.
        body = b'{"status": false}' if self.path == "/get_generation_status" else self.server.answer
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture(scope="module")
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = in_background(lambda: server.serve_forever(poll_interval=0.02))
        yield server
        server.shutdown()
        thread.result()


@pytest.mark.parametrize(
    ("door", "question"), [(door, question) for door, questions in ASKED.items() for question in questions]
)
@pytest.mark.parametrize("said", SAID, ids=json.dumps)
def test_what_the_server_says_is_told(server: _Server, door: str, question: str, said: dict[str, Any]) -> None:
    server.answer = json.dumps(said).encode()
    address = f"http://127.0.0.1:{server.server_port}"
    with DOORS[door].client(address, raise_errors=True) as client, pytest.raises(LollmsError) as raised:
        QUESTIONS[question](client)
    assert raised.value.type == "ServerError"
    assert raised.value.message.endswith("answered with an error: boom"), raised.value
