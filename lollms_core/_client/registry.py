"""Which generation formats and extensions are installed, and the loading of one of them.

Listing reads package metadata and imports nothing. Loading imports one package; if that fails, the failure is kept
with its traceback for `lollms doctor` and raised as `FormatLoadError` to whoever chose that format, and nobody else.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from lollms_core._bridges.signals import raised_by_handler
from lollms_core._client.layers import ActiveExtension
from lollms_core.contract._parameters import PARAMETERS
from lollms_core.contract.backend import (
    ALL_HOOKS,
    Backend,
    capabilities_problem,
    checked_options,
    is_promised,
    near_misses,
)
from lollms_core.contract.errors import (
    ContractError,
    ExtensionError,
    FormatLoadError,
    LollmsError,
    UnknownExtensionError,
    UnknownFormatError,
    a_kind,
    described,
)
from lollms_core.contract.extension import EXTENSION_HOOKS, ClientInfo, Extension
from lollms_core.contract.hookspecs import CONTRACT_VERSION, PROJECT_NAME, BackendSpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "BACKENDS_GROUP",
    "EXTENSIONS_GROUP",
    "OFFICIAL_PACKAGES",
    "ExtensionInfo",
    "FormatInfo",
    "active_extensions",
    "checked_backend",
    "checked_extension",
    "chosen_format",
    "format_owners",
    "installed_extensions",
    "installed_formats",
    "load_extension",
    "load_format",
    "nonblocking_hooks",
    "plugin_manager",
    "refresh_installed",
    "unreadable_packages",
]

T = TypeVar("T")

logger = logging.getLogger("lollms")

BACKENDS_GROUP = "lollms.backends"
EXTENSIONS_GROUP = "lollms.extensions"

_BUILT_IN = {
    "lollms": "lollms_core._backends.lollms:LollmsBackend",
    "echo": "lollms_core._backends.echo:EchoBackend",
}

OFFICIAL_PACKAGES: Mapping[str, str] = {
    "openai": "lollms-openai",
    "ollama": "lollms-ollama",
    "litellm": "lollms-litellm",
    "transformers": "lollms-transformers",
    "vllm": "lollms-vllm",
}
"""The package to install for each official format that the core does not contain."""


@dataclass(frozen=True, slots=True)
class FormatInfo:
    """An installed format: its name, where it comes from, and the object it names."""

    name: str
    target: str
    """`module:attribute` of the backend class."""
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class ExtensionInfo:
    """An installed extension: its name, where it comes from, and the object it names."""

    name: str
    target: str
    """`module:attribute` of the extension class."""
    distribution: str
    version: str


@functools.cache
def _entry_points(group: str) -> tuple[tuple[EntryPoint, str, str], ...]:
    from importlib.metadata import entry_points

    try:
        return tuple(_with_origin(entry_points(group=group)))
    except Exception:  # one package that cannot be read must not hide all the others
        return tuple(_readable_entry_points(group))


def _with_origin(points: Iterable[EntryPoint]) -> Iterator[tuple[EntryPoint, str, str]]:
    for point in points:
        try:
            name, version = (point.dist.name, point.dist.version) if point.dist else (None, None)
        except Exception:  # its metadata cannot be read, which says nothing about its code
            name = version = None
        yield point, name or "unknown", version or "unknown"


def _readable_entry_points(group: str) -> Iterator[tuple[EntryPoint, str, str]]:
    seen = set()
    for name, points in _by_package(group):
        if isinstance(points, Exception):
            logger.warning("%s", _left_out(name, points))
        elif name is None or name not in seen:  # the first of a name is the one that is imported
            seen.add(name)
            yield from points


def _by_package(group: str) -> Iterator[tuple[str | None, list[tuple[EntryPoint, str, str]] | Exception]]:
    """The name of every package, as far as it has one, and its entry points, or why they cannot be read."""
    from importlib.metadata import distributions

    for dist in distributions():
        name: str | None = None
        with contextlib.suppress(Exception):
            name = dist.name
        try:
            yield name, list(_with_origin(dist.entry_points.select(group=group)))
        except Exception as error:
            yield name, error


def _left_out(name: str | None, error: Exception) -> str:
    return f"the entry points of {name or 'a package'} cannot be read ({described(error)}); it is left out"


def unreadable_packages() -> list[str]:
    """What is wrong with the packages that are left out because their entry points cannot be read, each a sentence."""
    return [_left_out(name, found) for name, found in _by_package(BACKENDS_GROUP) if isinstance(found, Exception)]


def _target(point: EntryPoint) -> str:
    """`module:attribute`, without the extras that may follow it."""
    return point.value.partition("[")[0].strip()


def refresh_installed() -> None:
    """Forget what was found, so that packages installed since are seen."""
    _entry_points.cache_clear()


def installed_formats() -> dict[str, FormatInfo]:
    """Every installed format by name. Reads metadata only; imports no backend."""
    from lollms_core import __version__

    found = {name: FormatInfo(name, target, "lollms-core", __version__) for name, target in _BUILT_IN.items()}
    for point, distribution, version in _entry_points(BACKENDS_GROUP):
        if point.name in found:
            if found[point.name].distribution != distribution:
                logger.warning(
                    "the format %r of %s is ignored: %s provides it already",
                    point.name,
                    distribution,
                    found[point.name].distribution,
                )
            continue
        found[point.name] = FormatInfo(point.name, _target(point), distribution, version)
    return found


def format_owners() -> dict[str, list[str]]:
    """The packages that provide each format; the first is the one that is used. Imports nothing."""
    owners = {name: ["lollms-core"] for name in _BUILT_IN}
    for point, distribution, _ in _entry_points(BACKENDS_GROUP):
        known = owners.setdefault(point.name, [])
        if distribution not in known:
            known.append(distribution)
    return owners


def chosen_format(name: str) -> str:
    """The name of an installed format that the user means by `name`, whose case does not matter; else `name`."""
    lower = name.lower()
    if lower in _BUILT_IN or lower in OFFICIAL_PACKAGES:
        return lower
    formats = installed_formats()
    if name in formats:
        return name
    return next((known for known in formats if known.lower() == lower), lower)


def load_format(name: str) -> type[Backend]:
    """The backend class of a format.

    Raises:
        UnknownFormatError: no installed package provides it; the message lists those that are installed.
        FormatLoadError: its package cannot be imported; the cause is the exception.
        ContractError: what it provides is not a backend that this core can run.
    """
    info = _BUILT_IN.get(name)
    if info is not None:
        return _load(FormatInfo(name, info, "lollms-core", ""))
    formats = installed_formats()
    if name not in formats:
        raise _unknown(name, formats)
    return _load(formats[name])


def _unknown(name: str, formats: Mapping[str, FormatInfo]) -> UnknownFormatError:
    official = [name] if name in OFFICIAL_PACKAGES else difflib.get_close_matches(name, OFFICIAL_PACKAGES, 1, 0.7)
    if official and official[0] not in formats:
        meant = "" if official[0] == name else f"Did you mean {official[0]!r}? "
        package = OFFICIAL_PACKAGES[official[0]]
        how = f"Install it with `pip install {package}` (or `lollms install {official[0]}`)."
        hint = f"{meant}{how} Installed: {', '.join(formats)}."
    else:
        hint = near_misses(name, formats)
    return UnknownFormatError(f"no generation format {name!r} is installed", hint=hint, format=name)


def checked_backend(backend: type) -> type[Backend]:
    """A class that is no installed format, if it keeps the contract. Raises `ContractError`."""
    package = backend.__module__.partition(".")[0]
    return _checked(FormatInfo(backend.__name__, f"{backend.__module__}:{backend.__qualname__}", package, ""), backend)


def _imported(
    info: FormatInfo | ExtensionInfo, who: str, failure: Callable[..., LollmsError], command: str = "lollms doctor"
) -> Any:
    """What an entry point names; for one that cannot be loaded, an error that `failure` makes."""
    module_name, _, attribute = info.target.partition(":")
    if not attribute:
        raise failure(
            f'{who} cannot be loaded: its entry point reads `{info.name} = "{info.target}"`, '
            f'not `{info.name} = "module:Class"`',
            hint="Tell the author of the package.",
        )
    try:
        import importlib

        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except BaseException as error:  # a package that exits, or panics, when it is imported must not end the program
        if _is_callers(error):
            raise
        raise failure(
            f"{who} cannot be loaded: {described(error)}",
            hint=f"`{command} --debug` shows the traceback. Reinstall or upgrade the package.",
        ) from error
    return found


def _is_callers(error: BaseException) -> bool:
    """Whether it is meant for whoever makes the client: Ctrl-C, or what a signal handler of the program raised."""
    return isinstance(error, KeyboardInterrupt) or raised_by_handler(error)


def _load(info: FormatInfo) -> type[Backend]:
    who = f"the format {info.name!r} of {info.distribution}"
    failure = functools.partial(FormatLoadError, format=info.name)
    return _checked(info, _imported(info, who, failure, f"lollms doctor {info.name}"))


def _checked(info: FormatInfo, backend: Any) -> type[Backend]:
    where = f"the format {info.name!r} of {info.distribution}"
    if not (inspect.isclass(backend) and issubclass(backend, Backend)):
        raise ContractError(f"{where}: {info.target} is not a subclass of lollms_core.Backend", format=info.name)
    if wrong := _wrong_version(backend.contract_version, info.distribution):
        raise ContractError(f"{where} {wrong[0]}", hint=wrong[1], format=info.name)
    for name, hint in _unknown_hooks(backend, ALL_HOOKS):
        raise ContractError(f"{where}: there is no hook {name!r}", hint=hint, format=info.name)
    for hook in ALL_HOOKS:
        method = getattr(backend, hook, None)
        if method is not None and not hasattr(method, f"{PROJECT_NAME}_impl"):
            raise ContractError(
                f"{where}: its method {hook!r} lacks @hookimpl and would never be called", format=info.name
            )
        if method is not None and _is_wrapper(method):
            raise ContractError(f"{where}: its method {hook!r} is {_WRAPPER}", format=info.name)
        if method is not None and not _is_passed(method, "request"):
            raise ContractError(f"{where}: its method {hook!r} must take (self, request)", format=info.name)
    if _never_runs(getattr(backend, "close", None)):
        raise ContractError(f"{where}: its method 'close' is {_GENERATOR}", format=info.name)
    if not hasattr(backend, "generate"):
        raise ContractError(f"{where} does not implement `generate`, the one hook that is required", format=info.name)
    if problem := _wrong_attribute(backend):
        raise ContractError(f"{where}: {problem}", format=info.name)
    return backend


def _wrong_version(version: Any, package: str) -> tuple[str, str | None] | None:
    """What is wrong with a contract version, as the rest of a sentence, and what to do; `None` if nothing is."""
    if version is None or version == CONTRACT_VERSION:
        return None
    if type(version) is not int:
        return f"has a contract_version that is a {type(version).__name__}, not a number", None
    older = "lollms-core" if version > CONTRACT_VERSION else package
    return (
        f"was written for version {version} of the contract; lollms-core has version {CONTRACT_VERSION}",
        f"Upgrade {older}.",
    )


def _unknown_hooks(plugin: type, hooks: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Methods that are marked as hooks and are none, with what was probably meant."""
    for base in plugin.__mro__:
        for name, value in vars(base).items():
            marked = getattr(value, f"{PROJECT_NAME}_impl", None)
            # A name that begins with `_` is no hook for pluggy either: one function may serve several hooks.
            if marked and name not in hooks and not name.startswith("_") and not marked["optionalhook"]:
                yield name, near_misses(name, hooks)


