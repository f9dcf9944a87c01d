"""The checks behind `lollms doctor`: every format and extension, at the same time, within a bounded time.

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
from typing import Any, Literal

from lollms_core import (
    APIConnectionError,
    ConfigurationError,
    LollmsClient,
    LollmsError,
    ModelLoadError,
    ModelNotFoundError,
    ModelRequiredError,
    UnknownFormatError,
    UnsupportedError,
)

__all__ = ["Finding", "Status", "check_extensions", "check_format", "run_checks"]

Status = Literal["ready", "no model", "unreachable", "failed", "broken", "not installed", "no answer"]
"""`no model`: there is none, or not the one that was named, or it cannot answer. `unreachable`: nothing listens at its
address. `failed`: it answered with an error. `broken`: its package or its configuration is wrong. `no answer`: the time
was up."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    status: Status
    detail: str
    hint: str = ""
    error: BaseException | None = None


def check_format(arguments: Mapping[str, Any]) -> Finding:
    """Load a format, make a client, and ask it for its models.

    Args:
        arguments: those of `LollmsClient`.
    """
    try:
        client = LollmsClient(**arguments)
    except UnknownFormatError as error:
        return Finding("not installed", error.message, error.hint)
    except ConfigurationError as error:
        return Finding("broken", error.message, error.hint, error)
    try:
        return _ask(client)
    finally:
        client.close()


def _ask(client: LollmsClient) -> Finding:
    models: list[str] | None
    try:
        models, detail = client.list_models(), ""  # type: ignore[assignment]
    except UnsupportedError as error:
        models, detail = None, error.message
    except APIConnectionError as error:
        return Finding("unreachable", error.message, error.hint, error)
    except LollmsError as error:
        return Finding("failed", error.message, error.hint, error)
    if models is not None:
        if not models and client.backend.capabilities.needs_model:
            return _without_models(client)
        detail = f"{len(models)} model{'' if len(models) == 1 else 's'}"
    if client.backend.capabilities.local:
        return _chosen(client, models, detail)  # asking about a model here would load it
    try:
        info: Any = client.model_info()
    except (ModelRequiredError, UnsupportedError):
        return _chosen(client, models, detail)
    except (ModelNotFoundError, ModelLoadError) as error:
        return Finding("no model", error.message, error.hint, error)
    except LollmsError as error:
        return Finding("failed", error.message, error.hint, error)
    if info.capabilities and not {"completion", "chat"} & set(info.capabilities):
        return Finding(
            "no model",
            f"{info.name} cannot answer prompts; it can do: {', '.join(info.capabilities)}",
            "Choose another model with --model.",
        )
    return Finding("ready", f"{detail}, {info.name} {'chosen' if client.model_name else 'by default'}")


def _without_models(client: LollmsClient) -> Finding:
    hint = "Name one with --model."
    if client.backend.capabilities.pull:
        hint = f"Download one: `lollms models -f {client.format} --pull NAME`."
    return Finding("no model", "there is no model", hint)


def _chosen(client: LollmsClient, models: list[str] | None, detail: str) -> Finding:
    if client.model_name:
        return Finding("ready", f"{detail}, {client.model_name} chosen")
    if client.backend.capabilities.needs_model:
        example = f", such as `--model {next(iter(models))}`" if models else ""
        return Finding("ready", detail, f"It needs the name of a model{example}.")
    return Finding("ready", detail)


def check_extensions() -> Mapping[str, LollmsError]:
    """The installed extensions that cannot be loaded, by name."""
    with LollmsClient(default_generation_mode="echo") as client:
        return client.extension_failures


def run_checks(checks: Mapping[str, Callable[[], Any]], limit: float) -> dict[str, Any]:
    """Run checks side by side.

    Args:
        checks: functions by name.
        limit: seconds that all of them together may take.

    Returns:
        What each returned, a `broken` finding for one that raised, a `no answer` finding for one still at it.
    """
    # What most formats import, once and before the clock runs: threads that import the same modules at the same time
    # can see half of a circular import. What is wrong with them is for the checks to find.
    with contextlib.suppress(Exception):
        importlib.import_module("lollms_core.http_backend")
    results: dict[str, Any] = {}
    threads = {}
    for name, check in checks.items():
        threads[name] = threading.Thread(target=_run, args=(name, check, results), name=f"check-{name}", daemon=True)
        threads[name].start()
    deadline = time.monotonic() + limit
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    late = Finding("no answer", f"no answer within {limit:g} seconds", "Give it more time with --timeout.")
    return {name: results.get(name, late) for name in checks}


def _run(name: str, check: Callable[[], Any], results: dict[str, Any]) -> None:
    try:
        results[name] = check()
    except BaseException as error:  # even a package that calls sys.exit() at import is one finding among others
        results[name] = Finding("broken", f"{type(error).__name__}: {error}", "Tell the author of its package.", error)
