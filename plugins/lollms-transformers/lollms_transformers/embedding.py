"""Vectors of texts: the mean of the last layer's states over the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lollms_core import ContextWindowError, InvalidRequestError
from lollms_transformers.loading import LoadedModel

__all__ = ["embed"]


def embed(loaded: LoadedModel, texts: Sequence[str], batch_size: int) -> list[list[float]]:
    """One vector for each text, of the model's hidden size, not normalised.

    Raises:
        ContextWindowError: a text is longer than the model's window.
        InvalidRequestError: a text has no tokens.
    """
    with loaded.tokenizer_lock:
        tokens = [loaded.tokenizer(text)["input_ids"] for text in texts]
    for number, ids in enumerate(tokens):
        if not ids:
            raise InvalidRequestError(f"text {number} has no tokens to embed")
        if loaded.window is not None and len(ids) > loaded.window:
            raise ContextWindowError(f"text {number} has {len(ids)} tokens, but the model's window has {loaded.window}")
    vectors: list[list[float]] = [[]] * len(tokens)
    by_length = sorted(range(len(tokens)), key=lambda number: len(tokens[number]))
    for start in range(0, len(by_length), batch_size):
        numbers = by_length[start : start + batch_size]
        for number, vector in zip(numbers, _pooled(loaded, [tokens[number] for number in numbers]), strict=True):
            vectors[number] = vector
    return vectors


def _pooled(loaded: LoadedModel, rows: list[list[int]]) -> Any:
    width = max(map(len, rows))
    padded = [row + [loaded.pad_token] * (width - len(row)) for row in rows]
    ids = torch.tensor(padded, device=loaded.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=loaded.device)
    with torch.inference_mode():
        # `base_model` is the model without its language head.
        states = loaded.model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    weights = mask.unsqueeze(-1).float()
    return ((states * weights).sum(dim=1) / weights.sum(dim=1)).cpu().tolist()
