"""A server that does next to nothing, so that what a client costs can be measured. A process of its own.

It answers the OpenAI routes and both kinds of LoLLMS server with bytes that were prepared at the start:

- a request that does not stream gets one short JSON answer;
- a stream for a model whose name contains `short` has three chunks, any other has N;
- the model `paced` gives N chunks, one after the other over many connections in turn, each of which repeats the prompt,
  so that a client that loses or mixes chunks is found out.

Usage: `python stub_server.py PORT [N]`. It prints `ready` when it listens; port 0 is any, and is printed.
"""

from __future__ import annotations

import asyncio
import json
import sys

SHORT = 3
ENDING = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def whole(body: bytes, content_type: str = "application/json", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chunked_head(content_type: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(**fields: object) -> bytes:
    value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: object) -> bytes:
    return event(choices=[{"index": 0, "delta": fields, "finish_reason": finish}])


END = chunk(delta("stop")) + chunk(event(choices=[], usage=ENDING)) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def sse_answer(count: int) -> bytes:
    pieces = b"".join(chunk(delta(content=f"word{i} ")) for i in range(count))
    return chunked_head("text/event-stream") + pieces + END


def text_answer(count: int) -> bytes:
    pieces = b"".join(chunk(f"word{i} ".encode()) for i in range(count))
    return chunked_head("text/event-stream") + pieces + b"0\r\n\r\n"


MESSAGE = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
CHAT = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [MESSAGE], "usage": ENDING}


class Answers:
    """Every answer, as the bytes that go out."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.chat = whole(json.dumps(CHAT).encode())
        self.text = whole(b"ok", "text/plain")
        self.sse = {True: sse_answer(SHORT), False: sse_answer(count)}
        self.raw = {True: text_answer(SHORT), False: text_answer(count)}
        self.others = {
            b"/v1/models": whole(json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()),
            b"/classic/get_generation_status": whole(b'{"status": false}'),
        }

    def to(self, path: bytes, body: bytes) -> bytes:
        if path.endswith(b"/chat/completions"):
            return self.sse[b"short" in body] if streams(body) else self.chat
        if path.endswith(b"/lollms_generate"):
            return self.raw[b"short" in body] if streams(body) else self.text
        return self.others.get(path) or whole(b'{"detail": "Not Found"}', status="404 Not Found")


def streams(body: bytes) -> bool:
    return b'"stream":true' in body or b'"stream": true' in body


class Connection(asyncio.Protocol):
    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            length = 0
            for line in head.lower().split(b"\r\n")[1:]:
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            path = head.split(b" ", 2)[1]
            if b'"paced"' in body:
                self.task = asyncio.ensure_future(self.paced(json.loads(body)))
            else:
                self.transport.write(self.answers.to(path, body))

    async def paced(self, body: dict) -> None:
        prompt = body["messages"][-1]["content"]
        self.transport.write(chunked_head("text/event-stream"))
        for index in range(self.answers.count):
            self.transport.write(chunk(delta(content=f"{prompt}:{index} ")))
            await asyncio.sleep(0)
        self.transport.write(END)


async def main(port: int, count: int) -> None:
    answers = Answers(count)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(answers), "127.0.0.1", port, backlog=2048
    )
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000))
