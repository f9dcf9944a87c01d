"""For somebody who has just installed this: what would work here, or what to install."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from lollms_core import ConfigurationError, LollmsError, Timeouts, installed_formats
from lollms_core._cli.doctor_checks import Finding, check_format, run_checks
from lollms_core._cli.state import Origins, current_state
from lollms_core._cli.status_line import Waiting

__all__ = ["nothing_chosen"]

_LEFT_OUT = ("lollms", "echo", "litellm")
"""The one that did not answer, the one without a model, and one that takes seconds to import and lists no models."""
_LIMIT = 4.0


def nothing_chosen(error: LollmsError) -> LollmsError:
    """The error for a call by somebody who has not chosen a format, where the default one has no server."""
    with Waiting("Looking for what would work here"):
        ready = _ready_formats()
    return ConfigurationError(
        "no format has been chosen yet, and no LoLLMS server runs at http://localhost:9600",
        hint=_commands(ready) if ready else _advice(),
    )


def _ready_formats() -> Mapping[str, Finding]:
    """The installed formats that have a model to answer with."""
    limits = Timeouts(connect=_LIMIT, first_token=_LIMIT, idle=_LIMIT)
    checks = {
        name: functools.partial(
            check_format,
            {"default_generation_mode": name, "raise_errors": True, "timeouts": limits, "max_retries": 0},
            Origins(),
        )
        for name in installed_formats()
        if name not in _LEFT_OUT
    }
    found = run_checks(checks, _LIMIT)
    return {name: finding for name, finding in found.items() if finding.models}


def _commands(ready: Mapping[str, Finding]) -> str:
    lines = ["This would work here:"]
    for name, finding in ready.items():
        where = f"-t 0 -f {name} -m {finding.models[0]}"
        lines.append(f"  lollms chat {where}" if current_state().chatting else f'  lollms generate {where} "Hello!"')
    name, finding = next(iter(ready.items()))
    return "\n".join(
        [
            *lines,
            "To stay with one:",
            f"  lollms config set format {name}",
            f"  lollms config set formats.{name}.model {finding.models[0]}",
        ]
    )


def _advice() -> str:
    installed = [name for name in installed_formats() if name not in ("lollms", "echo")]
    lines = ["Choose how to reach a model:"]
    if installed:
        lines.append("  lollms doctor --all               what the installed formats still lack")
    lines += [
        f"  lollms install {name:<19}{what}"
        for name, what in (
            ("transformers", "runs models in this process"),
            ("ollama", "asks Ollama on this machine (https://ollama.com)"),
            ("openai", "asks OpenAI, or a server that speaks its protocol"),
            ("litellm", "asks Anthropic, Google, Mistral and many others"),
        )
        if name not in installed
    ]
    lines.append("Or start a LoLLMS server, and ask again. If it runs at another port:")
    lines.append("  lollms config set formats.lollms.host_address http://localhost:9642")
    return "\n".join(lines)
