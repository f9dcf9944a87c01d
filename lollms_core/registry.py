"""Which generation formats and extensions are installed, and the loading of one of them.

Listing reads package metadata and imports nothing. Loading imports one package; if that fails, the failure is kept
with its traceback for `lollms doctor` and raised as `FormatLoadError` to whoever chose that format, and nobody else.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

from lollms_core.backend import ALL_HOOKS, Backend, capabilities_problem, near_misses
from lollms_core.errors import ContractError, FormatLoadError, UnknownFormatError, described
from lollms_core.hookspecs import CONTRACT_VERSION, PROJECT_NAME, BackendSpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "BACKENDS_GROUP",
    "EXTENSIONS_GROUP",
    "OFFICIAL_PACKAGES",
    "ExtensionInfo",
    "FormatInfo",
    "chosen_format",
    "installed_extensions",
    "installed_formats",
    "load_format",
    "nonblocking_hooks",
    "plugin_manager",
    "refresh",
]

logger = logging.getLogger("lollms")

BACKENDS_GROUP = "lollms.backends"
EXTENSIONS_GROUP = "lollms.extensions"

_BUILT_IN = {
    "lollms": "lollms_core.backends.lollms:LollmsBackend",
    "echo": "lollms_core.backends.echo:EchoBackend",
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
    """An installed extension: a pluggy plugin whose wrappers go around the backend's hooks."""

    name: str
    target: str
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
    from importlib.metadata import distributions

    seen = set()
    for dist in distributions():
        name: str | None = None
        with contextlib.suppress(Exception):
            name = dist.name
        try:
            points = list(_with_origin(dist.entry_points.select(group=group)))
        except Exception as error:
            logger.warning(
                "the entry points of %s cannot be read (%s); it is left out", name or "a package", described(error)
            )
            continue
        if name is None or name not in seen:  # the first of a name is the one that is imported
            seen.add(name)
            yield from points


def _target(point: EntryPoint) -> str:
    """`module:attribute`, without the extras that may follow it."""
    return point.value.partition("[")[0].strip()


def refresh() -> None:
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
    official = [name] if name in OFFICIAL_PACKAGES else difflib.get_close_matches(name, OFFICIAL_PACKAGES, 1)
    if official and official[0] not in formats:
        meant = "" if official[0] == name else f"Did you mean {official[0]!r}? "
        package = OFFICIAL_PACKAGES[official[0]]
        how = f"Install it with `pip install {package}` (or `lollms install {official[0]}`)."
        hint = f"{meant}{how} Installed: {', '.join(formats)}."
    else:
        hint = near_misses(name, formats)
    return UnknownFormatError(f"no generation format {name!r} is installed", hint=hint, format=name)


def _load(info: FormatInfo) -> type[Backend]:
    module_name, _, attribute = info.target.partition(":")
    import importlib

    try:
        backend: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            backend = getattr(backend, part)
    except (Exception, SystemExit) as error:  # a package that exits when it is imported must not end the program
        raise FormatLoadError(
            f"the format {info.name!r} of {info.distribution} cannot be loaded: {described(error)}",
            hint=f"`lollms doctor {info.name} --debug` shows the traceback. Reinstall or upgrade the package.",
            format=info.name,
        ) from error
    return _checked(info, backend)


def _checked(info: FormatInfo, backend: Any) -> type[Backend]:
    where = f"the format {info.name!r} of {info.distribution}"
    if not (inspect.isclass(backend) and issubclass(backend, Backend)):
        raise ContractError(f"{where}: {info.target} is not a subclass of lollms_core.Backend", format=info.name)
    version = backend.contract_version
    if version is not None and type(version) is not int:
        raise ContractError(
            f"{where}: its contract_version is a {type(version).__name__}, not a number", format=info.name
        )
    if version is not None and version != CONTRACT_VERSION:
        older = "lollms-core" if version > CONTRACT_VERSION else info.distribution
        raise ContractError(
            f"{where} was written for version {version} of the contract; lollms-core has version {CONTRACT_VERSION}",
            hint=f"Upgrade {older}.",
            format=info.name,
        )
    for name, hint in _unknown_hooks(backend):
        raise ContractError(f"{where}: there is no hook {name!r}", hint=hint, format=info.name)
    for hook in ALL_HOOKS:
        method = getattr(backend, hook, None)
        if method is not None and not hasattr(method, f"{PROJECT_NAME}_impl"):
            raise ContractError(
                f"{where}: its method {hook!r} lacks @hookimpl and would never be called", format=info.name
            )
    if not hasattr(backend, "generate"):
        raise ContractError(f"{where} does not implement `generate`, the one hook that is required", format=info.name)
    if problem := _wrong_attribute(backend):
        raise ContractError(f"{where}: {problem}", format=info.name)
    return backend


