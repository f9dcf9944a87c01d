"""A small OpenAI-compatible server over real HTTP whose answers a test scripts; it stands in for the providers."""

from __future__ import annotations

import contextlib
import json
import select
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.waiting import PATIENCE

USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One event of a chat stream."""
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def text(piece: str, finish: str | None = None) -> dict[str, Any]:
    """One event of a completions stream."""
    choice = {"index": 0, "text": piece, "finish_reason": finish, "logprobs": None}
    return {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}


def usage() -> dict[str, Any]:
    return {**delta(), "choices": [], "usage": USAGE}


class Stub:
    """Answers each request with the next of `answers`; the last one stays.

    An answer is a list of events for a stream (`"cut"` drops the connection, `"hang"` waits until the client has
    gone, which sets `gone`, bytes are sent as they are), or a tuple of status, headers and body.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers: list[Any] = list(answers)
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.waiting = threading.Event()
        self.gone = threading.Event()
        self.before_headers = False
        self.pause = 0.0
        """Seconds before each event."""
        self.address = ""

    @property
    def body(self) -> dict[str, Any]:
        return self.requests[-1][2]

    @property
    def headers(self) -> dict[str, str]:
        return self.requests[-1][1]

    @property
    def path(self) -> str:
        return self.requests[-1][0]

    def next(self) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            """Quiet."""

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = json.loads(self.rfile.read(length))
            stub.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            answer = stub.next()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if isinstance(answer, tuple):
                    self._plain(*answer)
                elif stub.before_headers:
                    self._hang()
                else:
                    self._events(answer)

        def _plain(self, status: int, headers: dict[str, str], body: Any) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _events(self, events: list[Any]) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for event in events:
                time.sleep(stub.pause)
                if event == "cut":
                    self.close_connection = True
                    self.connection.close()
                    return
                if event == "hang":
                    self._hang()
                    return
                if isinstance(event, bytes):
                    self._piece(event)
                    continue
                data = event if isinstance(event, str) else json.dumps(event)
                self._piece(f"data: {data}\n\n".encode())
            self.wfile.write(b"0\r\n\r\n")

        def _piece(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        def _hang(self) -> None:
            stub.waiting.set()
            # Readable without a request on its way means that the client has closed.
            readable, _, _ = select.select([self.connection], [], [], PATIENCE)
            self.close_connection = True
            if readable:
                stub.gone.set()

    return Handler


@contextlib.contextmanager
def serving(*answers: Any, certificate: tuple[str, str] | None = None) -> Iterator[Stub]:
    """A running stub; `certificate` is the files of a certificate and its key, for HTTPS."""
    stub = Stub(*answers)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stub))
    server.daemon_threads = True
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    stub.address = f"{scheme}://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(*pieces: str, finish: str = "stop") -> list[Any]:
    """A whole chat stream."""
    return [*(delta(content=piece) for piece in pieces), delta(finish), usage(), "[DONE]"]
