"""What a client can tell this format, beyond what it tells every format."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["TransformersOptions"]


class TransformersOptions(BaseModel):
    """Keyword arguments of `LollmsClient` that only this format knows."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|xpu|cuda(:\d+)?)$")
    """`auto` takes CUDA, else Apple's MPS, else the CPU."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """`auto` is float32 on a CPU, where bfloat16 is slow, and the checkpoint's own elsewhere."""
    quantization: Literal["int8", "8bit", "4bit"] | None = None
    """`int8` runs on a CPU; `8bit` and `4bit` run on CUDA and need the package bitsandbytes."""
    attn_implementation: str | None = None
    """Such as `eager`, `sdpa`, `flash_attention_2`; `None` leaves it to transformers."""
    trust_remote_code: bool = False
    """Run Python code from the model's repository. Only for repositories that you have read."""
    revision: str | None = None
    """Branch, tag or commit of a model on the hub."""
    token: SecretStr | None = None
    """Access token for the hub; by default the client's key, else what `huggingface-cli login` or `HF_TOKEN` set."""
    models_folder: list[Path] | Path | None = None
    """Folders in which models lie: names are looked up there first, and `list_models` lists them."""
    prefix_cache_bytes: int = Field(default=512 * 1024 * 1024, ge=0)
    """Memory for key-value caches of earlier prompts, reused by prompts that begin alike. 0 is off."""
    max_batch_size: int = Field(default=8, ge=1)
    """How many calls are computed together."""
    max_loaded_models: int = Field(default=1, ge=1)
    """How many models stay in memory; when one more is asked for, the one idle longest is freed."""

    @property
    def folders(self) -> list[Path]:
        """`models_folder` as a list, with `~` expanded."""
        value = self.models_folder
        if value is None:
            return []
        return [folder.expanduser() for folder in ([value] if isinstance(value, Path) else value)]
