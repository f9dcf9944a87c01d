"""Every error that lollms raises, and the dictionary form that the client returns by default.

All of them derive from `LollmsError`. A subclass says with class attributes what a program can do about it:
`retryable` (the same call may succeed later) and `hint` (one sentence for a person: what to do next).
Errors about wrong *types* are Python's own `TypeError`: they are mistakes in the program, not in the data.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

if TYPE_CHECKING:
    from types import FrameType

    from typing_extensions import Self

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BackendError",
    "CallCancelledError",
    "ClientClosedError",
    "ConfigurationError",
    "ContextWindowError",
    "ContractError",
    "EmptyAnswerWarning",
    "EmptyPromptError",
    "ErrorDict",
    "ExtensionError",
    "ExtensionWarning",
    "FormatLoadError",
    "ImageError",
    "IncompleteStreamError",
    "InvalidAnswerError",
    "InvalidRequestError",
    "LollmsError",
    "MissingDependencyError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelRequiredError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "ServerError",
    "UnfinishedCodeWarning",
    "UnknownExtensionError",
    "UnknownFormatError",
    "UnsupportedError",
    "UnsupportedOptionError",
    "UnsupportedOptionWarning",
]


class ErrorDict(TypedDict):
    """What a client with `raise_errors=False` (the default) returns in place of a result."""

    status: bool
    error: str
    type: str
    hint: str
    retryable: bool
    status_code: int | None
    partial_text: str


class LollmsError(Exception):
    """The base of all errors.

    Attributes:
        message: what happened, one line, without secrets.
        hint: what to do next; empty when there is nothing to say.
        retryable: whether the same call may succeed later.
        status_code: the HTTP status, if a server answered with one.
        partial_text: the answer's text that had arrived before the error; never thrown away.
        partial_reasoning: the same for reasoning text.
        format: the name of the generation format that failed, once known.
        retry_after: seconds that the server asked to wait, if it said so.
    """

    default_hint: ClassVar[str] = ""
    default_retryable: ClassVar[bool] = False

    def __new__(cls, *args: Any, **_: Any) -> Self:
        error = super().__new__(cls, *args)
        # For subclasses of others whose `__init__` does not call this one's.
        LollmsError.__init__(error, str(args[0]) if args else cls.__name__)
        return error

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retryable: bool | None = None,
        status_code: int | None = None,
        retry_after: float | None = None,
        partial_text: str = "",
        format: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.retryable = self.default_retryable if retryable is None else retryable
        self.status_code = status_code
        self.retry_after = retry_after
        self.partial_text = partial_text
        self.partial_reasoning = ""
        self.format = format

    @property
    def hint(self) -> str:
        """What to do next; empty when there is nothing to say. A traceback shows it as a note."""
        return self._hint

    @hint.setter
    def hint(self, hint: str) -> None:
        self._hint = hint
        # What `BaseException.add_note` does, which Python 3.10 lacks.
        self.__notes__ = [f"Hint: {hint}"] if hint else []

    @property
    def type(self) -> str:
        """The name of the class, for programs that read the dictionary form."""
        return type(self).__name__

    def to_dict(self) -> ErrorDict:
        """The dictionary form: `status` is `False`, `error` the message."""
        return {
            "status": False,
            "error": self.message,
            "type": self.type,
            "hint": self.hint,
            "retryable": self.retryable,
            "status_code": self.status_code,
            "partial_text": self.partial_text,
        }

    def _render_traceback_(self) -> list[str]:
        """What IPython and Jupyter show: where the user's code called us, what happened, and what was behind it."""
        import traceback

        frames = [each for each in traceback.walk_tb(self.__traceback__) if not _is_inner(each[0])]
        lines = ["Traceback (most recent call last):"] if frames else []
        lines += "".join(traceback.StackSummary.extract(iter(frames)).format()).splitlines()
        lines += [f"{self.type}: {self.message}", *getattr(self, "__notes__", ())]
        cause = self.__cause__ or (None if self.__suppress_context__ else self.__context__)
        while cause is not None:
            lines.append(f"Caused by {''.join(traceback.format_exception_only(type(cause), cause)).strip()}")
            cause = cause.__cause__
        return lines

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments would be lost by the default; errors must survive process boundaries.
        return (_rebuild, (type(self), self.message, dict(self.__dict__)))


def described(error: BaseException) -> str:
    """The type of an exception and what it says. `str()` of somebody else's may fail, and fails for nobody here."""
    try:
        said = str(error)
    except Exception as failure:
        said = f"(a text that cannot be shown: {type(failure).__name__})"
    return f"{type(error).__name__}: {said}"


def _is_inner(frame: FrameType) -> bool:
    """Whether a frame tells nothing to somebody at a notebook: ours, and those of what runs the cells and the hooks."""
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package.startswith("lollms_") or package in ("IPython", "ipykernel", "pluggy")


def _rebuild(cls: type[LollmsError], message: str, state: dict[str, Any]) -> LollmsError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


# --- the set-up is wrong -------------------------------------------------------------------------------------------


class ConfigurationError(LollmsError):
    """The client was set up with something that cannot work."""


class UnknownFormatError(ConfigurationError):
    """No installed package provides the format that was asked for."""


