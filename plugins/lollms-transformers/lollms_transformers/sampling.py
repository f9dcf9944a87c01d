"""Choosing the next token of one row, from the scores that the model gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lollms_core import BackendError, SamplingParams

__all__ = ["Sampler"]


class Sampler:
    """One row's way of choosing. Its random numbers are its own, so that a seed gives the same answer in any batch.

    The order is that of transformers: repetition penalty, temperature, top_k, top_p, min_p.

    Args:
        params: what the caller wants; `None` means what the checkpoint's generation config says.
        defaults: that generation config.
    """

    def __init__(self, params: SamplingParams, defaults: Mapping[str, Any]) -> None:
        sampled_by_default = bool(defaults.get("do_sample"))

        def value(name: str, given: float | None, neutral: float) -> float:
            if given is not None:
                return given
            own = defaults.get(name)
            return own if own is not None and (sampled_by_default or name == "repetition_penalty") else neutral

        self.temperature = value("temperature", params.temperature, 1.0 if sampled_by_default else 0.0)
        self.top_k = int(value("top_k", params.top_k, 0))
        self.top_p = value("top_p", params.top_p, 1.0)
        self.min_p = value("min_p", params.min_p, 0.0)
        self.penalty = value("repetition_penalty", params.repeat_penalty, 1.0)
        self.last_n = -1 if params.repeat_last_n is None else params.repeat_last_n
        self.plain = self.temperature <= 0 and (self.penalty == 1.0 or self.last_n == 0)
        """The highest score wins: nothing to do here."""
        self._generator: torch.Generator | None = None
        if self.temperature > 0:
            self._generator = torch.Generator()
            if params.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(params.seed % 2**64)

    def pick(self, scores: torch.Tensor, tokens: list[int]) -> int:
        """The next token. `scores`: one value for each token of the vocabulary; `tokens`: prompt and answer so far."""
        if self.penalty != 1.0 and self.last_n != 0:
            scores = self._penalised(scores, tokens if self.last_n < 0 else tokens[-self.last_n :])
        if self._generator is None:
            return int(scores.argmax())
        if 0 < self.top_k < scores.shape[-1]:
            values, candidates = scores.topk(self.top_k)
        else:
            values, candidates = scores.sort(descending=True)
        # The random numbers come from the CPU, so that a seed means the same on every device.
        values, candidates = values.float().cpu(), candidates.cpu()
        weights = ((values - values[0]) / self.temperature).softmax(dim=-1)
        if self.top_p < 1.0:
            weights[weights.cumsum(dim=-1) - weights > self.top_p] = 0.0
        if self.min_p > 0.0:
            weights[weights < self.min_p * weights[0]] = 0.0
        if not torch.isfinite(weights[0]):
            raise BackendError(
                "the model's scores are not numbers", hint="Half precision may overflow: try dtype='float32'."
            )
        return int(candidates[torch.multinomial(weights, 1, generator=self._generator)])

    def _penalised(self, scores: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        scores = scores.clone()
        seen = torch.tensor(sorted(set(tokens)), device=scores.device)
        values = scores[seen]
        scores[seen] = torch.where(values < 0, values * self.penalty, values / self.penalty)
        return scores
