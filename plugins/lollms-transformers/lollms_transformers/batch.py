"""The rows that are computed together, and how they join and leave."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.utils import GenerateDecoderOnlyOutput

from lollms_core import UnsupportedError
from lollms_transformers import kv
from lollms_transformers.job import Job
from lollms_transformers.loading import LoadedModel, failure
from lollms_transformers.options import TransformersOptions
from lollms_transformers.prefix_cache import PrefixCache
from lollms_transformers.prompts import build_prompt, token_limit
from lollms_transformers.row import Row
from lollms_transformers.sampling import Sampler

__all__ = ["Batch"]

logger = logging.getLogger("lollms.transformers")

_SHORT_PROMPT = 256
"""Prompts up to this length are prefilled together; longer ones alone, where one can use what another computed."""

_CACHE = "cache" if "cache" in GenerateDecoderOnlyOutput.__dataclass_fields__ else "past_key_values"
"""What `generate` calls the cache, among its arguments and in its output. transformers 5.24 renamed both."""

Interrupts = Callable[[bool, bool], bool]
"""Whether to end the segment, given that it can be gone on with, and that the batch has room."""


class Batch:
    """Rows in generation. Used by the engine's thread only."""

    def __init__(self, loaded: LoadedModel, options: TransformersOptions) -> None:
        self.rows: list[Row] = []
        self._loaded = loaded
        self._model = loaded.model
        self._capacity = options.max_batch_size
        self._cache: Any = None
        """Keys and values of all tokens of the rows but the last one, or `None` before the first segment."""
        self._flexible = loaded.generates and kv.supports_surgery(loaded.model)
        """Rows can join and leave between two tokens."""
        self._prefixes = PrefixCache(options.prefix_cache_bytes if self._flexible else 0)
        self._newcomers: list[Row] = []
        self._alone = False
        """The one row has images; it runs to its end by itself."""
        self._threads = torch.get_num_threads()

    # --- joining -----------------------------------------------------------------------------------------------------

    def admit(self, jobs: deque[Job]) -> None:
        """Take up waiting jobs, as many as fit. Their first tokens are computed by the next `advance`."""
        if self.rows and (self._alone or not self._flexible):
            return
        while jobs and len(self.rows) + len(self._newcomers) < self._capacity:
            if jobs[0].request.all_images and (self.rows or self._newcomers):
                return  # it runs alone, after these
            row = self._row(jobs.popleft())
            if row is None:
                continue
            self._newcomers.append(row)
            if row.inputs:
                self._alone = True
                return

    def _row(self, job: Job) -> Row | None:
        """The job's row; `None` if it ended before it began, with the reason in its mailbox."""
        if not job.mailbox.admit():
            return None
        request, loaded = job.request, self._loaded
        try:
            if not loaded.generates:
                raise UnsupportedError(f"{loaded.name} is an encoder: it can embed, not generate")
            prompt = build_prompt(loaded, request)
            sampling = request.sampling
            return Row(
                prompt.tokens,
                token_limit(len(prompt.tokens), loaded.window, sampling),
                Sampler(sampling, self._model._lollms_defaults),
                sampling.stop,
                job.mailbox,
                request.cancel,
                tokenizer=loaded.tokenizer,
                end_tokens=loaded.end_tokens,
                inputs=prompt.inputs,
                threads=sampling.n_threads if "n_threads" in sampling.chosen else None,
            )
        except Exception as error:
            job.mailbox.put(failure(error, "preparing the prompt"))
            return None

    # --- computing ---------------------------------------------------------------------------------------------------

    def advance(self, interrupts: Interrupts) -> None:
        """Prefill the newcomers, then run until a row ends or something else is to be done."""
        groups = self._groups()
        for group in groups:
            if len(groups) == 1 and not self.rows:
                self._run_first(group, interrupts)
                return
            self._prefill(group)
        if self.rows:
            self._run(interrupts)

    def fail(self, error: Exception) -> None:
        """End every row with an error."""
        for row in (*self.rows, *self._newcomers):
            row.fail(error)
        self._reset()
        self._newcomers = []

    def _groups(self) -> list[list[Row]]:
        """The newcomers, in groups to be prefilled together without much padding."""
        rows, self._newcomers = self._newcomers, []
        if not self._flexible or self._alone:
            return [rows] if rows else []
        groups: list[list[Row]] = []
        together: list[Row] = []
        for row in sorted(rows, key=lambda row: len(row.tokens)):
            alone = len(row.tokens) > _SHORT_PROMPT or self._prefixes.match(row.tokens) > 0
            fits = bool(together) and len(row.tokens) <= max(64, 2 * len(together[0].tokens))
            if alone:
                groups.append([row])
            elif fits:
                together.append(row)
            else:
                together = [row]
                groups.append(together)
        return groups

    def _run_first(self, group: list[Row], interrupts: Interrupts) -> None:
        """Prefill and go on in one segment: the common case of a call that is alone."""
        cache = self._known_prefix(group)
        self.rows, self._cache = group, cache
        self._run(interrupts)

    def _prefill(self, group: list[Row]) -> None:
        """Compute the first token of some rows, then put them beside those that are running."""
        cache = self._known_prefix(group)
        try:
            cache = self._segment(group, cache, lambda: True)
        except Exception as error:
            for row in group:
                row.fail(failure(error, "reading the prompt"))
            return
        if len(group) == 1:
            self._remember(group, cache, [0])  # those that wait may begin alike
        cache, group = self._without_finished(group, cache)
        if not group:
            return
        self._cache = kv.merged(self._cache, cache, self._model.config) if self.rows else cache
        self.rows = [*self.rows, *group]

    def _run(self, interrupts: Interrupts) -> None:
        pausable = self._flexible and not self._alone
        has_room = len(self.rows) < self._capacity
        try:
            cache = self._segment(self.rows, self._cache, lambda: interrupts(pausable, has_room))
        except Exception as error:
            wrapped = failure(error, "generating")
            for row in self.rows:
                row.fail(wrapped)
            self._reset()
            return
        if not pausable:
            # The cache cannot be cut. Rows are left only if the engine is being closed.
            self.rows = [row for row in self.rows if not row.finished]
            self._alone = self._alone and bool(self.rows)
            self._cache = None
            return
        self._remember(self.rows, cache, [index for index, row in enumerate(self.rows) if row.finished])
        self._cache, self.rows = self._without_finished(self.rows, cache)

    def _segment(self, rows: Sequence[Row], cache: Any, ends: Callable[[], bool]) -> Any:
        """Run `generate` until a row ends or `ends` says so. Returns the cache of all tokens but the last."""
        pad = self._loaded.pad_token
        tokens, mask = _left_padded([row.tokens for row in rows], pad, self._loaded.device)
        config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=max(row.remaining for row in rows),
            do_sample=False,
            pad_token_id=pad,
            return_dict_in_generate=True,
            use_cache=True,
        )
        steps = _Steps(rows, ends, splits=self._flexible and not self._alone)
        known = {} if cache is None else {_CACHE: cache}
        self._set_threads(rows)
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=tokens,
                attention_mask=mask,
                generation_config=config,
                logits_processor=LogitsProcessorList([_Choice(rows)]),
                stopping_criteria=StoppingCriteriaList([steps]),
                **known,
                **(rows[0].inputs if self._alone else {}),
            )
        return getattr(output, _CACHE)

    def _set_threads(self, rows: Sequence[Row]) -> None:
        """The largest `n_threads` that a row asks for, else what torch began with."""
        wanted = max((row.threads for row in rows if row.threads), default=self._threads)
        if wanted != torch.get_num_threads():
            torch.set_num_threads(wanted)

    # --- leaving and remembering -------------------------------------------------------------------------------------

    def _without_finished(self, rows: list[Row], cache: Any) -> tuple[Any, list[Row]]:
        left = [index for index, row in enumerate(rows) if not row.finished]
        if len(left) == len(rows):
            return cache, rows
        if not left:
            return None, []
        remaining = [rows[index] for index in left]
        columns = max(len(row.tokens) for row in remaining) - 1
        return kv.selected(cache, left, columns, self._model.config), remaining

    def _known_prefix(self, group: list[Row]) -> Any:
        if not self._flexible or len(group) != 1:
            return None
        length, layers = self._prefixes.lookup(group[0].tokens)
        if layers is None:
            return None
        group[0].cached = length
        return kv.cache_from(layers, self._model.config)

    def _remember(self, rows: Sequence[Row], cache: Any, indices: Sequence[int]) -> None:
        """Keep what was computed for some of the rows, for prompts that begin like them."""
        if not self._prefixes.limit:
            return
        for index in indices:
            row = rows[index]
            self._prefixes.store(row.tokens[: row.computed], kv.row_layers(cache, index, row.computed))

    def _reset(self) -> None:
        self.rows, self._cache, self._alone = [], None, False


