"""A stand-in for an Ollama server, over real HTTP. Ollama itself cannot run in a test: it is a program of gigabytes.

Every request body is validated against Ollama's published OpenAPI description, and so is every answer. Answers come
from a tiny model (`tests/ollama/tiny_model.py`) that honours the options that Ollama honours, and repeats. What a real
server does without a word, this one does too (`tests/ollama/runner.py`): it loads models anew, cuts prompts that are
longer than the window, and gives up on a model that loops.

    with OllamaServer() as server:
        client = LollmsClient(default_generation_mode="ollama", host_address=server.address, model_name="tiny")

Models: `tiny` (text, images, embeddings, and thinking when asked to, as servers before 0.12 had it), `tiny-thinking`
(thinks unless told not to), `tiny-text` (text alone), `tiny-embed`, `stuck` (says the same again and again), `silent`
(never says a word) and `endless` (never stops); the last two until the client has gone.

By hand: `python -m tests.support.ollama_server [PORT]`.
"""

from __future__ import annotations

import base64
import binascii
import json
import select
import socket
import sys
import threading
import zlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tests.ollama.openapi import problems, request_schema
from tests.ollama.runner import Loaded, Runners, cut, fitting, full_name, limit_of, mistyped, until_loop
from tests.ollama.tiny_model import answer_tokens, embedding, json_for, thinking_tokens, tokens_of

__all__ = ["MODELS", "Model", "OllamaServer", "Received", "Reply"]

_CREATED = "2025-10-17T23:14:07.414671Z"
_STUCK = " and on"


@dataclass(frozen=True)
class Model:
    capabilities: tuple[str, ...]
    context_length: int = 2048
    parameters: str = 'stop    "<|end|>"\ntemperature    0.7'
    size: int = 98_000_000
    vocabulary: int = 49152
    thinks_unasked: bool = True
    """As Ollama 0.33 does, if thinking is among the capabilities."""


MODELS: Mapping[str, Model] = {
    "tiny": Model(("completion", "vision", "thinking", "embedding"), thinks_unasked=False),
    "tiny-thinking": Model(("completion", "thinking")),
    "tiny-text": Model(("completion",)),
    "tiny-pinned": Model(("completion",), parameters="num_ctx    512\ntemperature    0.7"),
    "tiny-large": Model(("completion",), context_length=131072),
    "tiny-embed": Model(("embedding",), context_length=64),
    "stuck": Model(("completion",)),
    "silent": Model(("completion",)),
    "endless": Model(("completion",)),
}


