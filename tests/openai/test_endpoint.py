"""What people write as the address of a server, and where requests then go."""

from __future__ import annotations

import pytest
from lollms_openai.endpoint import Endpoint

from lollms_core import ConfigurationError


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
