"""The Hugging Face hub: whether a model can be had from it, found out within seconds."""

from __future__ import annotations

import logging
import threading
from typing import Any

from lollms_core import AuthenticationError, ModelLoadError, ModelNotFoundError, PermissionDeniedError
from lollms_transformers.advice import advice_withheld
from lollms_transformers.sources import LOCAL_HINT

__all__ = ["available_offline"]

logger = logging.getLogger("lollms.transformers")

_PATIENCE = 8.0
"""Seconds to wait for the hub's first answer. Name resolution has no timeout of its own, so this one covers it too."""


def available_offline(repository: str, revision: str, token: str | None) -> bool:
    """Whether to load from the local cache alone: `True` if the hub is out of reach (or `HF_HUB_OFFLINE` is set).

    Raises:
        ModelLoadError: the hub is out of reach and the model is not in the cache.
        ModelNotFoundError, AuthenticationError, PermissionDeniedError: the hub answered, and this is what it said.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        _require_cached(repository, revision, "HF_HUB_OFFLINE is set")
        return True
    problem = _ask(repository, revision, token)
    if problem is None:
        return False
    _raise_if_refused(problem, repository, revision)
    reason = f"the hub at {constants.ENDPOINT} cannot be reached"
    _require_cached(repository, revision, reason, problem)
    logger.warning("%s; loading %s from the local cache", reason, repository)
    return True


def _ask(repository: str, revision: str, token: str | None) -> Exception | None:
    """The exception of a first request, `None` if it was answered with the model."""
    from huggingface_hub import HfApi

    outcome: list[Exception | None] = []

    def ask() -> None:
        try:
            with advice_withheld():
                HfApi(token=token).model_info(repository, revision=revision, timeout=_PATIENCE / 2)
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, name="lollms-hub-probe", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return outcome[0] if outcome else TimeoutError(f"no answer within {_PATIENCE:g} s")


def _raise_if_refused(problem: Exception, repository: str, revision: str) -> None:
    from huggingface_hub import errors

    if isinstance(problem, errors.GatedRepoError):
        raise PermissionDeniedError(
            f"the model {repository!r} is gated",
            hint="Ask for access on its page, then pass token= or set HF_TOKEN.",
            status_code=403,
        ) from problem
    if isinstance(problem, errors.RevisionNotFoundError):
        raise ModelNotFoundError(f"the model {repository!r} has no revision {revision!r}") from problem
    if isinstance(problem, errors.RepositoryNotFoundError | errors.HFValidationError):
        raise ModelNotFoundError(
            f"the hub has no model {repository!r}, or it is private",
            hint=f"Check the name or pass token=. {LOCAL_HINT}",
        ) from problem
    status = getattr(getattr(problem, "response", None), "status_code", None)
    if status == 401:
        raise AuthenticationError("the hub does not accept the token", status_code=401) from problem


def _require_cached(repository: str, revision: str, reason: str, cause: Any = None) -> None:
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repository, "config.json", revision=revision), str):
        return
    raise ModelLoadError(
        f"the model {repository!r} is not on this machine, and {reason}", hint=LOCAL_HINT, retryable=cause is not None
    ) from cause
