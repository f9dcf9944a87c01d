"""How long `import lollms_core` takes, beside what a user would import instead, and what it loads.

    hatch run bench:python benchmarks/imports.py

Each import runs in a fresh process, in turn, several times; medians, and ratios to `lollms_core`. The time of an empty
interpreter is taken off.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

PACKAGES = ("lollms_core", "lollms_client", "llm", "openai", "any_llm", "aisuite", "litellm")
HEAVY = ("requests", "tiktoken", "torch", "click", "pydantic", "aiohttp")
RUNS = 7


def seconds(code: str) -> float:
    """Wall seconds of a process that runs `code`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


def importable(package: str) -> bool:
    """Whether a package is installed here."""
    return subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True).returncode == 0


def main() -> None:
    """Print the table."""
    present = [package for package in PACKAGES if importable(package)]
    times: dict[str, list[float]] = {package: [] for package in present}
    empty: list[float] = []
    for _ in range(RUNS):
        empty.append(seconds("pass"))
        for package in present:
            times[package].append(seconds(f"import {package}"))
    base = statistics.median(empty)
    ours = statistics.median(times["lollms_core"]) - base
    print(f"{'import':16}{'ms':>8}{'ratio to lollms_core':>24}")
    for package in present:
        own = statistics.median(times[package]) - base
        print(f"{package:16}{own * 1e3:8.0f}{own / ours:24.1f}")
    for package in sorted(set(PACKAGES) - set(present)):
        print(f"{package:16} not installed")
    code = f"import lollms_core, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    print(f"of {', '.join(HEAVY)}, `import lollms_core` loads: {loaded}")


if __name__ == "__main__":
    main()
