"""Addresses, keys and headers: from the client, from the environment, and what is missing."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from lollms_core import AuthenticationError, ConfigurationError, LollmsClient, UnsupportedOptionError
from tests.openai.conftest import MakeClient
from tests.support.openai_stub import OpenAIStub, error

SECRET = "sk-very-secret-key"


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_the_address_with_and_without_v1(client: MakeClient, stub: OpenAIStub, ending: str) -> None:
    client(host_address=stub.url + ending).generate("Hi?")
    assert stub.requests[0].path == "/v1/chat/completions"


def test_an_address_with_a_query(client: MakeClient, stub: OpenAIStub) -> None:
    one = client(host_address=f"{stub.url}/openai/deployments/gpt?api-version=2024-10-21")
    assert one.generate("Hi?") == "Hello from the stub."
    assert stub.requests[0].path == "/openai/deployments/gpt/chat/completions?api-version=2024-10-21"


async def test_an_address_with_a_query_async(client: MakeClient, stub: OpenAIStub) -> None:
    one = client(host_address=f"{stub.url}/openai/deployments/gpt?api-version=2024-10-21")
    assert await one.agenerate("Hi?") == "Hello from the stub."
    assert stub.requests[0].path == "/openai/deployments/gpt/chat/completions?api-version=2024-10-21"


def test_the_environments_names(client: MakeClient, stub: OpenAIStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{stub.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    client(host_address=None).generate("Hi?")
    assert stub.requests[0].headers["authorization"] == f"Bearer {SECRET}"


def test_the_clients_key_and_address_win(client: MakeClient, stub: OpenAIStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    client(service_key=SECRET).generate("Hi?")
    assert stub.requests[0].headers["authorization"] == f"Bearer {SECRET}"


def test_organisation_and_project(openai_client: MakeClient, stub: OpenAIStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-env")
    openai_client().generate("Hi?")
    openai_client(organization="org-own", project="proj-own").generate("Hi?")
    sent = [(r.headers["openai-organization"], r.headers["openai-project"]) for r in stub.requests]
    assert sent == [("org-env", "proj-env"), ("org-own", "proj-own")]


def test_who_pays_at_openai_is_not_told_to_others(
    client: MakeClient, stub: OpenAIStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
    client().generate("Hi?")
    assert "openai-organization" not in stub.requests[0].headers


def test_extra_headers_win(client: MakeClient, stub: OpenAIStub) -> None:
    headers = {"X-Team": "blue", "authorization": "Bearer other"}
    client(headers=headers, service_key=SECRET).generate("Hi?")
    assert stub.requests[0].headers["x-team"] == "blue"
    assert stub.requests[0].headers["authorization"] == "Bearer other"


def test_azures_keys_have_a_header_of_their_own(openai_client: MakeClient, stub: OpenAIStub) -> None:
    address = "http://res.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21"
    openai_client(host_address=address, service_key="abc").generate("Hi?")
    openai_client(host_address=address, service_key="eyJ.a.token").generate("Hi?")
    with_key, with_token = (request.headers for request in stub.requests)
    assert (with_key["api-key"], "authorization" in with_key) == ("abc", False)
    assert ("api-key" in with_token, with_token["authorization"]) == (False, "Bearer eyJ.a.token")


def test_no_key_for_openai_is_noticed_before_anything_is_sent(openai_client: MakeClient, stub: OpenAIStub) -> None:
    one = openai_client(service_key=None)
    with pytest.raises(AuthenticationError) as caught:
        one.generate("Hi?")
    assert "OPENAI_API_KEY" in caught.value.hint
    assert "host_address" in caught.value.hint
    with pytest.raises(AuthenticationError):
        one.list_models()
    assert stub.requests == []


def test_the_default_address_is_openais() -> None:
    one = LollmsClient(default_generation_mode="openai")
    backend: Any = one.backend
    assert str(backend.address) == "https://api.openai.com"
    one.close()


def test_a_wrong_key(client: MakeClient, stub: OpenAIStub) -> None:
    stub.rules.append(lambda _: error(401, f"Incorrect API key provided: {SECRET}", code="invalid_api_key"))
    with pytest.raises(AuthenticationError) as caught:
        client(service_key=SECRET).generate("Hi?")
    assert SECRET not in str(caught.value)
    assert "OPENAI_API_KEY" in caught.value.hint


def test_the_key_appears_nowhere(client: MakeClient, stub: OpenAIStub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    one = client(service_key=SECRET)
    one.generate("Hi?")
    seen = [repr(one), repr(one.backend), repr(one.backend.settings), str(vars(one.backend)), caplog.text]
    assert not any(SECRET in text for text in seen)


def test_options_are_checked(client: MakeClient) -> None:
    with pytest.raises(UnsupportedOptionError, match="organisation") as caught:
        client(organisation="x")
    assert "'organization'" in caught.value.hint
    with pytest.raises(ConfigurationError):
        client(project=7)
    with pytest.raises(ConfigurationError, match="not a server address"):
        client(host_address="http://host:port")
