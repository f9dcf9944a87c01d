"""The checks behind `lollms doctor`: formats and extensions, at the same time, each within a bounded time.

A check may hang: a package that waits at import, a server that accepts and says nothing. Each runs in a daemon thread
and is given up after the limit; what the others found is not lost.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from lollms_core import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    LollmsClient,
    LollmsError,
    ModelInfo,
    ModelLoadError,
    ModelNotFoundError,
    ModelRequiredError,
    ProtocolError,
    UnknownFormatError,
    UnsupportedError,
)
from lollms_core._cli.clients import made_client
from lollms_core._cli.phrases import words_of
from lollms_core._cli.settings import Resolved
from lollms_core._cli.state import Origins, current_state, told_of
from lollms_core._client.registry import load_extension
from lollms_core.contract.errors import described

__all__ = ["Finding", "Status", "can_answer", "check_extension", "check_format", "run_checks"]

Status = Literal[
    "ready", "not asked", "installed", "no model", "unreachable", "failed", "broken", "not installed", "no answer"
]
"""`not asked`: what is set is complete, and nobody can be asked before the first question. `installed`: its package is
complete, and nothing more was looked at. `no model`: there is none, or not the one that
was named, or it cannot answer. `unreachable`: there is no way to its address. `failed`: it answered with an error.
`broken`: its package or its configuration is wrong. `no answer`: the time was up."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    status: Status
    detail: str
    hint: str = ""
    error: BaseException | None = None
    models: tuple[str, ...] = ()
    """The models that can answer prompts, as far as that is known."""


def can_answer(model: ModelInfo) -> bool:
    """Whether a model answers prompts; one of which nothing is known may."""
    return not model.capabilities or bool({"completion", "chat"} & set(model.capabilities))


def check_format(arguments: Mapping[str, Any], origins: Origins) -> Finding:
    """Load a format, make a client, and ask it for its models, and about the one that would answer.

    Args:
        arguments: those of `LollmsClient`.
        origins: where they come from.
    """
    with told_of(origins):
        try:
            client = made_client(arguments)
        except UnknownFormatError as error:
            return Finding("not installed", *words_of(error))
        except ConfigurationError as error:
            return Finding("broken", *words_of(error), error)
        try:
            return _ask(client)
        finally:
            client.close()


def _ask(client: LollmsClient) -> Finding:
    try:
        listed: list[ModelInfo] | None = cast("list[ModelInfo]", client.list_models(details=True))
        detail = ""
    except UnsupportedError as error:
        listed, detail = None, words_of(error)[0]
    except LollmsError as error:
        return _failed(error)
    if listed is not None:
        if not listed and client.backend.capabilities.needs_model and not client.model_name:
            return _without_models(client)
        detail = f"{len(listed)} model{'' if len(listed) == 1 else 's'}"
    models = tuple(model.name for model in listed or () if can_answer(model))
    if client.backend.capabilities.local and client.backend.capabilities.needs_model:
        return _local(client, models, detail)  # asking about a model here would load it
    try:
        info = cast("ModelInfo", client.model_info())
    except ModelRequiredError:
        return _none_chosen(client, models, detail)
    except UnsupportedError:
        if client.backend.capabilities.local and models and client.model_name not in (None, "", *models):
            return _unknown(client)
        return _chosen(client, models, detail)
    except LollmsError as error:
        return _failed(error)
    if not can_answer(info):
        return Finding(
            "no model",
            f"{info.name} cannot answer prompts; it can do: {', '.join(info.capabilities)}",
            "Choose another model with --model.",
        )
    if missing := info.metadata.get("missing_keys"):
        hint = f"Set {' or '.join(missing)}, or use --api-key-file."
        return Finding("failed", f"{info.name} needs a key, and there is none", hint)
    how = "chosen" if client.model_name else "by default"
    if info.metadata.get("asked") is False:
        return Finding("not asked", f"{info.name} {how}; only a question shows whether its provider answers")
    return Finding("ready", f"{detail}, {info.name} {how}", models=models)


def _failed(error: LollmsError) -> Finding:
    message, hint = words_of(error)
    if isinstance(error, APITimeoutError):
        return Finding("no answer", message, _MORE_TIME, error)
    status: Status = "failed"
    for kinds, meaning in _MEANINGS:
        if isinstance(error, kinds):
            status = meaning
            break
    if isinstance(error, ProtocolError) and not hint:
        hint = "Something else may listen there, such as a website: check the address."
    return Finding(status, message, hint, error)


