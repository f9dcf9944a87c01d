"""A second import name: the public names of `lollms_core`, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lollms_core
from lollms_core import __all__ as __all__
from lollms_core import __version__ as __version__

if TYPE_CHECKING:
    from lollms_core import CONTRACT_VERSION as CONTRACT_VERSION
    from lollms_core import DEFAULTS as DEFAULTS
    from lollms_core import ELF_COMPLETION_FORMAT as ELF_COMPLETION_FORMAT
    from lollms_core import ELF_GENERATION_FORMAT as ELF_GENERATION_FORMAT
    from lollms_core import MSG_TYPE as MSG_TYPE
    from lollms_core import APIConnectionError as APIConnectionError
    from lollms_core import APIStatusError as APIStatusError
    from lollms_core import APITimeoutError as APITimeoutError
    from lollms_core import Ask as Ask
    from lollms_core import AuthenticationError as AuthenticationError
    from lollms_core import Backend as Backend
    from lollms_core import BackendError as BackendError
    from lollms_core import BackendSettings as BackendSettings
    from lollms_core import CallCancelledError as CallCancelledError
    from lollms_core import CancelToken as CancelToken
    from lollms_core import Capabilities as Capabilities
    from lollms_core import Chunk as Chunk
    from lollms_core import ClientClosedError as ClientClosedError
    from lollms_core import ClientInfo as ClientInfo
    from lollms_core import CloseRequest as CloseRequest
    from lollms_core import CodeBlock as CodeBlock
    from lollms_core import Completion as Completion
    from lollms_core import ConfigurationError as ConfigurationError
    from lollms_core import ContextWindowError as ContextWindowError
    from lollms_core import ContractError as ContractError
    from lollms_core import DetokenizeRequest as DetokenizeRequest
    from lollms_core import Dialogue as Dialogue
    from lollms_core import EmbedRequest as EmbedRequest
    from lollms_core import EmptyAnswerWarning as EmptyAnswerWarning
    from lollms_core import EmptyPromptError as EmptyPromptError
    from lollms_core import End as End
    from lollms_core import ErrorDict as ErrorDict
    from lollms_core import Extension as Extension
    from lollms_core import ExtensionError as ExtensionError
    from lollms_core import ExtensionInfo as ExtensionInfo
    from lollms_core import ExtensionWarning as ExtensionWarning
    from lollms_core import FinishReason as FinishReason
    from lollms_core import FormatInfo as FormatInfo
    from lollms_core import FormatLoadError as FormatLoadError
    from lollms_core import FuturePending as FuturePending
    from lollms_core import GenerateOptions as GenerateOptions
    from lollms_core import GenerationRequest as GenerationRequest
    from lollms_core import Image as Image
    from lollms_core import ImageError as ImageError
    from lollms_core import IncompleteStreamError as IncompleteStreamError
    from lollms_core import InvalidAnswerError as InvalidAnswerError
    from lollms_core import InvalidRequestError as InvalidRequestError
    from lollms_core import ListModelsRequest as ListModelsRequest
    from lollms_core import ListPersonalitiesRequest as ListPersonalitiesRequest
    from lollms_core import LollmsClient as LollmsClient
    from lollms_core import LollmsError as LollmsError
    from lollms_core import Message as Message
    from lollms_core import MissingDependencyError as MissingDependencyError
    from lollms_core import ModelInfo as ModelInfo
    from lollms_core import ModelInfoRequest as ModelInfoRequest
    from lollms_core import ModelLoadError as ModelLoadError
    from lollms_core import ModelNotFoundError as ModelNotFoundError
    from lollms_core import ModelRequiredError as ModelRequiredError
    from lollms_core import Part as Part
    from lollms_core import Pending as Pending
    from lollms_core import PermissionDeniedError as PermissionDeniedError
    from lollms_core import Personality as Personality
    from lollms_core import ProtocolError as ProtocolError
    from lollms_core import ProviderPart as ProviderPart
    from lollms_core import PullModelRequest as PullModelRequest
    from lollms_core import PullProgress as PullProgress
    from lollms_core import RateLimitError as RateLimitError
    from lollms_core import Ready as Ready
    from lollms_core import ReasoningPart as ReasoningPart
    from lollms_core import Request as Request
    from lollms_core import Role as Role
    from lollms_core import SamplingParams as SamplingParams
    from lollms_core import ServerError as ServerError
    from lollms_core import Stream as Stream
    from lollms_core import TextPart as TextPart
    from lollms_core import Timeouts as Timeouts
    from lollms_core import Timings as Timings
    from lollms_core import TokenCount as TokenCount
    from lollms_core import TokenizeRequest as TokenizeRequest
    from lollms_core import ToolCall as ToolCall
    from lollms_core import ToolResult as ToolResult
    from lollms_core import UnfinishedCodeWarning as UnfinishedCodeWarning
    from lollms_core import UnknownExtensionError as UnknownExtensionError
    from lollms_core import UnknownFormatError as UnknownFormatError
    from lollms_core import UnsupportedError as UnsupportedError
    from lollms_core import UnsupportedOptionError as UnsupportedOptionError
    from lollms_core import UnsupportedOptionWarning as UnsupportedOptionWarning
    from lollms_core import Usage as Usage
    from lollms_core import ask_until_valid as ask_until_valid
    from lollms_core import hookimpl as hookimpl
    from lollms_core import installed_extensions as installed_extensions
    from lollms_core import installed_formats as installed_formats
    from lollms_core import refresh_installed as refresh_installed


if not TYPE_CHECKING:  # a type checker would take every name for there

    def __getattr__(name: str) -> Any:
        return getattr(lollms_core, name)


def __dir__() -> list[str]:
    return dir(lollms_core)
