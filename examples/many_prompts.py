"""Answer many prompts at once, from threads or from tasks; one client serves them all.

    python examples/many_prompts.py [FORMAT] [MODEL]

Servers take as many as they like; the Transformers format runs calls that wait at the same time as one batch.
"""

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from lollms_client import LollmsClient

PROMPTS = [f"What is {n} times {n}?" for n in range(2, 10)]


def main():
    """Answer the prompts in turn, from threads, and from tasks."""
    format = sys.argv[1] if len(sys.argv) > 1 else "echo"
    model = sys.argv[2] if len(sys.argv) > 2 else None
    options = {} if format == "echo" else {"temperature": 0}  # greedy, so that the answers are the same
    with LollmsClient(
        default_generation_mode=format, model_name=model, n_predict=32, raise_errors=True, **options
    ) as client:
        client.generate("Warm up.", n_predict=1)

        start = time.perf_counter()
        in_turn = [client.generate(prompt) for prompt in PROMPTS]
        print(f"in turn:      {time.perf_counter() - start:6.2f} s")

        start = time.perf_counter()
        with ThreadPoolExecutor(len(PROMPTS)) as pool:
            from_threads = list(pool.map(client.generate, PROMPTS))
        print(f"from threads: {time.perf_counter() - start:6.2f} s")

        start = time.perf_counter()
        from_tasks = asyncio.run(gather(client))
        print(f"from tasks:   {time.perf_counter() - start:6.2f} s")

        print("same answers:", in_turn == from_threads == from_tasks)


async def gather(client):
    """Ask every prompt in a task of its own."""
    return await asyncio.gather(*(client.agenerate(prompt) for prompt in PROMPTS))


if __name__ == "__main__":
    main()
