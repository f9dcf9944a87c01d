"""Estimating token counts for models whose tokenizer is on the server, corrected by what the server reports.

Ollama has no route that tokenizes. What it does say, after each answer, is how many tokens the prompt had. So the last
prompts of a model are kept, with their counts, and an estimate is scaled by how far it was off for those.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["TokenMeter"]

_KEPT_SAMPLES = 8
_KEPT_BYTES = 64 * 1024
_KEPT_MODELS = 16
_LEAST_BYTES = 600
"""A shorter prompt says more about the chat template around it than about the text."""
_LEAST_RAW_BYTES = 120
_TEMPLATE_TOKENS = 6
"""What a chat template adds for a message: the marks around it and its role, between 3 and 10 in common templates."""
_LIKELY = (0.25, 5.0)
"""Tokens of a model for one of the estimate. Beyond it, the server counted something else, such as the part of the
prompt that was not in its cache."""

Count = Callable[[str], int]


class _Sample(NamedTuple):
    text: str
    tokens: int


@dataclass(slots=True)
class _Model:
    samples: deque[_Sample] = field(default_factory=deque)
    size: int = 0
    factors: dict[str, float | None] = field(default_factory=dict)
    """By the name of the estimate; forgotten with every new sample."""


class TokenMeter:
    """Learns, per model, how far an estimate is off. Thread-safe; keeps a million characters at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: OrderedDict[str, _Model] = OrderedDict()

    def learn(self, model: str, texts: Sequence[str], reported: int, *, raw: bool) -> None:
        """Remember that the server counted `reported` tokens for a prompt of these texts.

        Prompts that were cut, or that had images, must not come here. Cheap: nothing is counted before it is asked for.

        Args:
            texts: the messages' contents, or the one raw text.
            raw: it went to the model without a template.
        """
        text = "\n".join(texts)
        tokens = reported if raw else reported - _TEMPLATE_TOKENS * len(texts)
        if not (_LEAST_RAW_BYTES if raw else _LEAST_BYTES) <= len(text) <= _KEPT_BYTES or tokens <= 0:
            return
        with self._lock:
            known = self._models.setdefault(model, _Model())
            self._models.move_to_end(model)
            while len(self._models) > _KEPT_MODELS:
                self._models.popitem(last=False)
            known.factors.clear()
            known.samples.append(_Sample(text, tokens))
            known.size += len(text)
            while len(known.samples) > _KEPT_SAMPLES or known.size > _KEPT_BYTES:
                known.size -= len(known.samples.popleft().text)

    def factor(self, model: str, estimate: str, count: Count) -> float | None:
        """Tokens of the model for one of the estimate; `None` as long as nothing is known.

        Args:
            estimate: the name of the estimate, under which the factor is remembered.
            count: the estimate itself.
        """
        with self._lock:
            known = self._models.get(model)
            if known is None:
                return None
            if estimate in known.factors:
                return known.factors[estimate]
            samples = tuple(known.samples)
        found = _factor(samples, count)
        with self._lock:
            if tuple(known.samples) == samples:
                known.factors[estimate] = found
        return found


def _factor(samples: Sequence[_Sample], count: Count) -> float | None:
    """The mean over the samples, by their length.

    A server that counts only what was not in its cache counts too little, never too much; so samples below half of the
    highest are left out.
    """
    low, high = _LIKELY
    pairs = [(sample.tokens, count(sample.text)) for sample in samples]
    pairs = [(theirs, ours) for theirs, ours in pairs if ours and low <= theirs / ours <= high]
    if not pairs:
        return None
    best = max(theirs / ours for theirs, ours in pairs)
    whole = [(theirs, ours) for theirs, ours in pairs if theirs / ours >= best / 2]
    return sum(theirs for theirs, _ in whole) / sum(ours for _, ours in whole)