def _unknown_hooks(backend: type[Backend]) -> Iterator[tuple[str, str]]:
    """Methods that are marked as hooks and are none, with what was probably meant."""
    for base in backend.__mro__:
        for name, value in vars(base).items():
            marked = getattr(value, f"{PROJECT_NAME}_impl", None)
            # A name that begins with `_` is no hook for pluggy either: one function may serve several hooks.
            if marked and name not in ALL_HOOKS and not name.startswith("_") and not marked["optionalhook"]:
                yield name, near_misses(name, ALL_HOOKS)


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
    if backend.Options is not None and not hasattr(backend.Options, "model_fields"):
        return "its Options is not a pydantic model"
    return ""


def _wrong_nonblocking(plugin: object) -> str:
    declared: Any = getattr(plugin, "nonblocking", frozenset())
    if isinstance(declared, (frozenset, set)) and declared <= ALL_HOOKS:
        return ""
    return f"its nonblocking is not a set of names of hooks: {declared!r}"


def plugin_manager(backend: Backend, format: str) -> tuple[pluggy.PluginManager, dict[str, FormatLoadError]]:
    """A manager that holds this one backend and every installed extension that loads.

    Returns it with the failures of the extensions that do not, by name. Raises `ContractError` for a hook that
    does not exist or whose signature is wrong.
    """
    manager = pluggy.PluginManager(PROJECT_NAME)
    manager.add_hookspecs(BackendSpec)
    try:
        manager.register(backend, name=format)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise ContractError(f"the backend of format {format!r}: {error}", format=format) from error
    failures = {}
    for number, (info, point) in enumerate(_extensions()):
        name = f"extension {number}"  # its own name may also be a format's, or another extension's
        try:
            extension = point.load()
            if isinstance(extension, type):
                extension = extension()
            if problem := _wrong_nonblocking(extension):
                raise ContractError(problem)
            manager.register(extension, name=name)
            manager.check_pending()
        except (Exception, SystemExit) as error:
            if manager.has_plugin(name):
                manager.unregister(name=name)
            failure = FormatLoadError(
                f"the extension {info.name!r} of {info.distribution} cannot be loaded: {described(error)}"
            )
            failure.__cause__ = error
            failures[info.name] = failure
            logger.warning("%s (it is left out; see `lollms doctor --debug`)", failure.message)
    return manager, failures


def nonblocking_hooks(manager: pluggy.PluginManager) -> frozenset[str]:
    """The hooks that an event loop may call: every implementation returns at once (see `Backend.nonblocking`)."""
    return frozenset(
        name
        for name in ALL_HOOKS
        if all(
            name in getattr(found.plugin, "nonblocking", ())
            or inspect.isgeneratorfunction(found.function)
            or inspect.iscoroutinefunction(found.function)
            or inspect.isasyncgenfunction(found.function)
            for found in getattr(manager.hook, name).get_hookimpls()
        )
    )


def _extensions() -> Iterator[tuple[ExtensionInfo, EntryPoint]]:
    for point, distribution, version in _entry_points(EXTENSIONS_GROUP):
        yield ExtensionInfo(point.name, _target(point), distribution, version), point


def installed_extensions() -> list[ExtensionInfo]:
    """Every installed extension. Reads metadata only."""
    return [info for info, _ in _extensions()]
