"""Stubs of the LoLLMS servers, classic and current, over real HTTP.

Stubs because a LoLLMS server cannot run in a test: it installs itself, its bindings and a model. What they do was read
off the real servers with a scripted model behind them (classic: v20; current: its main branch of late 2026); each
oddity says what it imitates.

    with LollmsStub() as stub:                      # classic
    with LollmsStub(flavour="current", key="k") as stub:
        client = LollmsClient(host_address=stub.address)

By hand: `python -m tests.support.lollms_stub [classic|current] [PORT]`.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tests.support.waiting import PATIENCE

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
        window: of the classic server's model, in words.
        headless: the classic server runs without its interface.
        enabled: the current server's API is switched on.
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
        window: int = 1 << 30,
        headless: bool = False,
        enabled: bool = True,
    ) -> None:
        self.flavour = flavour
        self.answer = answer
        self.models = list(models)
        self.active = self.models[0] if self.models else None
        self.personalities = list(personalities)
        self.key = key
        self.window = window
        self.headless = headless
        self.enabled = enabled
        self.lose_answers = 0
        """How many of the next answers of the classic server are lost: an answer that ends within a few milliseconds
        can be empty (29 of 100 with an instantaneous model)."""
        self.requests: list[Received] = []
        self.sampled: list[dict[str, Any]] = []
        """What reached the model, request by request."""
        self.stop_flag = threading.Event()
        """The classic server's one flag, for all of its clients."""
        self.consumed = 0
        """How often the flag ended a running answer."""
        self.killed = 0
        """How often it ended one that had not begun: somebody's next request."""
        self.abandoned = 0
        """Answers that went on after their reader had gone."""
        self.running = 0
        """Answers that are being generated now, abandoned ones included."""
        self.ended = threading.Event()
        """An answer has ended, whole or not."""
        self.over = threading.Event()
        """The stub has been closed; what hangs may go on."""
        self.lock = threading.Lock()
        self.engine: object | None = None
        """The current server's one engine a user: who began to use it last."""
        self.ends = 0
        """How many of the user's requests have ended."""
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
        self.over.set()
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
        if stub.key is not None and headers.get("authorization") != f"Bearer {stub.key}":
            # No endpoint of the real servers asks for a key: this is a proxy in front of one.
            return self._json({"detail": "Invalid or missing API key"}, 401)
        if route is None:
            return self._unknown_path()
        if stub.flavour == "current" and not stub.enabled:
            # The API is off on a fresh server: a switch in its settings, not a key.
            return self._json({"detail": "OpenAI API service is not enabled"}, 403)
        return route(self, body)

    def _unknown_path(self) -> None:
        if self.server.stub.flavour == "current":
            # The current server answers unknown paths with the page of its interface.
            return self._send(b"<!doctype html><html><body>lollms</body></html>", "text/html; charset=utf-8")
        # Unknown GET paths of the classic server answer 500, not 404.
        return self._json({"detail": "Internal Server Error"}, 500 if self.command == "GET" else 405)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", status)

    def _send(self, data: bytes, content_type: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, content_type: str, frames: Iterable[bytes]) -> None:
        stub = self.server.stub
        frames = iter(frames)
        with stub.lock:
            stub.running += 1
        try:
            self.send_response(200)
            self.send_header("content-type", content_type)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for frame in frames:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
            self._go_on_without_reader(frames)
        finally:
            with stub.lock:
                stub.running -= 1
            stub.ended.set()

    def _go_on_without_reader(self, frames: Iterator[bytes]) -> None:
        stub = self.server.stub
        if stub.flavour == "classic":
            # An abandoned stream leaves a thread, in which the model runs on; its pieces do not consume the flag. Here
            # it is only counted.
            stub.abandoned += 1
            close = getattr(frames, "close", None)
            if close is not None:
                close()

    # --- classic -------------------------------------------------------------------------------------------------

    def _classic_generate(self, body: dict[str, Any]) -> None:
        self._classic_answer(body, images=False)

    def _classic_images(self, body: dict[str, Any]) -> None:
        for image in body.get("images", []):
            if image.startswith("data:") and not image.startswith("data:image/png;"):
                # A prefix is taken off only for PNG.
                return self._json({"detail": "Incorrect padding"}, 400)
        return self._classic_answer(body, images=True)

    def _classic_answer(self, body: dict[str, Any], *, images: bool) -> None:
        stub = self.server.stub
        if not stub.models:
            if images:
                return self._json({"detail": "'NoneType' object has no attribute 'generate'"}, 400)
            return self._json({"status": False, "error": "'NoneType' object has no attribute 'tokenize'"})
        if body.get("model_name") in stub.models:
            stub.active = body["model_name"]  # a valid name switches the model for everyone; any other is ignored
        stub.sampled.append(_reaching(body, images))
        try:
            pieces = iter(stub.answer(body))
            first = next(pieces, "")
        except Exception as error:
            return self._json({"status": False, "error": str(error)})
        if body.get("stream"):
            return self._stream("text/event-stream", self._pieces(first, pieces, body))
        return self._send(b"".join(self._pieces(first, pieces, body)), "text/plain; charset=utf-8")

    def _pieces(self, first: str, rest: Iterator[str], body: dict[str, Any]) -> Iterator[bytes]:
        stub = self.server.stub
        if len(body["prompt"].split()) > stub.window:
            return  # the model is given a negative n_predict
        if stub.lose_answers:
            stub.lose_answers -= 1
            return
        if self._flag_is_up():
            stub.killed += 1
            return
        limit = body.get("n_predict") or 1 << 30
        if first:
            yield first.encode()
        count = 1
        while count < limit:
            try:
                piece = next(rest)
            except StopIteration:
                return
            except Exception:
                stub.over.wait(PATIENCE)  # an exception in mid-stream: the stream hangs
                return
            if self._flag_is_up():
                stub.consumed += 1
                return
            count += 1
            yield piece.encode()

    def _flag_is_up(self) -> bool:
        """Whether somebody asked to stop: the next piece of whichever answer is running consumes that."""
        stub = self.server.stub
        with stub.lock:
            up = stub.stop_flag.is_set()
            stub.stop_flag.clear()
            return up

    def _stop(self, body: Any) -> None:
        self.server.stub.stop_flag.set()
        self._json({"status": True})

    def _classic_tokenize(self, body: dict[str, Any]) -> None:
        assert body["return_named"] is False
        if not self.server.stub.models:
            return self._json({"status": False, "error": "'NoneType' object has no attribute 'tokenize'"})
        return self._json(list(body["prompt"].encode()))

    def _classic_detokenize(self, body: dict[str, Any]) -> None:
        assert body["return_named"] is False
        if not self.server.stub.models:
            return self._json({"detail": "Internal Server Error"}, 500)
        return self._json(bytes(body["tokens"]).decode(errors="replace"))

    def _classic_embed(self, body: dict[str, Any]) -> None:
        self._json({"vector": [float(len(body["text"])), float(len(body["text"].split()))]})

    def _classic_models(self, body: Any) -> None:
        self._json({"detail": "Internal Server Error"}, 500) if self.server.stub.headless else self._json(
            self.server.stub.models
        )

    def _classic_personalities(self, body: Any) -> None:
        names = self.server.stub.personalities
        if self.server.stub.headless:
            return self._json({"detail": "Internal Server Error"}, 500)
        return self._json({"status": True, "personalities": names, "active_personality_id": 0 if names else -1})

    def _status(self, body: Any) -> None:
        self._json({"status": False})

    def _model_status(self, body: Any) -> None:
        self._json({"status": bool(self.server.stub.models)})

    def _active_model(self, body: Any) -> None:
        active = self.server.stub.active
        self._json({"status": False} if active is None else {"status": True, "model": active, "index": 0})

    # --- current -------------------------------------------------------------------------------------------------

    def _chat(self, body: dict[str, Any]) -> None:
        stub = self.server.stub
        if isinstance(body.get("personality"), int):
            # Its ids are UUID strings.
            return self._json({"detail": [{"loc": ["body", "personality"], "msg": "not a valid string"}]}, 422)
        stub.sampled.append({name: body[name] for name in ("temperature", "max_tokens") if name in body})
        ends_before = stub.ends
        try:
            pieces = list(stub.answer(body)) if not body.get("stream") else iter(stub.answer(body))
            first = next(pieces, None) if body.get("stream") else None  # type: ignore[arg-type]
        except Exception as error:
            if body.get("stream"):
                return self._stream("text/event-stream", [])  # an error of its model gives an empty stream
            return self._json({"detail": str(error)}, 500)
        if not body.get("stream"):
            stub.ends += 1
            message = {"role": "assistant", "content": "".join(pieces)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return self._json({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]})
        return self._stream("text/event-stream", self._events(first, pieces, body, ends_before))

    def _events(self, first: str | None, rest: Any, body: dict[str, Any], ends_before: int) -> Iterator[bytes]:
        stub = self.server.stub
        limit = body.get("max_tokens") or 1 << 30
        count = 0
        piece = first
        try:
            while piece is not None and count < limit:
                if stub.ends != ends_before:
                    # One engine a user: each request that ends cancels it, and the others' streams just close.
                    yield b"data: [DONE]\n\n"
                    return
                yield self._chunk({"content": piece}, None)
                count += 1
                piece = next(rest, None)
            yield self._chunk({}, "stop")  # also at the limit
            yield b"data: [DONE]\n\n"
        finally:
            stub.ends += 1

    def _chunk(self, delta: dict[str, str], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        value = {"object": "chat.completion.chunk", "created": 1, "choices": [choice]}
        return b"data: " + json.dumps(value).encode() + b"\n\n"

    def _models(self, body: Any) -> None:
        self._json({"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.stub.models]})

    def _tokenize(self, body: dict[str, Any]) -> None:
        tokens = list(body["text"].encode())
        self._json({"tokens": tokens, "count": len(tokens)})

    def _detokenize(self, body: dict[str, Any]) -> None:
        self._json({"text": bytes(body["tokens"]).decode(errors="replace")})

    def _embeddings(self, body: dict[str, Any]) -> None:
        vectors = [[float(len(text)), float(len(text.split()))] for text in body["input"]]
        data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
        self._json({"object": "list", "data": data[::-1]})  # any order is allowed

    def _context_size(self, body: dict[str, Any]) -> None:
        self._json({"context_size": 8192})

    def _personalities(self, body: Any) -> None:
        data = []
        for index, name in enumerate(self.server.stub.personalities):
            category, _, short = name.rpartition("/")
            data.append({"id": f"0000000{index}-aaaa-4bbb-8ccc-dddddddddddd", "name": short, "category": category})
        self._json({"object": "list", "data": data})


def _reaching(body: dict[str, Any], images: bool) -> dict[str, Any]:
    """What reaches the classic server's model: a value that is false gives way to the server's own configuration."""
    own = {"temperature": 0.9, "top_k": 40, "top_p": 0.95, "repeat_penalty": 1.2, "repeat_last_n": 40}
    seen = {name: body.get(name) or value for name, value in own.items()}
    return {"temperature": seen["temperature"]} if images else {**seen, "n_predict": body.get("n_predict")}


_CLASSIC: dict[tuple[str, str], Callable[[_Handler, Any], None]] = {
    ("POST", "/lollms_generate"): _Handler._classic_generate,
    ("POST", "/lollms_generate_with_images"): _Handler._classic_images,
    ("POST", "/lollms_tokenize"): _Handler._classic_tokenize,
    ("POST", "/lollms_detokenize"): _Handler._classic_detokenize,
    ("POST", "/lollms_embed"): _Handler._classic_embed,
    ("GET", "/list_models"): _Handler._classic_models,
    ("GET", "/list_mounted_personalities"): _Handler._classic_personalities,
    ("GET", "/get_generation_status"): _Handler._status,
    ("GET", "/get_model_status"): _Handler._model_status,
    ("GET", "/get_active_model"): _Handler._active_model,
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