def _wrong_attribute(backend: type[Backend]) -> str:
    """What is wrong with what a class says about itself; empty if nothing is."""
    declared: Any = backend.capabilities
    if not isinstance(declared, property) and (problem := capabilities_problem(declared)):
        return problem
    if problem := _wrong_nonblocking(backend):
        return problem
    neutral: Any = backend.neutral
    if not isinstance(neutral, Mapping):
        return f"its neutral is not a mapping: {neutral!r}"
    for name in neutral:
        if name not in PARAMETERS:
            return f"its neutral names {name!r}, which is no parameter. {near_misses(str(name), PARAMETERS)}"
        if not isinstance(neutral[name], (int, float, type(None))):
            return f"its neutral has {a_kind(neutral[name])} for {name!r}, not a number"
    return _wrong_options(backend.Options)


def _wrong_options(options: Any) -> str:
    """What is wrong with the model of somebody's own options; empty if nothing is."""
    if options is None:
        return ""
    if not inspect.isclass(options) or not hasattr(options, "model_fields"):
        return "its Options is not a pydantic model"
    model: Any = options
    config = model.model_config
    if config.get("populate_by_name") or config.get("validate_by_name"):
        return ""
    for name, field in model.model_fields.items():
        if field.validation_alias is not None:
            return (
                f"its Options give {name!r} an alias, under which no option arrives: leave it out, or set "
                "populate_by_name=True"
            )
    return ""


