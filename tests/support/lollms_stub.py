"""A stub of the LoLLMS server, classic and current, over real HTTP.

A stub because a LoLLMS server cannot run in a test: it installs itself, its bindings and a model. It has the routes,
the shapes and the oddities of the real servers as their sources have them: raw text labelled as an event stream,
failures as JSON under status 200, `null` without a model, base64 that is expected bare.

    with LollmsStub() as stub:                      # classic
    with LollmsStub(flavour="current", key="k") as stub:
        client = LollmsClient(host_address=stub.address)

By hand: `python -m tests.support.lollms_stub [classic|current] [PORT]`.
"""

from __future__ import annotations

import base64
import binascii
import json
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

__all__ = ["LollmsStub", "Received"]

Answer = Callable[[dict[str, Any]], Iterable[str]]


@dataclass
class Received:
    """A request as it arrived; `body` is its JSON."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


def words_of_prompt(body: dict[str, Any]) -> list[str]:
    """The default answer: the last words of the prompt, a word a piece."""
    text = body.get("prompt")
    if text is None:
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
    return [f"{word} " for word in text.split()[-20:]] or ["Hello"]


class LollmsStub:
    """Serves until the block ends.

    Args:
        flavour: which of the two servers.
        answer: from the JSON of a request to the pieces of the answer. An exception in it is the server's failure.
        models: their names; none means that no model is loaded.
        key: what `Authorization: Bearer` must carry; `None` asks for none.
        port: 0 is any.
    """

    def __init__(
        self,
        flavour: Literal["classic", "current"] = "classic",
        *,
        answer: Answer = words_of_prompt,
        models: Iterable[str] = ("stub-model",),
        personalities: Iterable[str] = ("generic/lollms", "coding/python_expert"),
        key: str | None = None,
        port: int = 0,
    ) -> None:
        self.flavour = flavour
        self.answer = answer
        self.models = list(models)
        self.personalities = list(personalities)
        self.key = key
        self.requests: list[Received] = []
        self.stopped = threading.Event()
        """`POST /stop_gen` has come since the last answer began."""
        self.ended = threading.Event()
        """An answer has ended, whole or not."""
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="stub")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def paths(self) -> list[str]:
        """The paths of the requests so far."""
        return [request.path for request in self.requests]

    def last(self, path: str) -> Received:
        """The last request to a path."""
        return next(request for request in reversed(self.requests) if request.path == path)

    def __enter__(self) -> LollmsStub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], stub: LollmsStub) -> None:
        self.stub = stub
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        stub = self.server.stub
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            return self._json({"detail": "invalid JSON"}, 422)
        stub.requests.append(Received(self.command, self.path, headers, body))
        routes = _CLASSIC if stub.flavour == "classic" else _CURRENT
        route = routes.get((self.command, self.path))
        if route is None:
            return self._json({"detail": "Not Found"}, 404)
        if stub.key is not None and headers.get("authorization") != f"Bearer {stub.key}":
            return self._json({"detail": "Invalid or missing API key"}, 401)
        return route(self, body)

    def _json(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, content_type: str, frames: Iterable[bytes]) -> None:
        stub = self.server.stub
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for frame in frames:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        finally:
            stub.ended.set()

    # --- classic -------------------------------------------------------------------------------------------------

    def _classic_generate(self, body: dict[str, Any]) -> None:
        stub = self.server.stub
        if not stub.models:
            return self._json(None)
        stub.stopped.clear()
        try:
            pieces = iter(stub.answer(body))
            first = next(pieces, "")
        except Exception as error:
            return self._json({"status": False, "error": str(error)})
        limit = body.get("n_predict") or 1 << 30
        if body.get("stream"):
            return self._stream("text/event-stream", self._until_stopped(first, pieces, limit))
        text = b"".join(self._until_stopped(first, pieces, limit))
        self.send_response(200)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        return None

    def _until_stopped(self, first: str, pieces: Iterable[str], limit: int) -> Iterable[bytes]:
        if first:
            yield first.encode()
        for count, piece in enumerate(pieces, 2):
            if count > limit or self.server.stub.stopped.is_set():
                return
            yield piece.encode()

    def _classic_images(self, body: dict[str, Any]) -> None:
        for image in body.get("images", []):
            try:
                base64.b64decode(image, validate=True)
            except (binascii.Error, TypeError):
                return self._json({"status": False, "error": "an image is not base64"})
        return self._classic_generate(body)

    def _stop(self, body: Any) -> None:
        self.server.stub.stopped.set()
        self._json({"status": True})

    def _classic_tokenize(self, body: dict[str, Any]) -> None:
        assert body["return_named"] is False
        self._json(list(body["prompt"].encode()))

    def _classic_detokenize(self, body: dict[str, Any]) -> None:
        assert body["return_named"] is False
        self._json(bytes(body["tokens"]).decode(errors="replace"))

    def _classic_embed(self, body: dict[str, Any]) -> None:
        self._json({"vector": [float(len(body["text"])), float(len(body["text"].split()))]})

    def _classic_models(self, body: Any) -> None:
        self._json(self.server.stub.models)

    def _classic_personalities(self, body: Any) -> None:
        names = self.server.stub.personalities
        self._json({"status": True, "personalities": names, "active_personality_id": 0 if names else -1})

    def _status(self, body: Any) -> None:
        self._json({"status": False})

    # --- current -------------------------------------------------------------------------------------------------

    def _known_model(self, body: dict[str, Any]) -> bool:
        if body.get("model") in self.server.stub.models:
            return True
        self._json({"detail": f"model '{body.get('model')}' not found"}, 404)
        return False

    def _chat(self, body: dict[str, Any]) -> None:
        if not self._known_model(body):
            return None
        try:
            pieces = list(self.server.stub.answer(body))
        except Exception as error:
            return self._json({"error": {"message": str(error), "type": "server_error"}}, 500)
        limit = body.get("max_tokens") or len(pieces)
        frames = [self._chunk({"content": piece}, None) for piece in pieces[:limit]]
        frames.append(self._chunk({}, "length" if limit < len(pieces) else "stop"))
        return self._stream("text/event-stream", [*frames, b"data: [DONE]\n\n"])

    def _chunk(self, delta: dict[str, str], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return b"data: " + json.dumps(value).encode() + b"\n\n"

    def _models(self, body: Any) -> None:
        self._json({"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.stub.models]})

    def _tokenize(self, body: dict[str, Any]) -> None:
        if self._known_model(body):
            tokens = list(body["text"].encode())
            self._json({"tokens": tokens, "count": len(tokens)})

    def _detokenize(self, body: dict[str, Any]) -> None:
        if self._known_model(body):
            self._json({"text": bytes(body["tokens"]).decode(errors="replace")})

    def _embeddings(self, body: dict[str, Any]) -> None:
        if self._known_model(body):
            vectors = [[float(len(text)), float(len(text.split()))] for text in body["input"]]
            data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
            self._json({"object": "list", "data": data[::-1]})  # any order is allowed

    def _context_size(self, body: dict[str, Any]) -> None:
        if self._known_model(body):
            self._json({"context_size": 8192})

    def _personalities(self, body: Any) -> None:
        data = []
        for index, name in enumerate(self.server.stub.personalities):
            category, _, short = name.rpartition("/")
            data.append({"id": f"id-{index}", "name": short, "category": category})
        self._json({"object": "list", "data": data})


_CLASSIC: dict[tuple[str, str], Callable[[_Handler, Any], None]] = {
    ("POST", "/lollms_generate"): _Handler._classic_generate,
    ("POST", "/lollms_generate_with_images"): _Handler._classic_images,
    ("POST", "/lollms_tokenize"): _Handler._classic_tokenize,
    ("POST", "/lollms_detokenize"): _Handler._classic_detokenize,
    ("POST", "/lollms_embed"): _Handler._classic_embed,
    ("GET", "/list_models"): _Handler._classic_models,
    ("GET", "/list_mounted_personalities"): _Handler._classic_personalities,
    ("GET", "/get_generation_status"): _Handler._status,
    ("POST", "/stop_gen"): _Handler._stop,
}
_CURRENT: dict[tuple[str, str], Callable[[_Handler, Any], None]] = {
    ("POST", "/v1/chat/completions"): _Handler._chat,
    ("POST", "/v1/embeddings"): _Handler._embeddings,
    ("POST", "/v1/tokenize"): _Handler._tokenize,
    ("POST", "/v1/detokenize"): _Handler._detokenize,
    ("POST", "/v1/context_size"): _Handler._context_size,
    ("GET", "/v1/models"): _Handler._models,
    ("GET", "/v1/personalities"): _Handler._personalities,
}


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else "classic"
    given = int(sys.argv[2]) if len(sys.argv) > 2 else (9600 if chosen == "classic" else 9642)
    with LollmsStub("current" if chosen == "current" else "classic", port=given) as served:
        print(f"a stub of the {chosen} LoLLMS server at {served.address}; Ctrl-C ends it")
        threading.Event().wait()
