"""Fixtures for the tests of programs that ask models, and of backends that talk to a server.

# conftest.py
pytest_plugins = ["lollms_core.testing.plugin"]
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

import pytest

from lollms_core import (
    Backend,
    Capabilities,
    Chunk,
    EmbedRequest,
    GenerationRequest,
    LollmsClient,
    LollmsError,
    ModelInfo,
    ToolCall,
    hookimpl,
)

__all__ = ["Answer", "Reply", "ScriptedClient", "StubServer", "scripted_client", "stub_server"]

Piece: TypeAlias = str | Chunk | ToolCall | LollmsError
"""A piece of an answer. A text's pieces arrive one by one; after an error nothing does."""
Answer: TypeAlias = Piece | Iterable[Piece]
"""What a scripted client answers: a text, a tool call, an error; or pieces of these."""


class ScriptedClient(LollmsClient):
    """A client that answers by a script; `asked` has the requests, in order."""

    asked: list[GenerationRequest]


@pytest.fixture
def scripted_client() -> Iterator[Callable[..., ScriptedClient]]:
    """Makes clients that answer by a script: `scripted_client("one", ["in ", "pieces"], RateLimitError("busy"))`.

    An error among pieces comes after what stands before it: `["so ", "far", RateLimitError("busy")]`. Each call takes
    the next answer, whole; a call beyond the last is an error. Stop sequences cut it, and no other option changes it:
    the request, which has them all, is in `asked`. Keyword arguments are those of `LollmsClient`. Clients raise errors
    unless told otherwise, and are closed after the test.
    """
    clients: list[ScriptedClient] = []

    def make(*answers: Answer, **arguments: Any) -> ScriptedClient:
        script, lock = [_pieces(answer) for answer in answers], threading.Lock()
        asked: list[GenerationRequest] = []

        class Scripted(Backend):
            contract_version = 1
            capabilities = Capabilities(
                options=frozenset(
                    {
                        "messages", "n_predict", "temperature", "top_k", "top_p", "min_p", "repeat_penalty",
                        "repeat_last_n", "seed", "n_threads", "system_prompt", "json_schema", "think",
                        "personality", "ctx_size",
                    }
                ),
                parts=frozenset({"provider", "reasoning", "tool_call", "tool_result"}),
                vision=True, embeddings=True, raw_prompt=True, local=True,
            )  # fmt: skip

            @hookimpl
            def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
                with lock:
                    asked.append(request)
                    if not script:
                        raise AssertionError(f"the script has no answer number {len(asked)}")
                    answer = script.pop(0)
                for piece in answer:
                    if isinstance(piece, LollmsError):
                        raise piece
                    yield piece

            @hookimpl
            def embed(self, request: EmbedRequest) -> list[list[float]]:
                return [[float(len(text)), 1.0] for text in request.texts]

            @hookimpl
            def list_models(self, request: Any) -> list[ModelInfo]:
                return [ModelInfo(name="scripted")]

        client = ScriptedClient(**{"default_generation_mode": Scripted, "raise_errors": True, **arguments})
        client.asked = asked
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def _pieces(answer: Any) -> Iterable[Chunk | LollmsError]:
    """What a script plays for one call. Raises `TypeError`, here and now, for what it cannot play."""
    if isinstance(answer, (list, tuple)) and not isinstance(answer, Chunk):
        return [_piece(each) for each in answer]
    if isinstance(answer, Iterator):  # which may take its time between them
        return map(_piece, answer)
    return [_piece(answer)]


def _piece(piece: Any) -> Chunk | LollmsError:
    if isinstance(piece, (Chunk, LollmsError)):
        return piece
    if isinstance(piece, str):
        return Chunk(piece)
    if isinstance(piece, ToolCall):
        return Chunk(part=piece)
    due = "a text, a Chunk, a ToolCall, a LollmsError, or a list of these"
    raise TypeError(f"what a scripted client answers is {due}; {piece!r} is none of them")


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as the server got it."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a stub server answers: JSON, text, bytes, or pieces that leave one by one."""

    body: Any = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def events(cls, *events: Any, done: bool = True) -> Reply:
        """A stream of server-sent events, each a JSON value, with `[DONE]` at its end."""
        pieces = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
        return cls(pieces + ([b"data: [DONE]\n\n"] if done else []), headers={"content-type": "text/event-stream"})

    @classmethod
    def lines(cls, *values: Any) -> Reply:
        """A stream of JSON values, one in each line."""
        pieces = [json.dumps(value).encode() + b"\n" for value in values]
        return cls(pieces, headers={"content-type": "application/x-ndjson"})


class StubServer:
    """A real HTTP server on this machine that answers as it is told. `requests` has what it was sent."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self._replies: dict[str, Reply | Callable[[Received], Reply]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="stub", daemon=True)
        self._thread.start()

    def on(self, path: str, reply: Reply | Callable[[Received], Reply]) -> None:
        """Answer requests for a path, without its query, with a reply, or with what a function makes of the request."""
        if not str(path).startswith("/"):
            raise ValueError(f"a path begins with a slash, as in '/v1/models': {path!r}")
        given: Any = reply
        if not isinstance(given, Reply) and not callable(given):
            raise TypeError(f"a reply is a Reply(…), or a function that makes one of a request; {given!r} is neither")
        self._replies[path] = reply

    def reply(self, request: Received) -> Reply:
        """The answer to a request; 404 for a path that nobody has told it."""
        self.requests.append(request)
        found = self._replies.get(request.path.partition("?")[0])
        if found is None:
            known = ", ".join(self._replies) or "none yet"
            return Reply({"error": f"the stub has no reply for {request.path}; it has been given: {known}"}, 404)
        made: Any = found(request) if callable(found) else found
        if not isinstance(made, Reply):
            told = f"the stub's function for {request.path} gave {made!r}, which is no Reply"
            return Reply({"error": told}, 400)
        return made

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(stub: StubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = stub.reply(Received(self.command, self.path, headers, body))
            whole = _whole(reply.body)
            self.send_response(reply.status)
            given = {"content-type": "application/json", **{name.lower(): each for name, each in reply.headers.items()}}
            given |= {"content-length": str(len(whole))} if whole is not None else {"transfer-encoding": "chunked"}
            for name, value in given.items():
                self.send_header(name, value)
            self.end_headers()
            if whole is not None:
                self.wfile.write(whole)
                return
            for piece in reply.body:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the client has gone, as it may
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing: a test says what matters."""

    return Handler


def _whole(body: Any) -> bytes | None:
    """A body that is sent at once; `None` for one that comes in pieces."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (Mapping, list)) and not (body and isinstance(body, list) and isinstance(body[0], bytes)):
        return json.dumps(body).encode()
    return None


@pytest.fixture
def stub_server() -> Iterator[StubServer]:
    """A real HTTP server on this machine that answers as it is told."""
    server = StubServer()
    yield server
    server.close()