class FormatLoadError(ConfigurationError):
    """A format is installed, but its package cannot be imported. The cause carries its traceback."""

    default_hint = "`lollms doctor --debug` shows the traceback. Reinstall or upgrade the package that is named."


class ContractError(ConfigurationError):
    """A backend does not keep the contract: a misspelt hook, a wrong type, another contract version."""

    default_hint = "This is a fault of the backend's package, not of your program: tell its author."


class MissingDependencyError(ConfigurationError):
    """A feature needs a package that is not installed; the hint says which."""


class ModelRequiredError(ConfigurationError):
    """The format cannot choose a model by itself and none was named."""


class UnsupportedOptionError(ConfigurationError):
    """An option that this backend does not know, or, under `strict=True`, cannot honour."""


class UnsupportedOptionWarning(UserWarning):
    """A chosen option has no effect on this format. `strict=True` makes it an `UnsupportedOptionError`."""


class EmptyAnswerWarning(UserWarning):
    """The answer has no text, and the reason is known: all tokens went into reasoning, or the model called tools."""


class UnfinishedCodeWarning(UserWarning):
    """The code that `generate_code` returns may be incomplete: the model ran out of tokens, or left the block open."""


class UnknownExtensionError(ConfigurationError):
    """No installed package provides the extension that was asked for."""


class ExtensionError(LollmsError):
    """An extension cannot be loaded, or has failed; the cause is its exception."""

    default_hint = "Go on without it, or tell the author of its package. The original exception is in `__cause__`."


class ExtensionWarning(UserWarning):
    """An extension failed where the answer was there already."""


class ClientClosedError(ConfigurationError):
    """The client was used after `close()`."""

    default_hint = "Make a new client, or keep the work inside the `with` block."


class CallCancelledError(LollmsError):
    """A call for a value was cancelled before there was one. A generation that is cancelled returns its text so far."""


# --- the request is wrong ------------------------------------------------------------------------------------------


class InvalidRequestError(LollmsError, ValueError):
    """A value that no model could work with, or that the server refused (HTTP 400, 413, 422)."""


class EmptyPromptError(InvalidRequestError):
    """There is nothing to answer."""

    default_hint = "Pass some text, or messages of which the last is not empty."


class ContextWindowError(InvalidRequestError):
    """The prompt and the tokens asked for do not fit into the model's window."""

    default_hint = "Shorten the prompt, lower n_predict, or choose a model with a larger window."


class ImageError(InvalidRequestError):
    """An image that is missing, too large, not an image, or that this model or format cannot take."""


class UnsupportedError(LollmsError):
    """The format has no such thing: personalities, embeddings, images, a token route."""


# --- the model or the server fails -----------------------------------------------------------------------------------


class BackendError(LollmsError):
    """The backend failed in a way of its own; the cause carries its exception."""


class ModelNotFoundError(BackendError):
    """The server or this machine has no such model (HTTP 404)."""


class ModelLoadError(BackendError):
    """The model is there but cannot be loaded."""


class APIConnectionError(BackendError):
    """No connection, or it broke: refused, reset, no such host, bad TLS."""

    default_retryable = True


class APITimeoutError(APIConnectionError):
    """The server did not connect, begin to answer, or go on answering in time."""


class IncompleteStreamError(APIConnectionError):
    """The stream ended before the answer did. `partial_text` carries what had arrived."""

    default_hint = "Try again; if it happens again, the server's log may say why."


class ProtocolError(BackendError):
    """The server said something that its protocol does not allow, such as invalid JSON or an HTML page."""


class APIStatusError(BackendError):
    """The server refused the request; `status_code` says how."""


class InvalidAnswerError(BackendError):
    """The whole answer is not what its JSON schema asks for. `problem` says what is wrong, `partial_text` has it."""

    default_retryable = True
    problem = ""


class AuthenticationError(APIStatusError):
    """No key, or one that the server does not accept (HTTP 401)."""


class PermissionDeniedError(APIStatusError):
    """The key is known but may not do this (HTTP 403)."""


class RateLimitError(APIStatusError):
    """Too many requests, or a quota is used up (HTTP 429). See `retry_after`."""

    default_retryable = True


class ServerError(APIStatusError):
    """The server failed (HTTP 5xx), or said so inside an answer with status 200."""

    default_hint = "The server's log may say why. Try again later."
    default_retryable = True


def a_kind(value: object) -> str:
    """What kind of thing a value is, for messages.

    >>> a_kind(5), a_kind("x")
    ('an int', 'a str')
    """
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the caller's line: the first frame that is not part of lollms.

    A backend's own thread has no such frame. Python shows a warning once for each line that it comes from, so that all
    clients after the first would be silent there: such a warning names no line, and is always shown.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("lollms_"):
        frame, level = frame.f_back, level + 1
    if frame.f_globals.get("__name__", "").partition(".")[0] in _RUNNERS:
        warnings.warn_explicit(message, category, "<lollms>", 1, module="lollms_core", registry={})
    else:
        warnings.warn(message, category, stacklevel=level)


_RUNNERS = ("threading", "concurrent", "asyncio", "uvloop")
"""What runs threads and tasks. None of it is a program that calls lollms."""
