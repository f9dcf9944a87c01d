"""`Backend`: what every backend derives from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lollms_core.contract.errors import (
    ConfigurationError,
    ContractError,
    UnsupportedOptionError,
    UnsupportedOptionWarning,
    a_kind,
    warn_caller,
)
from lollms_core.contract.hookspecs import BackendSpec
from lollms_core.contract.types import BackendSettings, Capabilities, SamplingParams

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["ALL_HOOKS", "Backend", "capabilities_problem", "checked_options", "is_promised", "near_misses"]

ALL_HOOKS = frozenset(name for name, value in vars(BackendSpec).items() if not name.startswith("_") and callable(value))
"""The names of the hooks."""


_OPTIONS = frozenset(SamplingParams.__dataclass_fields__) - {"chosen"} | {
    "ctx_size", "json_schema", "messages", "personality", "system_prompt", "think",
}  # fmt: skip
"""What `Capabilities.options` may name."""


_PARTS = frozenset({"provider", "reasoning", "tool_call", "tool_result"})
"""What `Capabilities.parts` may name."""


_FLAGS = frozenset(Capabilities.__dataclass_fields__) - {"options", "parts"}
"""What `Capabilities` say with True or False."""


class Backend:
    """A way to reach models. Subclasses implement hooks of `BackendSpec`, marked with `@hookimpl`.

    The least that works is one method:

        class ShoutBackend(Backend):
            @hookimpl
            def generate(self, request):
                for word in request.prompt.split():
                    yield Chunk(word.upper() + " ")

    The class is constructed once per client. Constructing must be cheap and must not touch the network or load a
    model: that belongs into the first hook that needs it.
    """

    contract_version: ClassVar[int | None] = None
    """The `CONTRACT_VERSION` that this class was written for; `None`: not stated, taken for the current one."""

    capabilities: Capabilities = Capabilities()
    """What this backend declares. An instance may replace it once it knows its server better."""

    neutral: ClassVar[Mapping[str, Any]] = {"repeat_penalty": 1.0}
    """The value at which a sampling parameter does nothing, where that differs from the client's default.

    A default that nobody chose is not forwarded for these. `repeat_penalty=0.8` would reward repetition in any
    backend but the LoLLMS server.
    """

    no_models: ClassVar[str] = ""
    """What to do where `list_models` has none to list; one or two sentences."""

    nonblocking: ClassVar[frozenset[str]] = frozenset()
    """The hooks that do nothing but return, at once, a stream or a `Pending` that will do the work.

    Async callers call these in their event loop, and any other plain function in a thread. A generator or an
    `async def` need not be named: calling it does nothing yet.
    """

    Options: ClassVar[type[BaseModel] | None] = None
    """A pydantic model of the keyword arguments that `LollmsClient` passes on to this backend."""

    options: Any
    """The checked options: an instance of `Options`, or `None` if there is no such model."""

    def __init__(self, settings: BackendSettings) -> None:
        self.settings = settings
        self.options = self._checked_options(settings)
        self._said: set[tuple[str, str]] = set()

    @classmethod
    def _checked_options(cls, settings: BackendSettings) -> BaseModel | None:
        return checked_options(cls.Options, settings.options, f"the {settings.format} format", format=settings.format)

    def not_honoured(self, options: Iterable[str], *, by: str = "", hint: str = "") -> None:
        """Say that options which the caller chose have no effect: a warning, once each, or an error if strict.

        The client calls this for what `capabilities` do not declare. A backend calls it for what it learns later:
        that a model, or the server, does not take an option.

        Args:
            options: their names, as the caller knows them.
            by: who does not honour them; the format, if it is not said.
            hint: what to do instead.

        Raises:
            UnsupportedOptionError: the client was made with `strict=True`.
        """
        who = by or f"the {self.settings.format} format"
        if self.settings.strict:
            raise UnsupportedOptionError(
                f"{who} does not honour: {', '.join(sorted(options))}",
                hint=hint or "Leave the option out, or make the client without strict=True to go on with a warning.",
                format=self.settings.format,
            )
        fresh = sorted(name for name in set(options) if (who, name) not in self._said)
        if fresh:
            self._said.update((who, name) for name in fresh)
            text = f"{who} does not honour: {', '.join(fresh)}"
            warn_caller(f"{text}. {hint}" if hint else text, UnsupportedOptionWarning)


def is_promised(plugin: Any, hook: str) -> bool:
    """Whether `nonblocking` names a hook. What a class promises is of its own hooks, and of those that it inherits.

    A subclass that overrides one of them makes another hook of it, of which its base cannot know whether it blocks.
    """
    if hook not in getattr(plugin, "nonblocking", ()):
        return False
    bases = type(plugin).__mro__
    if "nonblocking" in getattr(plugin, "__dict__", ()):
        return True
    promises = next(place for place, base in enumerate(bases) if "nonblocking" in vars(base))
    return promises <= next((place for place, base in enumerate(bases) if hook in vars(base)), len(bases))


def checked_options(
    model: type[BaseModel] | None, given: Mapping[str, Any], who: str, *, format: str | None = None
) -> BaseModel | None:
    """The options of a backend or an extension, as its pydantic model has them; `None` if it has no model.

    Args:
        model: the model, if any.
        given: the options.
        who: whose they are, for messages.
        format: the format, for errors.

    Raises:
        UnsupportedOptionError: there is no such option.
        ConfigurationError: an option whose value the model refuses.
        ContractError: the model is none.
    """
    if model is not None and not hasattr(model, "model_fields"):
        raise ContractError(f"{who} is wrong: its Options is not a pydantic model", format=format)
    known = [] if model is None else list(model.model_fields)
    for name in given:
        if name not in known:
            raise UnsupportedOptionError(
                f"{who} has no option {name!r}",
                hint=near_misses(name, known) or "It takes no options of its own.",
                format=format,
            )
    if model is None:
        return None
    from pydantic import ValidationError

    try:
        return model(**given)
    except ValidationError as error:
        # `include_input=False`: a rejected value may be a secret.
        problems = error.errors(include_url=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'options'} {_plain(p['msg'])}" for p in problems)
        raise ConfigurationError(f"{format or who} options: {text}", format=format) from None


def capabilities_problem(capabilities: Any) -> str:
    """What is wrong with a backend's `capabilities`; empty if nothing is."""
    if not isinstance(capabilities, Capabilities):
        return f"its capabilities are {a_kind(capabilities)}, not Capabilities"
    options: Any = capabilities.options
    if not isinstance(options, (frozenset, set)):
        return f"its capabilities' options are {a_kind(options)}, not a set of names"
    for name in sorted(map(str, options)):
        if name not in _OPTIONS:
            return f"its capabilities name an option {name!r} that does not exist. {near_misses(name, _OPTIONS)}"
    parts: Any = capabilities.parts
    if not isinstance(parts, (frozenset, set)):
        return f"its capabilities' parts are {a_kind(parts)}, not a set of names"
    for name in sorted(map(str, parts)):
        if name not in _PARTS:
            return f"its capabilities name a part {name!r} that does not exist. {near_misses(name, _PARTS)}"
    for name in _FLAGS:
        if type(flag := getattr(capabilities, name)) is not bool:
            return f"its capabilities' {name} is {a_kind(flag)}, not True or False"
    return ""


def near_misses(name: str, known: Iterable[str], *, all_of_them: str = "Available") -> str:
    """A hint that names what was probably meant, then all that there is. Empty if nothing is known."""
    known = sorted(known)
    if not known:
        return ""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    meant = f"Did you mean {' or '.join(repr(match) for match in close)}? " if close else ""
    return f"{meant}{all_of_them}: {', '.join(known)}."


def _plain(said: str) -> str:
    """What pydantic says of a value, as the rest of a sentence that begins with the value's name."""
    begin = "Input should be "
    if said.startswith(begin):
        return f"must be {said[len(begin) :].partition(', unable to')[0]}"
    return f"is wrong: {said.removeprefix('Value error, ')}"