def _wrong_nonblocking(plugin: type) -> str:
    declared: Any = getattr(plugin, "nonblocking", frozenset())
    if not isinstance(declared, (frozenset, set)) or not declared <= ALL_HOOKS:
        return f"its nonblocking is not a set of names of hooks: {declared!r}"
    for base in plugin.__mro__:
        for name, value in vars(base).items():
            # A name alone says little (PyTorch has a `non_blocking` of its own): it must hold names of hooks, too. And
            # `blocking`, from which a class may compute its promise, is not like enough.
            promises = isinstance(value, (frozenset, set)) and value and value <= ALL_HOOKS
            other = name != "nonblocking" and not name.startswith("_")
            if promises and other and difflib.get_close_matches(name, ["nonblocking"], cutoff=0.9):
                return f"it has {name!r}, which nothing reads. Did you mean 'nonblocking'?"
    return ""


def plugin_manager(backend: Backend, format: str) -> pluggy.PluginManager:
    """A manager that holds this one backend.

    Raises `ContractError` for a hook that does not exist or whose signature is wrong.
    """
    manager = pluggy.PluginManager(PROJECT_NAME)
    manager.add_hookspecs(BackendSpec)
    try:
        manager.register(backend, name=format)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise ContractError(f"the backend of format {format!r}: {error}", format=format) from error
    for hook in ALL_HOOKS:
        method = getattr(backend, hook, None)
        if method is not None and not getattr(manager.hook, hook).get_hookimpls():
            inner = getattr(method, "__func__", method)
            what, hint = (
                f"{a_kind(inner)} and not a function",
                "A decorator such as functools.cache belongs on what a hook calls.",
            )
            if inspect.isfunction(inner):
                what, hint = "no method of its class", "A hook is a method of the class, with @hookimpl."
            raise ContractError(
                f"the backend of format {format!r}: its {hook!r} is {what}, and would never be called",
                hint=hint,
                format=format,
            )
    return manager


