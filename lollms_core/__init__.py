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
    from lollms_core.backend import Backend as Backend
    from lollms_core.bridges.pending import FuturePending as FuturePending
    from lollms_core.bridges.pending import Pending as Pending
    from lollms_core.bridges.pending import Ready as Ready
    from lollms_core.client import LollmsClient as LollmsClient
    from lollms_core.dialogues import Ask as Ask
    from lollms_core.dialogues import Dialogue as Dialogue
    from lollms_core.dialogues import ask_until_valid as ask_until_valid
    from lollms_core.errors import *  # noqa: F403
    from lollms_core.extension import ClientInfo as ClientInfo
    from lollms_core.extension import End as End
    from lollms_core.extension import Extension as Extension
    from lollms_core.hookspecs import CONTRACT_VERSION as CONTRACT_VERSION
    from lollms_core.hookspecs import hookimpl as hookimpl
    from lollms_core.layers import Stream as Stream
    from lollms_core.parameters import GenerateOptions as GenerateOptions
    from lollms_core.registry import installed_extensions as installed_extensions
    from lollms_core.registry import installed_formats as installed_formats
    from lollms_core.types import *  # noqa: F403

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
    **dict.fromkeys(_ERRORS, "lollms_core.errors"),
    **dict.fromkeys(_TYPES, "lollms_core.types"),
    "Ask": "lollms_core.dialogues",
    "Backend": "lollms_core.backend",
    "CONTRACT_VERSION": "lollms_core.hookspecs",
    "ClientInfo": "lollms_core.extension",
    "Dialogue": "lollms_core.dialogues",
    "End": "lollms_core.extension",
    "Extension": "lollms_core.extension",
    "FuturePending": "lollms_core.bridges.pending",
    "GenerateOptions": "lollms_core.parameters",
    "LollmsClient": "lollms_core.client",
    "Pending": "lollms_core.bridges.pending",
    "Ready": "lollms_core.bridges.pending",
    "Stream": "lollms_core.layers",
    "ask_until_valid": "lollms_core.dialogues",
    "hookimpl": "lollms_core.hookspecs",
    "installed_extensions": "lollms_core.registry",
    "installed_formats": "lollms_core.registry",
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