_MORE_TIME = "Give it more time with --timeout."
_MEANINGS: tuple[tuple[tuple[type[LollmsError], ...], Status], ...] = (
    ((APIConnectionError,), "unreachable"),
    ((ConfigurationError,), "broken"),
    ((ModelNotFoundError, ModelLoadError), "no model"),
)


def _without_models(client: LollmsClient) -> Finding:
    hint = client.backend.no_models or "Name one with --model."
    if client.backend.capabilities.pull:
        hint = f"Download one: `lollms models -f {client.format} --pull NAME`."
    return Finding("no model", "there is no model", hint)


def _local(client: LollmsClient, models: tuple[str, ...], detail: str) -> Finding:
    """A format that runs models in this process: is the one that was named here?"""
    name = client.model_name
    if not name or name in models or Path(name).expanduser().exists():
        return _chosen(client, models, detail)
    if name.startswith((".", "/", "~", "package:")) or name.endswith(".gguf"):
        return _unknown(client)
    return Finding("ready", f"{detail}; {name} is not among them and may have to be downloaded", models=models)


def _unknown(client: LollmsClient) -> Finding:
    listing = f"`lollms models -f {client.format}` lists those."
    return Finding("no model", f"there is no model {client.model_name} on this machine", listing)


def _chosen(client: LollmsClient, models: tuple[str, ...], detail: str) -> Finding:
    if client.model_name:
        return Finding("ready", f"{detail}, {client.model_name} chosen", models=models)
    if client.backend.capabilities.needs_model:
        return _none_chosen(client, models, detail)
    return Finding("ready", detail, models=models)


def _none_chosen(client: LollmsClient, models: tuple[str, ...], detail: str) -> Finding:
    name = models[0] if models else "NAME"
    return Finding(
        "no model",
        f"{detail}, and none is chosen" if detail else "no model is chosen",
        f"Choose one: `lollms config set formats.{client.format}.model {name}`, or --model with every call.",
        models=models,
    )


def check_extension(name: str, settings: Resolved) -> Finding:
    """Load an extension; if it is to be used, make it, with its options.

    Args:
        name: as it is installed, or as it is to be used.
        settings: say which are to be used, and the options.
    """
    used = settings.values.get("extensions")
    try:
        load_extension(name)
        if used is not None and name in used.value:
            options = settings.extension_options.get(name, {})
            LollmsClient(default_generation_mode="echo", extensions=[{name: options}]).close()
    except LollmsError as error:
        why = f"It is used because of: {used.source}." if used is not None and name in used.value else ""
        return Finding("broken", error.message, f"{error.hint} {why}".strip(), error)
    return Finding("ready", "it loads")


def run_checks(checks: Mapping[str, Callable[[], Any]], limit: float) -> dict[str, Any]:
    """Run checks side by side.

    Args:
        checks: functions by name.
        limit: seconds that each of them may take.

    Returns:
        What each returned, a `broken` finding for one that raised, a `no answer` finding for one still at it.
    """
    # What most formats import, once and before the clock runs: threads that import the same modules at the same time
    # can see half of a circular import. What is wrong with them is for the checks to find.
    with contextlib.suppress(Exception):
        importlib.import_module("lollms_core.http._backend")
    results: dict[str, Any] = {}
    threads = {}
    for name, check in checks.items():
        threads[name] = threading.Thread(target=_run, args=(name, check, results), name=f"check-{name}", daemon=True)
        threads[name].start()
    deadline = time.monotonic() + limit
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    late = Finding("no answer", f"no answer within {limit:g} second{'' if limit == 1 else 's'}", _MORE_TIME)
    found = {name: results.get(name, late) for name in checks}
    if late in found.values():
        current_state().hurry = True  # what hangs would keep the process from ending, too
    return found


def _run(name: str, check: Callable[[], Any], results: dict[str, Any]) -> None:
    try:
        results[name] = check()
    except BaseException as error:  # even a package that calls sys.exit() at import is one finding among others
        results[name] = Finding("broken", described(error), "Tell the author of its package.", error)
