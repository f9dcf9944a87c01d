"""A small server that speaks OpenAI's protocol, because OpenAI's own API cannot run here.

It answers from the shapes of the protocol's documents, records every request as it arrived, and refuses what a test
tells it to refuse. It is also a proxy for plain HTTP: a client that uses it as one talks to `api.openai.com` by name.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

__all__ = ["OpenAIStub", "Recorded", "Reply", "error", "running", "sse"]


@dataclass(frozen=True)
class Recorded:
    """One request, as it arrived. `path` includes the query; `host` is the server that it was meant for."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    host: str


@dataclass
class Reply:
    """What to answer: `body` is JSON, text, or an iterator of byte strings that are sent one by one."""

    body: Any
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> Reply:
    """An error object as OpenAI writes it."""
    inner = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Reply({"error": inner}, status)


def sse(*events: Any, done: bool = True) -> Reply:
    """A stream of events, each sent on its own."""
    lines = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
    if done:
        lines.append(b"data: [DONE]\n\n")
    return Reply(iter(lines), content_type="text/event-stream")


class OpenAIStub:
    """The server. `rules` are asked first, in order, with each request; the first that returns a reply decides."""

    def __init__(self) -> None:
        self.answer = ["Hello", " from", " the", " stub."]
        self.models: list[dict[str, Any]] = [{"id": "stub-model", "object": "model"}]
        self.rules: list[Callable[[Recorded], Reply | None]] = []
        self.requests: list[Recorded] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def bodies(self) -> list[Any]:
        """The bodies of the requests that had one."""
        return [request.body for request in self.requests if request.body is not None]

    def refuse(self, reply: Reply, when: Callable[[Any], bool]) -> None:
        """Answer with `reply` every body for which `when` is true."""
        self.rules.append(lambda request: reply if request.body is not None and when(request.body) else None)

    def on(self, path: str, reply: Callable[[Recorded], Reply]) -> None:
        """Answer requests for `path` in another way."""
        self.rules.append(lambda request: reply(request) if request.path == path else None)

    def reply(self, request: Recorded) -> Reply:
        """The answer to a request."""
        for rule in self.rules:
            if (found := rule(request)) is not None:
                return found
        route = urlsplit(request.path).path
        if route.endswith("/models"):
            return Reply({"object": "list", "data": self.models})
        if route.endswith("/chat/completions"):
            return sse(*self._events(request.body, "chat.completion.chunk", lambda text: {"delta": {"content": text}}))
        if route.endswith("/completions"):
            return sse(*self._events(request.body, "text_completion", lambda text: {"text": text}))
        if route.endswith("/embeddings"):
            data = [
                {"object": "embedding", "index": index, "embedding": [float(len(text)), 0.5]}
                for index, text in enumerate(request.body["input"])
            ]
            return Reply({"object": "list", "data": data[::-1], "model": request.body["model"]})
        return Reply({"detail": "Not Found"}, 404)

    def _events(self, body: Any, kind: str, piece: Callable[[str], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        common = {"id": "cmpl-1", "object": kind, "created": 1, "model": body["model"]}
        for text in self.answer:
            yield {**common, "choices": [{"index": 0, **piece(text), "finish_reason": None}]}
        yield {**common, "choices": [{"index": 0, **piece(""), "finish_reason": "stop"}]}
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
            yield {**common, "choices": [], "usage": usage}

    def start(self) -> None:
        """Serve, in threads."""
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop serving and close the socket."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Clients keep connections open; waiting for their threads would wait for the clients.
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some tests are about."""


def _handler(stub: OpenAIStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0)))))

        def do_GET(self) -> None:
            self._answer(None)

        def _answer(self, body: Any) -> None:
            parts = urlsplit(self.path)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Recorded(self.command, path, headers, body, parts.netloc or headers["host"])
            stub.requests.append(request)
            reply = stub.reply(request)
            if isinstance(reply.body, Iterator):
                self._head(reply, {"Transfer-Encoding": "chunked"})
                for piece in reply.body:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")
                return
            text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            data = text.encode()
            self._head(reply, {"Content-Length": str(len(data))})
            self.wfile.write(data)

        def _head(self, reply: Reply, headers: Mapping[str, str]) -> None:
            self.send_response(reply.status)
            for name, value in {"Content-Type": reply.content_type, **reply.headers, **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextlib.contextmanager
def running() -> Iterator[OpenAIStub]:
    """A stub that serves while the block runs."""
    stub = OpenAIStub()
    stub.start()
    try:
        yield stub
    finally:
        stub.stop()
