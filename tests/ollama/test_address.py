"""Addresses as `OLLAMA_HOST` may have them."""

from __future__ import annotations

import contextlib
import doctest
from typing import Any

import lollms_ollama.address
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lollms_ollama.address import client_address

from lollms_core import ConfigurationError, LollmsClient
from lollms_core.http import Address
from tests.support.results import error_of

TABLE = [
    ("localhost", "http://localhost:11434"),
    ("example.com", "http://example.com:11434"),
    ("example.com:56789", "http://example.com:56789"),
    ("http://example.com", "http://example.com:80"),
    ("https://example.com", "https://example.com:443"),
    ("HTTPS://Example.com", "https://Example.com:443"),
    ("https://example.com:56789/", "https://example.com:56789"),
    ("example.com/", "http://example.com:11434"),
    ("example.com/path", "http://example.com:11434/path"),
    ("example.com:56789/path/", "http://example.com:56789/path"),
    ("https://example.com/a/b", "https://example.com:443/a/b"),
    (":56789", "http://127.0.0.1:56789"),
    ("", "http://127.0.0.1:11434"),
    ("0.0.0.0", "http://127.0.0.1:11434"),
    ("0.0.0.0:80", "http://127.0.0.1:80"),
    ("http://0.0.0.0:11434/api-here", "http://127.0.0.1:11434/api-here"),
    ("[::]", "http://[::1]:11434"),
    ("[::]:8080", "http://[::1]:8080"),
    ("::", "http://[::1]:11434"),
    ("[0:0:0:0:0:0:0:0]", "http://[::1]:11434"),
    ("[::1]", "http://[::1]:11434"),
    ("::1", "http://[::1]:11434"),
    ("2001:db8::1", "http://[2001:db8::1]:11434"),
    ("https://[2001:db8::1]:1234/p", "https://[2001:db8::1]:1234/p"),
    ("192.168.0.10", "http://192.168.0.10:11434"),
    ('"localhost:1234"', "http://localhost:1234"),
    (" ' example.com ' ", "http://example.com:11434"),
    ("user:secret@example.com", "http://user:secret@example.com:11434"),
    ("ollama.com", "https://ollama.com:443"),
    ("http://ollama.com", "http://ollama.com:80"),
]


@pytest.mark.parametrize(("text", "url"), TABLE)
def test_table(text, url):
    assert client_address(text) == url


@pytest.mark.parametrize(("_", "url"), TABLE)
def test_result_is_read_as_it_stands(_, url):
    assert client_address(url) == url


def test_examples_of_the_documentation_are_true():
    assert doctest.testmod(lollms_ollama.address).failed == 0
    assert doctest.testmod(lollms_ollama.address).attempted >= 8


HOSTS = st.one_of(
    st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z][a-z0-9-]{0,10}){0,3}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
)


@given(
    HOSTS,
    st.integers(1, 65535) | st.none(),
    st.sampled_from(["", "http://", "https://"]),
    st.sampled_from(["", "/", "/a/b"]),
)
def test_every_part_arrives(host, port, scheme, path):
    found = Address.parse(client_address(f"{scheme}{host}{'' if port is None else f':{port}'}{path}"))
    bare = host.strip("[]")
    assert found.host == {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bare, bare)
    default = {"": 11434, "http://": 80, "https://": 443}[scheme]
    if host != "ollama.com":
        assert found.port == (port or default)
        assert found.scheme == (scheme[:-3] or "http")
    assert found.path == path.rstrip("/")


@given(st.text())
def test_any_text_is_an_address_or_a_configuration_error(text):
    with contextlib.suppress(ConfigurationError):
        assert str(Address.parse(client_address(text)))


@pytest.mark.parametrize("text", ["localhost:port", "localhost:70000", "ftp://localhost", "http://a b", "host?x=1"])
def test_wrong_address_is_an_error_of_the_first_call(text):
    with LollmsClient(default_generation_mode="ollama", model_name="m", host_address=text) as client:
        assert error_of(client.generate("Hello"))["type"] == "ConfigurationError"


def test_environment_gives_the_address_and_the_client_overrides_it(server, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", server.address.removeprefix("http://").replace("127.0.0.1", "0.0.0.0"))
    with LollmsClient(default_generation_mode="ollama", raise_errors=True) as client:
        assert "tiny:latest" in client.list_models()
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    with LollmsClient(default_generation_mode="ollama", host_address=server.address, raise_errors=True) as client:
        assert "tiny:latest" in client.list_models()


def test_a_wrong_address_in_the_environment_is_told_as_that(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "bad host")
    with LollmsClient(default_generation_mode="ollama", model_name="m") as client:
        assert error_of(client.generate("Hello"))["hint"].startswith("The variable OLLAMA_HOST says so.")


def test_default_address(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "  ")
    with LollmsClient(default_generation_mode="ollama") as client:
        backend: Any = client.backend
        assert str(backend.address) == "http://localhost:11434"


def test_a_path_is_kept(server):
    with LollmsClient(default_generation_mode="ollama", host_address=f"{server.address}/proxy/") as client:
        client.list_models()
    assert server.requests[-1].path == "/proxy/api/tags"
