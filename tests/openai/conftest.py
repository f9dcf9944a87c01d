"""A stub server, and clients that talk to it as to a compatible server or as to OpenAI itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lollms_core import LollmsClient
from tests.support.openai_stub import OpenAIStub, running
from tests.support.waiting import PATIENT

MakeClient = Callable[..., LollmsClient]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person who runs the tests has set must not decide their outcome."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stub() -> Iterator[OpenAIStub]:
    with running() as server:
        yield server


@pytest.fixture
def client(stub: OpenAIStub) -> Iterator[MakeClient]:
    """Makes clients of the stub, as of a server that is compatible with OpenAI's."""
    made: list[LollmsClient] = []

    def make(**options: Any) -> LollmsClient:
        options = {
            "host_address": stub.url, "model_name": "stub-model", "raise_errors": True, "timeouts": PATIENT, **options,
        }  # fmt: skip
        made.append(LollmsClient(default_generation_mode="openai", **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def openai_client(client: MakeClient, stub: OpenAIStub, monkeypatch: pytest.MonkeyPatch) -> MakeClient:
    """Makes clients of `api.openai.com`, by that name: the stub is their proxy."""
    monkeypatch.setenv("HTTP_PROXY", stub.url)
    monkeypatch.setenv("http_proxy", stub.url)

    def make(**options: Any) -> LollmsClient:
        return client(**{"host_address": "http://api.openai.com", "service_key": "sk-test", **options})

    return make
