"""Key-value caches of plain full attention: taking rows out of them, cropping them, putting them side by side.

Rows are padded on the left, so the last column of every row is its latest token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["Layers", "cache_from", "layers_of", "merged", "row_layers", "selected", "supports_surgery"]

Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, of shape [rows, heads, tokens, head size]."""


def supports_surgery(model: Any) -> bool:
    """Whether the model's cache is made of plain layers only, so that rows can join and leave a batch.

    Sliding windows, recurrent states and positions that depend on images (`rope_deltas`) cannot be cut at will.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    if model.config.is_encoder_decoder or not getattr(model, "_supports_default_dynamic_cache", lambda: False)():
        return False
    if model.generation_config.cache_implementation not in (None, "dynamic", "hybrid"):
        return False
    if any(hasattr(module, "rope_deltas") for module in model.modules()):
        return False
    layers = DynamicCache(config=model.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def layers_of(cache: Any) -> Layers:
    return [(layer.keys, layer.values) for layer in cache.layers]


def cache_from(layers: Layers, config: Any) -> Any:
    """A cache that holds these tensors. They are not copied: growing a plain layer makes new tensors."""
    from transformers import DynamicCache

    cache: Any = DynamicCache(config=config)
    for layer, (keys, values) in zip(cache.layers, layers, strict=True):
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
    return cache


def row_layers(cache: Any, row: int, tokens: int) -> Layers:
    """The last `tokens` columns of one row, in memory of their own unless the cache is that one row."""
    layers = layers_of(cache)
    if layers[0][0].shape[0] == 1 and layers[0][0].shape[2] == tokens:
        return layers
    return [
        (keys[row : row + 1, :, -tokens:].clone(), values[row : row + 1, :, -tokens:].clone())
        for keys, values in layers
    ]


def selected(cache: Any, rows: Sequence[int], tokens: int, config: Any) -> Any:
    """The cache of some of the rows, cropped to the last `tokens` columns."""
    layers = layers_of(cache)
    index = torch.tensor(rows, device=layers[0][0].device)
    return cache_from([(keys[index][:, :, -tokens:], values[index][:, :, -tokens:]) for keys, values in layers], config)


def merged(first: Any, second: Any, config: Any) -> Any:
    """One cache with the rows of both, the shorter padded on the left with columns that are masked."""
    pairs = zip(layers_of(first), layers_of(second), strict=True)
    return cache_from([(_stacked(a[0], b[0]), _stacked(a[1], b[1])) for a, b in pairs], config)


def _stacked(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    tokens = max(first.shape[2], second.shape[2])
    out = first.new_zeros((first.shape[0] + second.shape[0], first.shape[1], tokens, first.shape[3]))
    out[: first.shape[0], :, tokens - first.shape[2] :] = first
    out[first.shape[0] :, :, tokens - second.shape[2] :] = second
    return out