def nonblocking_hooks(manager: pluggy.PluginManager) -> frozenset[str]:
    """The hooks that an event loop may call: every implementation returns at once (see `Backend.nonblocking`)."""
    return frozenset(
        name
        for name in ALL_HOOKS
        if all(
            is_promised(found.plugin, name)
            or inspect.isgeneratorfunction(found.function)
            or inspect.iscoroutinefunction(found.function)
            or inspect.isasyncgenfunction(found.function)
            for found in getattr(manager.hook, name).get_hookimpls()
        )
    )


def installed_extensions() -> dict[str, ExtensionInfo]:
    """Every installed extension by name. Reads metadata only; imports none."""
    found: dict[str, ExtensionInfo] = {}
    for point, distribution, version in _entry_points(EXTENSIONS_GROUP):
        if point.name in found:
            logger.warning(
                "the extension %r of %s is ignored: %s provides it already",
                point.name, distribution, found[point.name].distribution,
            )  # fmt: skip
            continue
        found[point.name] = ExtensionInfo(point.name, _target(point), distribution, version)
    return found


def load_extension(name: str) -> tuple[ExtensionInfo, type[Extension]]:
    """The class of an installed extension, and where it comes from.

    Raises:
        UnknownExtensionError: no installed package provides it.
        ExtensionError: its package cannot be imported; the cause is the exception.
        ContractError: what it provides is not an extension that this core can run.
    """
    installed = installed_extensions()
    if name not in installed:
        raise UnknownExtensionError(
            f"no extension {name!r} is installed",
            hint=near_misses(name, installed) or "Install the package that provides it.",
        )
    info = installed[name]
    who = f"the extension {name!r} of {info.distribution}"
    return info, checked_extension(_imported(info, who, ExtensionError), who, info.distribution)


