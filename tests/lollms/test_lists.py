"""Lists of models in which something is no model: told, never passed over and never made up."""

from __future__ import annotations

import json
import socket

import pytest

from lollms_core import LollmsClient, ProtocolError
from tests.support.framing_server import Incoming
from tests.support.socket_server import SocketServer


class _Lists(SocketServer):
    """A server that knows this list of models and nothing else."""

    def __init__(self, path: bytes, answer: object) -> None:
        self._path, self._answer = path, json.dumps(answer).encode()

    def talk(self, sock: socket.socket) -> None:
        known = Incoming(sock).until(b"\r\n\r\n").startswith(b"GET " + self._path)
        status, body = ("200 OK", self._answer) if known else ("404 Not Found", b"{}")
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        sock.sendall(head.encode() + b"connection: close\r\n\r\n" + body)


@pytest.mark.parametrize("odd", [7, None, True, ["x"], {"name": "x"}])
def test_a_classic_server_whose_list_has_something_that_is_no_name(odd):
    with _Lists(b"/list_models", ["fine", odd]) as server:
        with LollmsClient(host_address=f"http://127.0.0.1:{server.port}", raise_errors=True) as client:
            with pytest.raises(ProtocolError, match="name 2 in the server's list of models"):
                client.list_models()


@pytest.mark.parametrize("odd", [7, None, "x", [], {}, {"id": 7}, {"id": None}])
def test_a_current_server_whose_list_has_something_that_is_no_model(odd):
    with _Lists(b"/lollms/v1/models", {"data": [{"id": "fine"}, odd]}) as server:
        with LollmsClient(host_address=f"http://127.0.0.1:{server.port}/lollms", raise_errors=True) as client:
            with pytest.raises(ProtocolError, match="entry 2"):
                client.list_models()
