"""Backends of the protocols that the core itself speaks, for tests of the transport."""

from __future__ import annotations

from typing import Any

from lollms_core._backends.lollms import LollmsBackend
from lollms_core.contract.types import BackendSettings, GenerationRequest
from lollms_core.http import Exchange, HTTPRequest, StreamCall
from lollms_core.http._backend import HTTPBackend
from lollms_core.protocols.openai import ChatDecoder, chat_body
from tests.support.dialects import LOLLMS, OPENAI, Dialect
from tests.support.waiting import PATIENT


class ChatBackend(HTTPBackend):
    """The least of an OpenAI client."""

    key_variables = ("TEST_CHAT_KEY",)

    def open_stream(self, request: GenerationRequest) -> Exchange[StreamCall]:
        yield from ()
        body = chat_body(request, model=request.model)
        return StreamCall(request=HTTPRequest(path="/v1/chat/completions", json=body), decoder=ChatDecoder)


class QuickLollms(LollmsBackend):
    backoff = 0.01


class QuickChat(ChatBackend):
    backoff = 0.01


BACKENDS: dict[str, type[HTTPBackend]] = {"lollms": QuickLollms, "openai": QuickChat}
DIALECTS: dict[str, Dialect] = {"lollms": LOLLMS, "openai": OPENAI}


def make(protocol: str, address: str, **settings: Any) -> HTTPBackend:
    settings = {"timeouts": PATIENT, **settings}
    return BACKENDS[protocol](BackendSettings(format=protocol, host_address=address, **settings))