def _left_padded(rows: Sequence[list[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows as one tensor, and the mask of their own columns."""
    width = max(map(len, rows))
    tokens = [[pad] * (width - len(row)) + row for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)


class _Choice(LogitsProcessor):
    """Chooses the token of each row that does not just take the highest score, and leaves no other choice."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = [(index, row) for index, row in enumerate(rows) if not row.sampler.plain]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        for index, row in self._rows:
            if row.finished:
                continue
            try:
                token = row.sampler.pick(scores[index], row.tokens)
            except Exception as error:
                row.fail(failure(error, "choosing a token"))
                continue
            scores[index] = -torch.inf
            scores[index, token] = 0.0
        return scores


class _Steps(StoppingCriteria):
    """Hands each new token to its row, and says which rows are done.

    Args:
        splits: the segment ends with the first row that is done; otherwise when all are.
    """

    def __init__(self, rows: Sequence[Row], ends: Callable[[], bool], *, splits: bool) -> None:
        self._rows = rows
        self._ends = ends
        self._splits = splits
        self._over = False

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        # On some devices `generate` stops one token late and takes it back: that one is nobody's.
        if not self._over:
            for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
                self._step(row, token)
            finished = [row.finished for row in self._rows]
            self._over = all(finished) or (self._splits and any(finished)) or self._ends()
            if not self._over:
                return torch.tensor(finished, device=input_ids.device)
        return torch.ones(len(self._rows), dtype=torch.bool, device=input_ids.device)

    @staticmethod
    def _step(row: Row, token: int) -> None:
        if row.finished:
            return
        if row.unwanted:
            row.cancel()
            return
        row.accept(token)