def checked_extension(extension: Any, who: str, package: str) -> type[Extension]:
    """A class that keeps the contract for extensions, as far as can be seen. Raises `ContractError`.

    Args:
        extension: the class.
        who: what it is, for messages.
        package: where it comes from, for hints.
    """

    def wrong(problem: str, hint: str | None = None) -> ContractError:
        return ContractError(f"{who} {problem}", hint=hint or f"This is a fault of {package}: tell its author.")

    if not (inspect.isclass(extension) and issubclass(extension, Extension)):
        raise wrong("is not a subclass of lollms_core.Extension")
    if problem := _wrong_version(extension.contract_version, package):
        raise wrong(*problem)
    for name, hint in _unknown_hooks(extension, EXTENSION_HOOKS):
        raise wrong(f"has a hook {name!r}, which is none that an extension can go around", hint)
    for hook in EXTENSION_HOOKS:
        method = getattr(extension, hook, None)
        if method is None:
            continue
        if not hasattr(method, f"{PROJECT_NAME}_impl"):
            raise wrong(f"has a method {hook!r} that lacks @hookimpl and would never be called")
        if _is_wrapper(method):
            raise wrong(f"has a method {hook!r} that is {_WRAPPER}")
        if not _takes(method, 3):
            raise wrong(f"has a method {hook!r} that does not take (self, request, proceed)")
    if _is_postponed(extension.start):
        raise wrong("has a `start` that nobody would await or iterate: `start` must be a plain function")
    if _never_runs(extension.close):
        raise wrong(f"has a method 'close' that is {_GENERATOR}")
    if problem_of_set := _wrong_nonblocking(extension):
        raise wrong(f"is wrong: {problem_of_set}")
    if problem_of_options := _wrong_options(extension.Options):
        raise wrong(f"is wrong: {problem_of_options}")
    return extension


def _takes(method: Callable[..., Any], number: int) -> bool:
    """Whether a function has parameters of its own for so many values, passed by place, and needs no other.

    What only has `*args` may pass them on to anything: nobody could say who is wrong when that fails.
    """
    parameters = list(inspect.signature(method).parameters.values())
    by_place = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    various = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [each for each in parameters if each.default is each.empty and each.kind not in various]
    return len(by_place) >= number and all(each in by_place[:number] for each in needed)


def _is_passed(method: Callable[..., Any], name: str) -> bool:
    """Whether pluggy passes a method its one value: it looks for a parameter of that name, without a default."""
    if not _takes(method, 2):
        return False
    parameter = list(inspect.signature(method).parameters.values())[1]
    return parameter.name == name and parameter.default is parameter.empty


