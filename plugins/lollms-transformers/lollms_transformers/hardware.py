"""Where to compute, in which type, and whether this machine can do what the options ask for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lollms_core import ConfigurationError, MissingDependencyError

if TYPE_CHECKING:
    import torch

    from lollms_transformers.options import TransformersOptions

__all__ = ["check_quantization", "gguf_dtype", "pick_device", "pick_dtype"]

logger = logging.getLogger("lollms.transformers")


def pick_device(wanted: str) -> torch.device:
    """The device for `wanted`; `auto` is CUDA, else MPS, else the CPU. `ConfigurationError` if torch sees none."""
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")
    device = torch.device(wanted)
    available: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "xpu": lambda: hasattr(torch, "xpu") and torch.xpu.is_available(),
    }
    if not available.get(device.type, lambda: True)():
        raise ConfigurationError(
            f"device={wanted!r} was asked for, but this installation of torch {torch.__version__} sees no such device",
            hint="Use device='auto' or 'cpu', or install the torch build for that device.",
        )
    return device


def gguf_dtype(options: TransformersOptions, device: torch.device) -> torch.dtype:
    """The type that GGUF weights are converted to: they must be dequantized into something."""
    import torch

    if options.dtype != "auto":
        dtype: torch.dtype = getattr(torch, options.dtype)
        return dtype
    return torch.float32 if device.type == "cpu" else torch.float16


def pick_dtype(options: TransformersOptions, device: torch.device, config: Any) -> torch.dtype:
    """The type to compute in, chosen knowingly: on CPUs bfloat16 is no faster and can be ten times slower."""
    import torch

    own = getattr(config.get_text_config(), "dtype", None) or getattr(config, "dtype", None) or torch.float32
    if isinstance(own, str):
        own = getattr(torch, own)
    if options.dtype != "auto":
        chosen: torch.dtype = getattr(torch, options.dtype)
        if device.type == "cpu" and chosen is not torch.float32:
            logger.warning("%s on a CPU is usually slower than float32", options.dtype)
        return chosen
    if device.type == "cpu":
        if own is not torch.float32:
            logger.info("the checkpoint is %s; computing in float32, which is faster on a CPU", own)
        return torch.float32
    dtype: torch.dtype = own
    return dtype


def check_quantization(quantization: str | None, device: torch.device) -> None:
    """`ConfigurationError` for a device that cannot do it, `MissingDependencyError` for a package that is not there."""
    if quantization == "int8" and device.type != "cpu":
        raise ConfigurationError(
            f"quantization='int8' runs on a CPU, and the device is {device.type}",
            hint="Use quantization='8bit' on CUDA, or device='cpu'.",
        )
    if quantization in ("8bit", "4bit"):
        if device.type != "cuda":
            raise ConfigurationError(
                f"quantization={quantization!r} needs a CUDA device, and the device is {device.type}",
                hint="Use quantization='int8' on a CPU.",
            )
        import importlib.util

        if importlib.util.find_spec("bitsandbytes") is None:
            raise MissingDependencyError(
                f"quantization={quantization!r} needs the package bitsandbytes", hint="Run `pip install bitsandbytes`."
            )
