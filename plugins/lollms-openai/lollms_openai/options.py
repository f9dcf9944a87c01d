"""What a client can tell this format, beyond what it tells every format."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["OpenAIOptions"]


class OpenAIOptions(BaseModel):
    """Keyword arguments of `LollmsClient` that only this format knows."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    organization: str | None = None
    """Sent as `OpenAI-Organization`; by default, to OpenAI alone, what `OPENAI_ORG_ID` says."""
    project: str | None = None
    """Sent as `OpenAI-Project`; by default, to OpenAI alone, what `OPENAI_PROJECT_ID` says."""
    api_path: str | None = None
    """The path in front of `/chat/completions` on the server. `None` finds it from the address: `/v1`, unless that says
    another version. An empty string is for servers that have none."""
    embedding_model: str | None = None
    """The model of `embed`, which is rarely the one that answers; `None` is the client's `model_name`."""
