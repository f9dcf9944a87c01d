"""Which models are loadable on this machine: packaged ones, those in configured folders, those in the hub's cache."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import distributions
from pathlib import Path

from lollms_core import ModelInfo
from lollms_transformers.loading import LoadedModel
from lollms_transformers.prompts import chat_template_of
from lollms_transformers.sources import PACKAGE_PREFIX

__all__ = ["loadable_models", "loaded_info"]

logger = logging.getLogger("lollms.transformers")


def loadable_models(folders: Sequence[Path]) -> list[ModelInfo]:
    """Every model found, each under a name that `model_name` takes. Reads metadata only; needs no network."""
    found: dict[str, ModelInfo] = {}
    for model in (*_in_folders(folders), *_in_packages(), *_in_hub_cache()):
        found.setdefault(model.name, model)
    return list(found.values())


def _in_packages() -> Iterator[ModelInfo]:
    for distribution in distributions():
        # One look at the text of the file list spares parsing it for the many packages without a model.
        record = distribution.read_text("RECORD") or ""
        if ".gguf," not in record:
            continue
        for file in distribution.files or ():
            if file.suffix != ".gguf" or len(file.parts) < 2:
                continue
            path = Path(str(distribution.locate_file(file)))
            if path.is_file():
                yield ModelInfo(
                    name=f"{PACKAGE_PREFIX}{file.as_posix()}",
                    size_bytes=path.stat().st_size,
                    capabilities=("completion",),
                    metadata={"distribution": distribution.metadata["Name"], "version": distribution.version},
                )


def _in_folders(folders: Sequence[Path]) -> Iterator[ModelInfo]:
    for folder in folders:
        if not folder.is_dir():
            logger.warning("the models folder %s does not exist", folder)
            continue
        for path in sorted(folder.rglob("*.gguf")):
            yield ModelInfo(
                name=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size, capabilities=("completion",)
            )
        for config in sorted(folder.rglob("config.json")):
            model = config.parent
            if any(model.glob("*.safetensors")) or any(model.glob("pytorch_model*.bin")):
                name = model.relative_to(folder).as_posix() if model != folder else str(folder)
                yield _described(name, config, sum(file.stat().st_size for file in model.iterdir() if file.is_file()))


def _in_hub_cache() -> Iterator[ModelInfo]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return
    for repository in sorted(repositories, key=lambda repository: repository.repo_id):
        if repository.repo_type != "model":
            continue
        for revision in repository.revisions:
            config = next((file.file_path for file in revision.files if file.file_name == "config.json"), None)
            if config is not None and any(file.file_name.endswith((".safetensors", ".bin")) for file in revision.files):
                yield _described(repository.repo_id, config, repository.size_on_disk)
                break


def _described(name: str, config: Path, size: int) -> ModelInfo:
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = {}
    window = values.get("max_position_embeddings")
    vision = "vision_config" in values
    return ModelInfo(
        name=name,
        context_window=window if isinstance(window, int) else None,
        size_bytes=size,
        capabilities=("completion", "vision") if vision else ("completion",),
        metadata={"architectures": values.get("architectures") or []},
    )


def loaded_info(loaded: LoadedModel) -> ModelInfo:
    """What is known about a model that is in memory."""
    capabilities = ["completion"] if loaded.generates else []
    if loaded.generates and chat_template_of(loaded) is not None:
        capabilities.append("chat")
    if loaded.processor is not None:
        capabilities.append("vision")
    return ModelInfo(
        name=loaded.name,
        context_window=loaded.window,
        parameters=loaded.parameters,
        dtype=loaded.quantization or str(loaded.dtype).removeprefix("torch."),
        device=str(loaded.device),
        capabilities=(*capabilities, "embedding"),
        metadata={"model_type": loaded.model.config.model_type},
    )