_WRAPPER = "marked as a wrapper; an extension (docs/extensions.md) goes around a hook with `proceed` instead"


def _is_wrapper(method: Any) -> bool:
    marks = getattr(method, f"{PROJECT_NAME}_impl")
    return bool(marks["wrapper"] or marks["hookwrapper"])


_GENERATOR = "a generator, because there is a `yield` in it, and would never run"


def _never_runs(function: Any) -> bool:
    """Whether calling a function only makes what somebody would have to iterate."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _is_postponed(function: Any) -> bool:
    """Whether calling a function only makes what would do its work."""
    return inspect.iscoroutinefunction(function) or _never_runs(function)


def active_extensions(chosen: Sequence[Any], client: ClientInfo) -> Iterator[ActiveExtension]:
    """The extensions of one client, ready for it, one by one: whoever asks for them closes those that have started.

    Args:
        chosen: as `LollmsClient(extensions=…)` has them: names, `{name: options}`, objects, classes.
        client: what they are told.

    Raises:
        TypeError: something else than that.
        UnknownExtensionError, ExtensionError, ContractError: see `load_extension`; an extension may also fail when it
            is made, or when it starts.
    """
    if isinstance(chosen, (str, bytes, Mapping)) or not isinstance(chosen, Iterable):
        raise TypeError(f"extensions must be a list of names or of extensions, not {type(chosen).__name__}")
    for item in chosen:
        for made in _made_extensions(item):
            yield _started(made, client)


def _made_extensions(item: Any) -> Iterator[ActiveExtension]:
    if isinstance(item, str):
        yield _made_by_name(item, {})
    elif isinstance(item, Mapping):
        for name, options in item.items():
            if not isinstance(name, str) or not isinstance(options, Mapping):
                raise TypeError("the options of an extension are given as {'name': {'option': value}}")
            yield _made_by_name(name, options)
    else:
        made = inspect.isclass(item) and issubclass(item, Extension)
        kind = item if made else type(item)
        if not issubclass(kind, Extension):
            raise TypeError(f"extensions must be names or extensions, not {kind.__name__}")
        package = kind.__module__.partition(".")[0]
        active = ActiveExtension(item, kind.__name__, package)
        checked_extension(kind, str(active), package)
        if made:
            active = _attempt(active, lambda: ActiveExtension(kind(), kind.__name__, package))
        if not hasattr(active.extension, "options"):
            raise active.complain("has an __init__ that does not call super().__init__(**options)")
        yield active


def _made_by_name(name: str, options: Mapping[str, Any]) -> ActiveExtension:
    info, kind = load_extension(name)
    nameless = ActiveExtension(kind, name, info.distribution)  # type: ignore[arg-type]
    checked_options(kind.Options, options, f"the extension {name!r}")  # by the name that was used for it
    active = _attempt(nameless, lambda: ActiveExtension(kind(**options), name, info.distribution))
    if not hasattr(active.extension, "options"):
        raise active.complain("has an __init__ that does not call super().__init__(**options)")
    return active


def _started(active: ActiveExtension, client: ClientInfo) -> ActiveExtension:
    """A copy for one client, which has been told about it."""
    own = _attempt(active, lambda: copy.copy(active.extension))
    try:
        own.client = client
    except AttributeError:
        raise active.complain("has something of its own called `client`, where the client is told to it") from None
    started = dataclasses.replace(active, extension=own)
    ending: object = _attempt(active, own.start)
    if inspect.isawaitable(ending):
        if inspect.iscoroutine(ending):
            ending.close()
        raise active.complain("has a `start` that returns something to await: `start` must be a plain function")
    return started


def _attempt(active: ActiveExtension, action: Callable[[], T]) -> T:
    try:
        return action()
    except BaseException as error:
        if _is_callers(error):
            raise
        known = active.failed(error)
        raise known from known.__cause__
