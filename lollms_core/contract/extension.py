"""`Extension`: what goes around the calls of a client, whatever its format: a cache, a log, tracing, a guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from lollms_core.contract.backend import ALL_HOOKS, checked_options

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lollms_core.contract.errors import LollmsError
    from lollms_core.contract.types import Capabilities, Completion

__all__ = ["EXTENSION_HOOKS", "ClientInfo", "End", "Extension", "Proceed"]

EXTENSION_HOOKS = ALL_HOOKS - {"close", "pull_model"}
"""The hooks that an extension can go around."""

Proceed: TypeAlias = Callable[..., Any]
"""What an extension calls to go on, with its request or another one of that type. Gives a `Stream` for `generate`, a
`Pending` for every other hook. Nothing is asked before either is iterated, waited for or awaited; it may be called
several times, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInfo:
    """What an extension knows about the client that it extends."""

    format: str
    model_name: str | None
    """The client's model; a request may name another one (`request.model`)."""
    address: str | None
    """Where the server is, without credentials; `None` where there is none, or the format has not said."""
    capabilities: Capabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a stream ended."""

    status: Literal["completed", "failed", "cancelled"]
    completion: Completion
    """The answer; of one that failed or was cancelled, what there is of it."""
    error: LollmsError | None = None
    """Why it failed."""


class Extension:
    """Goes around the calls of a client. Subclasses implement hooks, marked with `@hookimpl`, that take two values:

        class Counting(Extension):
            def start(self):
                self.answers = 0

            @hookimpl
            def generate(self, request, proceed):
                return proceed(request).at_end(self.count)

            def count(self, end):
                self.answers += end.status == "completed"

    `generate` returns a `Stream`, such as `proceed(request)` gives, or any iterable of chunks, sync or async; the other
    hooks return a value or something to wait for (`Pending`, a coroutine). Whatever is returned serves sync and async
    callers alike. What it raises reaches the caller as an `ExtensionError` that names this extension, or as it is if it
    is a `LollmsError`.

    An object is made by whoever activates it, `LollmsClient(extensions=[Counting()])`, or by the client for a name:
    `extensions=["counting"]`. Each client then has a shallow copy of its own: what `__init__` makes is shared by all
    clients that are given the same object, what `start` makes is not.
    """

    contract_version: ClassVar[int | None] = None
    """The `CONTRACT_VERSION` that this class was written for; `None`: not stated, taken for the current one."""

    nonblocking: ClassVar[frozenset[str]] = frozenset()
    """The hooks that return at once. Async callers call these in their event loop, and others in a thread, which takes
    a tenth of a millisecond: name a hook here that only says what is to be done, and does not wait or read a file."""

    Options: ClassVar[type[BaseModel] | None] = None
    """A pydantic model of the keyword arguments that the extension takes."""

    options: Any
    """The checked options: an instance of `Options`, or `None` if there is no such model."""

    client: ClientInfo
    """The client; there from `start` on."""

    def __init__(self, **options: Any) -> None:
        """Raises `UnsupportedOptionError` or `ConfigurationError` for options that `Options` refuses."""
        self.options = checked_options(self.Options, options, f"the extension {type(self).__name__}")

    def start(self) -> None:
        """Get ready for one client. Must be cheap: it is part of making that client."""

    def close(self) -> Any:
        """Free what `start` made; the client is being closed. May be `async def`."""
