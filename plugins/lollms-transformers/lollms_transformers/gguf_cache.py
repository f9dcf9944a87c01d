"""GGUF files, converted once into a folder that loads at once.

transformers reads a GGUF file by dequantizing it, which takes many seconds each time. The result is kept under the
user's cache directory (`LOLLMS_CACHE_DIR` overrides it). A conversion is written to a temporary folder and renamed when
it is complete; a lock file makes a second process wait for the first instead of doing the work twice.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lollms_core import ModelLoadError
from lollms_transformers.progress import Reach, progress

if TYPE_CHECKING:
    import torch

__all__ = ["cache_directory", "converted"]

logger = logging.getLogger("lollms.transformers")

_LAYOUT = "1"
"""Changes when folders written by an earlier version of this module must not be used any more."""

_SAMPLE = 1024 * 1024


def cache_directory() -> Path:
    """Where conversions are kept."""
    root = os.environ.get("LOLLMS_CACHE_DIR")
    if root:
        return Path(root).expanduser() / "gguf"
    import platformdirs

    return Path(platformdirs.user_cache_dir("lollms", appauthor=False)) / "gguf"


def converted(path: Path, dtype: torch.dtype) -> Path:
    """The folder with the weights and the tokenizer of a GGUF file, converting it if that has not been done.

    Raises:
        ModelLoadError: the file is damaged, or its architecture is one that transformers cannot read.
    """
    from filelock import FileLock

    target = cache_directory() / _folder_name(path, dtype)
    if target.is_dir():
        return target
    lock = FileLock(f"{target}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        held = lock.acquire()
    except OSError as error:
        raise _no_place(target.parent, error) from error
    with held:
        if target.is_dir():  # another process has just finished it
            return target
        _remove_leftovers(target)
        workplace = Path(tempfile.mkdtemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent))
        try:
            _convert(path, workplace, dtype, target)
            os.replace(workplace, target)
        except BaseException:
            shutil.rmtree(workplace, ignore_errors=True)
            raise
    return target


def _no_place(folder: Path, error: Exception) -> ModelLoadError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ModelLoadError(
        f"the converted weights cannot be kept in {folder}: {why}",
        hint="Make room there, or name another folder with LOLLMS_CACHE_DIR.",
    )


def _remove_leftovers(target: Path) -> None:
    """Delete what a process that was killed left behind. The lock is held, so nobody is writing there."""
    for leftover in target.parent.glob(f"{target.name}.*.part"):
        shutil.rmtree(leftover, ignore_errors=True)


def _folder_name(path: Path, dtype: torch.dtype) -> str:
    """A name that is the same for the same contents. Reads samples: hashing a whole large model takes minutes."""
    size = path.stat().st_size
    digest = hashlib.sha256(f"{_LAYOUT} {size} {dtype}".encode())
    with path.open("rb") as file:
        for part in range(17):
            file.seek(max(0, (size - _SAMPLE) * part // 16))
            digest.update(file.read(_SAMPLE if part in (0, 16) else _SAMPLE // 16))
    stem = re.sub(r"[^\w.-]", "_", path.stem)
    return f"{stem}-{str(dtype).removeprefix('torch.')}-{digest.hexdigest()[:16]}"


def _convert(path: Path, workplace: Path, dtype: torch.dtype, target: Path) -> None:
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelLoadError(f"{path.name} is not a GGUF file (its first four bytes are not 'GGUF')")
    logger.info("converting %s into %s", path.name, target)
    remark = (
        f"Converting {path.name} to {str(dtype).removeprefix('torch.')} weights that load in a moment. "
        f"This happens once; the result is kept in {target}"
    )
    with progress(remark) as reach:
        try:
            _write_model(path, workplace, dtype, reach)
        except Exception as error:
            full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
            if full or "No space left" in str(error):  # safetensors has an error of its own
                raise _no_place(target.parent, error) from error
            raise ModelLoadError(
                f"{path.name} cannot be converted: {type(error).__name__}: {error}",
                hint="The file may be damaged, or its architecture one that transformers cannot read from GGUF.",
            ) from error


def _write_model(path: Path, workplace: Path, dtype: torch.dtype, reach: Reach) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from lollms_transformers.quiet import quiet_transformers

    reach(0.0, "reading the tokenizer")
    # transformers shows several bars in a row, which all begin at nothing.
    with quiet_transformers(lambda part: reach(0.6 + 0.25 * part, "reading the weights")):
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        reach(0.3, "reading the weights")
        # Without `dequantize` the weights stay quantized and cannot be saved.
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=dtype
        )
        reach(0.9, "writing the folder")
        model.config.__dict__.pop("quantization_config", None)
        model.save_pretrained(workplace)
        tokenizer.save_pretrained(workplace)
        reach(1.0, "")
