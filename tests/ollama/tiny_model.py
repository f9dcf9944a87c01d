"""A language model of forty tokens, for servers that stand in for real ones.

Its logits are hashes of what it has read, so everything about it repeats; it samples as real engines do, so every
option that changes a real answer changes this one: temperature 0 or a choice of one token gives the greedy answer, a
seed gives the same answer again, a penalty pushes away what was said.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["END", "answer_tokens", "embedding", "json_for", "thinking_tokens", "tokens_of"]

_TOKENS = re.compile(
    r" ?[A-Za-z\u00aa-\u024f]{1,5}|[\u2e80-\ud7ff]| ?[^\W\d_]{1,2}| ?\d{1,3}| ?[^\w\s]|\s|.", re.DOTALL
)
"""About as many as a small vocabulary makes, in any script."""
_WORDS = (
    " the sea is blue and wide; a ship with white sails goes slowly over it, past old towers. "
    "Nobody knows where to: naïve gulls cry “日本語” 👩‍👩‍👧‍👦 é\nthen silence\n\tagain for hours…"
)
END = ""
"""The token that ends an answer."""

_VOCABULARY = (*dict.fromkeys(_TOKENS.findall(_WORDS)), END)
_SHORTEST, _LONGEST = 30, 60


def tokens_of(text: str) -> list[str]:
    """The tokens of a text; together they are the text."""
    return _TOKENS.findall(text)


def answer_tokens(prompt: Sequence[str], options: Mapping[str, Any], luck: int) -> Iterator[str]:
    """The tokens of the answer, as Ollama's options say; ends where the model does.

    Args:
        prompt: the tokens that the model sees.
        luck: takes the place of a seed where none is given.
    """
    seed = options.get("seed", -1)
    rng = random.Random(luck if seed == -1 else seed % 2**32)  # as Ollama 0.33 does
    digest = hashlib.sha256("\0".join(prompt).encode()).digest()
    said: list[str] = []
    while True:
        token = _chosen(_logits(digest, said, options), options, rng)
        if token == END:
            return
        said.append(token)
        yield token


def _logits(digest: bytes, said: Sequence[str], options: Mapping[str, Any]) -> dict[str, float]:
    context = digest + "\0".join(said[-3:]).encode() + bytes([len(said) % 256])
    logits = {}
    for index, token in enumerate(_VOCABULARY):
        noise = hashlib.blake2b(context, key=bytes([index]), digest_size=4).digest()
        logits[token] = 6 * int.from_bytes(noise, "big") / 2**32
    if len(said) < _SHORTEST:
        del logits[END]
    elif len(said) >= _LONGEST:
        logits[END] = 100.0
    penalty, last = options.get("repeat_penalty", 1.0), options.get("repeat_last_n", 64)
    if last:
        for token in set(said if last < 0 else said[-last:]):
            logits[token] /= penalty
    return logits


def _chosen(logits: Mapping[str, float], options: Mapping[str, Any], rng: random.Random) -> str:
    ranked = sorted(logits.items(), key=lambda item: -item[1])
    temperature = options.get("temperature", 0.8)
    if temperature == 0:
        return ranked[0][0]
    if top_k := options.get("top_k", 40):
        ranked = ranked[:top_k]
    weights = [math.exp((logit - ranked[0][1]) / temperature) for _, logit in ranked]
    least = options.get("min_p", 0.0) * weights[0]
    kept: list[tuple[str, float]] = []
    total, mass = sum(weights), 0.0
    for (token, _), weight in zip(ranked, weights, strict=True):
        if kept and (mass >= options.get("top_p", 0.9) * total or weight < least):
            break
        kept.append((token, weight))
        mass += weight
    return rng.choices([token for token, _ in kept], [weight for _, weight in kept])[0]


def thinking_tokens(prompt: Sequence[str], think: bool | str) -> list[str]:
    """What the model thinks before it answers: more at a higher level."""
    count = {True: 6, "low": 3, "medium": 6, "high": 12, "max": 24}[think]
    tokens = answer_tokens([*prompt, "<think>"], {"temperature": 0}, 0)
    return [next(tokens) for _ in range(count)]


def json_for(schema: Any, prompt: Sequence[str]) -> str:
    """A JSON text that satisfies a schema, as a grammar would force it. Strings come from what the model says."""
    words = answer_tokens(prompt, {"temperature": 0}, 0)
    return json.dumps(_value(schema, schema, words), ensure_ascii=False)


def _value(schema: Any, root: Mapping[str, Any], words: Iterator[str]) -> Any:
    if not isinstance(schema, Mapping):
        return None
    if "$ref" in schema:
        part: Any = root
        for step in schema["$ref"].strip("#/").split("/"):
            part = part[step]
        return _value(part, root, words)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {name: _value(part, root, words) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [_value(schema.get("items"), root, words)]
    plain = {"integer": 7, "number": 0.5, "boolean": True, "null": None}
    return plain[kind] if kind in plain else "".join(token for token, _ in zip(words, range(3), strict=False))


def embedding(text: str, size: int = 16) -> list[float]:
    """A vector of length 1 that depends on every character."""
    rng = random.Random(text)
    vector = [rng.gauss(0, 1) for _ in range(size)]
    length = math.sqrt(sum(number * number for number in vector))
    return [number / length for number in vector]
