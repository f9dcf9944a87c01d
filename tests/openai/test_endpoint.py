"""What people write as the address of a server, and where requests then go."""

from __future__ import annotations

import socket
from urllib.parse import quote

import pytest
from lollms_openai.endpoint import Endpoint

from lollms_core import ConfigurationError, LollmsClient, LollmsError
from tests.support.framing_server import Incoming
from tests.support.socket_server import SocketServer


@pytest.mark.parametrize(
    ("written", "root", "chat"),
    [
        ("http://localhost:8000", "http://localhost:8000", "/v1/chat/completions"),
        ("http://localhost:8000/", "http://localhost:8000", "/v1/chat/completions"),
        ("http://localhost:8000/v1", "http://localhost:8000", "/v1/chat/completions"),
        ("http://localhost:8000/v1/", "http://localhost:8000", "/v1/chat/completions"),
        ("localhost:8000", "http://localhost:8000", "/v1/chat/completions"),
        ("https://openrouter.ai/api", "https://openrouter.ai/api", "/v1/chat/completions"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api", "/v1/chat/completions"),
        ("https://host.test/api/paas/v4", "https://host.test/api/paas", "/v4/chat/completions"),
        ("https://host.test/v1beta/openai/", "https://host.test/v1beta/openai", "/chat/completions"),
        ("https://host.test/v1/chat/completions", "https://host.test", "/v1/chat/completions"),
        ("https://host.test/v1/models", "https://host.test", "/v1/chat/completions"),
        ("https://api.openai.com/v1", "https://api.openai.com", "/v1/chat/completions"),
        ("api.openai.com", "https://api.openai.com", "/v1/chat/completions"),
        ("http://me:pw@host.test/v1", "http://me:pw@host.test", "/v1/chat/completions"),
        ("http://[::1]:8000/v1", "http://[::1]:8000", "/v1/chat/completions"),
        (
            "https://res.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21",
            "https://res.openai.azure.com/openai/deployments/gpt",
            "/chat/completions?api-version=2024-10-21",
        ),
        ("https://res.openai.azure.com", "https://res.openai.azure.com", "/openai/v1/chat/completions"),
        ("https://res.openai.azure.com/openai/v1", "https://res.openai.azure.com/openai", "/v1/chat/completions"),
    ],
)
def test_addresses_with_and_without_the_path_of_the_api(written: str, root: str, chat: str) -> None:
    endpoint = Endpoint.parse(written)
    assert (endpoint.root, endpoint.chat) == (root, chat)


def test_the_path_can_be_said() -> None:
    assert Endpoint.parse("https://host.test", "").chat == "/chat/completions"
    assert Endpoint.parse("https://host.test/x/", "/inference/v2/").chat == "/inference/v2/chat/completions"
    assert Endpoint.parse("https://host.test/x/", "/inference/v2/").root == "https://host.test/x"


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("https://api.openai.com", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://API.OpenAI.com/v1", "openai"),
        ("https://res.openai.azure.com", "azure"),
        ("https://api.openai.com.evil.test", "compatible"),
        ("https://notapi.openai.com.test", "compatible"),
        ("http://localhost:8000", "compatible"),
    ],
)
def test_whose_server_it_is(written: str, kind: str) -> None:
    assert Endpoint.parse(written).kind == kind


@pytest.mark.parametrize("written", ["http://", "http://host:port/v1", "http://ho st/v1"])
def test_what_is_no_address(written: str) -> None:
    with pytest.raises(ConfigurationError):
        Endpoint.parse(written)


class _NoRoute(SocketServer):
    def talk(self, sock: socket.socket) -> None:
        said = b"no route " + Incoming(sock).until(b"\r\n\r\n").split()[1]
        sock.sendall(b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(said) + said)


@pytest.mark.parametrize("key", ["sk-very-secret", "sk/very secret?"])
def test_a_key_in_the_query_is_not_shown(key: str) -> None:
    with _NoRoute() as server:
        address = f"http://127.0.0.1:{server.port}/v1?api-version=2024-10-21&key={quote(key)}"
        with LollmsClient(address, "m", default_generation_mode="openai", raise_errors=True) as client:
            with pytest.raises(LollmsError, match="no route") as caught:
                client.generate("hi")
    assert "2024-10-21" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_nor_of_the_environments_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with _NoRoute() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.port}/v1?key=sk-very-secret")
        with LollmsClient(None, "m", default_generation_mode="openai", raise_errors=True) as client:
            with pytest.raises(LollmsError, match="no route") as caught:
                client.generate("hi")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["localhost", "none", "OpenAI"])
def test_a_placeholder_is_no_key(key: str) -> None:
    with _NoRoute() as server:
        with LollmsClient(
            f"http://localhost:{server.port}", "m", default_generation_mode="openai", service_key=key, raise_errors=True
        ) as client:
            with pytest.raises(LollmsError, match="no route") as caught:
                client.generate("hi")
    assert "*" not in f"{caught.value}{caught.value.hint}"


def test_nor_where_no_query_may_be() -> None:
    with LollmsClient("http://127.0.0.1:9?key=secret", raise_errors=True) as client:
        with pytest.raises(ConfigurationError, match="must not have a query") as caught:
            client.generate("hi")
    assert "secret" not in str(caught.value)
