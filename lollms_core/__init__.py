"""lollms-core: one client for any language model, and the contract that its backends keep.

    from lollms_core import LollmsClient
    client = LollmsClient(default_generation_mode="transformers", model_name="...")
    print(client.generate("What is the capital of France?"))

Names are resolved on first use: `import lollms_core` loads neither requests, tiktoken, pydantic nor any backend.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lollms_core._client.client import LollmsClient as LollmsClient
    from lollms_core._client.dialogues import Ask as Ask
    from lollms_core._client.dialogues import Dialogue as Dialogue
    from lollms_core._client.dialogues import ask_until_valid as ask_until_valid
    from lollms_core._client.layers import Stream as Stream
    from lollms_core._client.registry import ExtensionInfo as ExtensionInfo
    from lollms_core._client.registry import FormatInfo as FormatInfo
    from lollms_core._client.registry import installed_extensions as installed_extensions
    from lollms_core._client.registry import installed_formats as installed_formats
    from lollms_core._client.registry import refresh_installed as refresh_installed
    from lollms_core._client.requests import GenerateOptions as GenerateOptions
    from lollms_core.contract.backend import Backend as Backend
    from lollms_core.contract.errors import *  # noqa: F403
    from lollms_core.contract.extension import ClientInfo as ClientInfo
    from lollms_core.contract.extension import End as End
    from lollms_core.contract.extension import Extension as Extension
    from lollms_core.contract.extension import Proceed as Proceed
    from lollms_core.contract.hookspecs import CONTRACT_VERSION as CONTRACT_VERSION
    from lollms_core.contract.hookspecs import hookimpl as hookimpl
    from lollms_core.contract.pending import FuturePending as FuturePending
    from lollms_core.contract.pending import Pending as Pending
    from lollms_core.contract.pending import Ready as Ready
    from lollms_core.contract.types import *  # noqa: F403

_ERRORS = (
    "APIConnectionError", "APIStatusError", "APITimeoutError", "AuthenticationError", "BackendError",
    "CallCancelledError", "ClientClosedError", "ConfigurationError", "ContextWindowError", "ContractError",
    "EmptyAnswerWarning", "EmptyPromptError", "ErrorDict", "ExtensionError", "ExtensionWarning", "FormatLoadError",
    "ImageError",
    "IncompleteStreamError", "InvalidAnswerError", "InvalidRequestError", "LollmsError",
    "MissingDependencyError", "ModelLoadError", "ModelNotFoundError", "ModelRequiredError", "PermissionDeniedError",
    "ProtocolError", "RateLimitError", "ServerError", "UnfinishedCodeWarning", "UnknownExtensionError",
    "UnknownFormatError",
    "UnsupportedError", "UnsupportedOptionError", "UnsupportedOptionWarning",
)  # fmt: skip
_TYPES = (
    "DEFAULTS", "ELF_COMPLETION_FORMAT", "ELF_GENERATION_FORMAT", "MSG_TYPE", "BackendSettings", "CancelToken",
    "Capabilities", "Chunk", "CloseRequest", "CodeBlock", "Completion", "DetokenizeRequest", "EmbedRequest",
    "FinishReason", "GenerationRequest", "Image", "ListModelsRequest", "ListPersonalitiesRequest", "Message",
    "ModelInfo", "ModelInfoRequest", "Part", "Personality", "ProviderPart", "PullModelRequest", "PullProgress",
    "ReasoningPart", "Request", "Role", "SamplingParams", "TextPart", "Timeouts", "Timings", "TokenCount",
    "TokenizeRequest", "ToolCall", "ToolResult", "Usage",
)  # fmt: skip

_HOMES = {
    **dict.fromkeys(_ERRORS, "lollms_core.contract.errors"),
    **dict.fromkeys(_TYPES, "lollms_core.contract.types"),
    "Ask": "lollms_core._client.dialogues",
    "Backend": "lollms_core.contract.backend",
    "CONTRACT_VERSION": "lollms_core.contract.hookspecs",
    "ClientInfo": "lollms_core.contract.extension",
    "Dialogue": "lollms_core._client.dialogues",
    "End": "lollms_core.contract.extension",
    "Extension": "lollms_core.contract.extension",
    "ExtensionInfo": "lollms_core._client.registry",
    "FormatInfo": "lollms_core._client.registry",
    "FuturePending": "lollms_core.contract.pending",
    "GenerateOptions": "lollms_core._client.requests",
    "LollmsClient": "lollms_core._client.client",
    "Pending": "lollms_core.contract.pending",
    "Proceed": "lollms_core.contract.extension",
    "Ready": "lollms_core.contract.pending",
    "Stream": "lollms_core._client.layers",
    "ask_until_valid": "lollms_core._client.dialogues",
    "hookimpl": "lollms_core.contract.hookspecs",
    "installed_extensions": "lollms_core._client.registry",
    "installed_formats": "lollms_core._client.registry",
    "refresh_installed": "lollms_core._client.registry",
}

__all__ = ["__version__", *_HOMES]


if not TYPE_CHECKING:  # a type checker would take every name for there

    def __getattr__(name: str) -> Any:
        try:
            home = _HOMES[name]
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        value = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