@dataclass
class Received:
    """A request as it arrived; `body` is its JSON."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Reply:
    """A scripted answer. Lines are objects or bytes; `cut` drops the connection after them."""

    status: int = 200
    lines: list[Any] = field(default_factory=list)
    cut: bool = False
    content_type: str = "application/x-ndjson"


class OllamaServer:
    """Serves until the block ends.

    Args:
        key: what `Authorization: Bearer` must carry; `None` asks for none.
        cut: what a prompt that is too long leaves of the window: half of it, as Ollama 0.33 does, or all of it, as
            those before 0.30 do.
        ignore_format: answer as if no `format` had been sent, as some versions do for some models.
        answer: what every model says, in place of something that depends on the prompt.
        port: 0 is any.
    """

    def __init__(
        self,
        *,
        key: str | None = None,
        cut: Literal["half", "full"] = "half",
        ignore_format: bool = False,
        models: Mapping[str, Model] = MODELS,
        answer: str | None = None,
        port: int = 0,
    ) -> None:
        self.key = key
        self.cut = cut
        self.ignore_format = ignore_format
        self.models = dict(models)
        self.answer = answer
        self.runners = Runners()
        self.requests: list[Received] = []
        self.invalid: list[str] = []
        """What was wrong with requests, and with answers; a test of a client wants it empty."""
        self.replies: dict[str, deque[Reply]] = defaultdict(deque)
        """Scripted answers by path, each used once."""
        self.gone = threading.Event()
        """A client went away in the middle of an answer."""
        self.busy = threading.Event()
        """`silent` or `endless` has begun."""
        self._luck = 0
        server = self

        class Handler(_Handler):
            ollama = server

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def bodies(self, path: str) -> list[Any]:
        """The JSON of every request to a path."""
        return [request.body for request in self.requests if request.path == path]

    def __enter__(self) -> OllamaServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def luck(self) -> int:
        """Takes the place of chance: another number each time, the same ones in each run."""
        self._luck += 1
        return self._luck


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    ollama: OllamaServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    # --- routing --------------------------------------------------------------------------------------------------

    def do_GET(self) -> None:
        self._serve({"/api/tags": self._tags, "/api/ps": self._ps, "/api/version": self._version}, None)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        raw = self.rfile.read(length)
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        routes = {
            "/api/chat": self._chat,
            "/api/generate": self._generate,
            "/api/embed": self._embed,
            "/api/show": self._show,
            "/api/pull": self._pull,
        }
        self._serve(routes, body)

    def _serve(self, routes: Mapping[str, Any], body: Any) -> None:
        server = self.ollama
        server.requests.append(Received(self.command, self.path, dict(self.headers), body))
        try:
            if server.key is not None and self.headers.get("Authorization") != f"Bearer {server.key}":
                raise _Refused(401, "unauthorized")
            if self.path not in routes:
                raise _Refused(404, "404 page not found")
            if server.replies[self.path]:
                self._scripted(server.replies[self.path].popleft())
                return
            if self.command == "POST":
                self._validate(body)
            routes[self.path](body)
        except _Refused as refusal:
            self._send(refusal.status, {"error": str(refusal)})
        except (BrokenPipeError, ConnectionResetError):
            server.gone.set()
            self.close_connection = True

    def _validate(self, body: Any) -> None:
        schema = request_schema(self.path)
        if found := problems(schema, body):
            self.ollama.invalid += [f"{schema}: {problem}" for problem in found]
            raise _Refused(400, found[0])

    # --- answers --------------------------------------------------------------------------------------------------

    def _chat(self, body: dict[str, Any]) -> None:
        model = self._model(body)
        loaded = self._loaded(body, model, "chat")

        def prompt(messages: Sequence[Mapping[str, Any]]) -> list[str]:
            return tokens_of("".join(self._rendered(model, message) for message in messages) + "<|assistant|>")

        tokens = prompt(body["messages"])
        if body.get("truncate") is not False:
            tokens = prompt(fitting(body["messages"], loaded.window, lambda left: len(prompt(left))))

        def line(kind: str, text: str) -> dict[str, Any]:
            return {"message": {"role": "assistant", "content": "", kind: text}}

        self._answer(body, model, loaded, tokens, line, "content", "ChatStreamEvent")

    def _rendered(self, model: Model, message: Mapping[str, Any]) -> str:
        pictures = "".join(self._picture(model, image) for image in message.get("images", ()))
        return f"<|{message['role']}|>{pictures}{message['content']}<|end|>"

    def _generate(self, body: dict[str, Any]) -> None:
        model = self._model(body)
        loaded = self._loaded(body, model, "generate")
        if not body.get("prompt"):  # as Ollama 0.33 does: it only loads the model
            answer = {"model": body["model"], "created_at": _CREATED, "response": "", "done": True}
            self._send(200, answer | {"done_reason": "load"}, "GenerateResponse")
            return
        if not body.get("raw"):
            raise _Refused(400, "this stand-in answers /api/generate for raw prompts alone")
        if body.get("system"):
            raise _Refused(400, "raw mode does not support template, system, or context")

        def line(kind: str, text: str) -> dict[str, Any]:
            return {"response": "", kind: text}

        tokens = tokens_of(body["prompt"])
        self._answer(body, model, loaded, tokens, line, "response", "GenerateStreamEvent")

    def _loaded(self, body: Mapping[str, Any], model: Model, route: str) -> Loaded:
        """The model, loaded as the request will have it."""
        if route != "embed" and "completion" not in model.capabilities:
            raise _Refused(400, f'"{body["model"]}" does not support {route}')
        if body.get("think") and "thinking" not in model.capabilities:
            raise _Refused(400, f'"{body["model"]}" does not support thinking')
        options = body.get("options", {})
        if problem := mistyped(options):
            raise _Refused(500, problem)
        return self.ollama.runners.load(full_name(body["model"]), options, model.parameters, model.context_length)

    def _answer(
        self, body: dict[str, Any], model: Model, loaded: Loaded, tokens: list[str], line: Any, field: str, schema: str
    ) -> None:
        options = body.get("options", {})
        seen = self._seen(tokens, loaded.window, options, body.get("truncate"))
        think = body.get("think", model.thinks_unasked and "thinking" in model.capabilities)
        thinking = thinking_tokens(seen, think) if think else []
        head = {"model": body["model"], "created_at": _CREATED}
        self._begin()
        if body["model"] in ("silent", "endless"):
            self._never_end(body["model"], head | line(field, " more") | {"done": False})
        limit = limit_of(options, loaded.window)
        said, reason = self._said(body, seen, None if limit is None else max(limit - len(thinking), 0))
        if limit is not None and len(thinking) >= limit:
            said, reason = [], "length"  # as Ollama 0.33 does: thinking can use up the whole limit
        pieces = [("thinking", token) for token in thinking[:limit]] + [(field, token) for token in said]
        for piece in until_loop(iter(pieces)):
            if piece is None:
                self._end()
                return
            self._line(schema, head | line(*piece) | {"done": False})
        counts = {"prompt_eval_count": len(seen), "prompt_eval_duration": 10**6 * len(seen)}
        counts |= {"eval_count": max(len(pieces), 1), "eval_duration": 10**7 * len(pieces)}
        durations = {"total_duration": 10**8 + 10**7 * len(pieces), "load_duration": 10**7}
        self._line(schema, head | line(field, "") | {"done": True, "done_reason": reason} | durations | counts)
        self._end()

    def _seen(self, tokens: list[str], window: int, options: Mapping[str, Any], truncate: bool | None) -> list[str]:
        """What of the prompt the model sees."""
        if len(tokens) > window and truncate is False:
            inner = {
                "code": 400,
                "message": f"request ({len(tokens)} tokens) exceeds the available context size ({window} tokens), "
                "try increasing it",
            }
            raise _Refused(400, json.dumps({"error": inner}))
        keep = options.get("num_keep", 4)
        if self.ollama.cut == "half":
            return cut(tokens, window, keep)
        return tokens if len(tokens) <= window else tokens[:keep] + tokens[len(tokens) - (window - keep) :]

    def _said(self, body: Mapping[str, Any], seen: list[str], limit: int | None) -> tuple[list[str], str]:
        """The tokens of the answer and why it ends."""
        options, format = body.get("options", {}), body.get("format")
        tokens: Iterable[str]
        if body["model"] == "stuck" and options.get("repeat_penalty", 1.0) <= 1.0:
            tokens = ["It", " goes", *[_STUCK] * 1000]
        elif format is not None and not self.ollama.ignore_format:
            schema = format if isinstance(format, dict) else {"type": "object"}
            tokens = tokens_of(json_for(schema, seen))
        elif self.ollama.answer is not None:
            tokens = tokens_of(self.ollama.answer)
        else:
            tokens = answer_tokens(seen, options, self.ollama.luck())
        stop = options.get("stop", ())
        said: list[str] = []
        for token in tokens:
            if limit is not None and len(said) >= limit:
                return said, "length"
            said.append(token)
            text = "".join(said)
            if found := [text.index(mark) for mark in stop if mark in text]:
                return list(_cut(said, min(found))), "stop"
        return said, "stop"

    def _never_end(self, name: str, more: dict[str, Any]) -> None:
        self.ollama.busy.set()
        while not self._client_gone(0.01):
            if name == "endless":
                self._line("ChatStreamEvent", more)
        raise ConnectionResetError

    def _client_gone(self, seconds: float) -> bool:
        readable, _, _ = select.select([self.connection], [], [], seconds)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _picture(self, model: Model, image: str) -> str:
        try:
            data = base64.b64decode(image, validate=True)
        except binascii.Error as error:
            raise _Refused(400, f"illegal base64 data: {error}") from None
        return f"[image {zlib.crc32(data)}]" if "vision" in model.capabilities else ""

    # --- questions ------------------------------------------------------------------------------------------------

    def _model(self, body: Mapping[str, Any]) -> Model:
        try:
            return self.ollama.models[body["model"].removesuffix(":latest")]
        except KeyError:
            raise _Refused(404, f"model '{full_name(body['model'])}' not found") from None

    def _version(self, _: Any) -> None:
        self._send(200, {"version": "0.33.0"}, "VersionResponse")

    def _tags(self, _: Any) -> None:
        models = [
            {
                "name": full_name(name), "model": full_name(name), "modified_at": _CREATED, "size": model.size,
                "digest": "c6eb396dbd59",
                # As Ollama 0.33 does: its own idea of what a model can, which is not that of `/api/show`.
                "capabilities": [what for what in model.capabilities if what != "thinking"],
                "details": self._details() | {"context_length": model.context_length},
            }
            for name, model in self.ollama.models.items()
        ]  # fmt: skip
        self._send(200, {"models": models}, "ListResponse")

    def _ps(self, _: Any) -> None:
        """As Ollama 0.33 does: the window that is really loaded."""
        models = [
            {
                "name": loaded.name, "model": loaded.name, "size": 98_000_000, "size_vram": 0, "digest": "c6eb396dbd59",
                "details": self._details(), "expires_at": _CREATED, "context_length": loaded.window,
            }
            for loaded in self.ollama.runners.running()
        ]  # fmt: skip
        self._send(200, {"models": models}, "PsResponse")

    def _details(self) -> dict[str, Any]:
        return {
            "parent_model": "", "format": "gguf", "family": "tiny", "families": ["tiny"], "parameter_size": "134.52M",
            "quantization_level": "Q4_1",
        }  # fmt: skip

    def _show(self, body: Mapping[str, Any]) -> None:
        model = self._model(body)
        answer = {
            "parameters": model.parameters,
            "license": "Apache License",
            "modified_at": _CREATED,
            "details": self._details(),
            "template": "{{ .Prompt }}",
            "capabilities": list(model.capabilities),
            "model_info": {
                "general.architecture": "tiny",
                "general.parameter_count": 134515008,
                "tiny.context_length": model.context_length,
                "tiny.vocab_size": model.vocabulary,
            },
        }
        self._send(200, answer, "ShowResponse")

    def _embed(self, body: Mapping[str, Any]) -> None:
        model = self._model(body)
        loaded = self._loaded(body, model, "embed")
        if "embedding" not in model.capabilities:  # as Ollama 0.33 does: the words are those of its engine
            raise _Refused(501, "This server does not support embeddings. Start it with `--embeddings`")
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        seen = [self._embeddable(tokens_of(text), loaded, body.get("truncate") is not False) for text in texts]
        vectors = [embedding("".join(tokens)) for tokens in seen]
        count = sum(map(len, seen))
        answer = {"model": body["model"], "embeddings": vectors, "total_duration": 1, "prompt_eval_count": count}
        self._send(200, answer, "EmbedResponse")

    def _embeddable(self, tokens: list[str], loaded: Loaded, truncate: bool) -> list[str]:
        """As Ollama 0.33 does: a batch is the limit, but what is too long is cut to the window."""
        if len(tokens) > loaded.batch and truncate:
            if len(tokens) <= loaded.window:
                raise _Refused(400, "input exceeds maximum context length and cannot be truncated further")
            tokens = tokens[: loaded.window]
        if len(tokens) > loaded.batch:
            raise _Refused(400, "the input length exceeds the context length")
        return tokens

    def _pull(self, body: Mapping[str, Any]) -> None:
        name = body["model"]
        self._begin()
        self._line("StatusEvent", {"status": "pulling manifest"})
        if name == "silent":
            self._never_end("silent", {})
        if name.startswith("missing"):
            self._line(None, {"error": "pull model manifest: file does not exist"})
            self._end()
            return
        for completed in (0, 49_000_000, 98_000_000):
            step = {"status": "pulling 8daa9615cce3", "digest": "sha256:8daa9615cce3", "total": 98_000_000}
            self._line("StatusEvent", step | ({"completed": completed} if completed else {}))
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            self._line("StatusEvent", {"status": status})
        self._end()
        self.ollama.models[name] = MODELS["tiny-text"]

    # --- bytes ----------------------------------------------------------------------------------------------------

    def _send(self, status: int, value: dict[str, Any], schema: str = "ErrorResponse") -> None:
        self.ollama.invalid += [f"{schema}: {problem}" for problem in problems(schema, value)]
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _begin(self, status: int = 200, content_type: str = "application/x-ndjson") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _line(self, schema: str | None, value: dict[str, Any]) -> None:
        if schema is not None:
            self.ollama.invalid += [f"{schema}: {problem}" for problem in problems(schema, value)]
        self._chunk(json.dumps(value, ensure_ascii=False).encode() + b"\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def _scripted(self, reply: Reply) -> None:
        self._begin(reply.status, reply.content_type)
        for line in reply.lines:
            self._chunk(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        if reply.cut:
            self.close_connection = True
        else:
            self._end()


def _cut(tokens: Iterable[str], length: int) -> Iterator[str]:
    """The tokens of the first `length` characters."""
    for token in tokens:
        if length <= 0:
            return
        yield token[:length]
        length -= len(token)


if __name__ == "__main__":
    with OllamaServer(port=int(sys.argv[1]) if len(sys.argv) > 1 else 11434) as running:
        print(running.address, flush=True)
        threading.Event().wait()
