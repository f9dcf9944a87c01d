"""Two thousand short calls on one client, sync and async, leave nothing behind. `benchmarks/soak.py` makes more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import PATIENCE

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"
WORKERS = 4
LEEWAY = 1.0
"""Megabytes, for what an allocator takes in passing. A kilobyte left behind by each call would be more."""


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(SOAK), "2000", "--json", "--workers", str(WORKERS)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["kind"]: row for row in rows}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_calls_leave_behind(found: dict[str, dict[str, Any]], kind: str) -> None:
    first, *others = found[kind]["rows"]
    assert others[-1]["calls"] == 2000
    for row in (first, *others):
        assert 0 < row["sockets"] <= WORKERS
        assert row["threads"] <= 1 + (WORKERS if kind == "sync" else 0)
        assert row["files"] - row["sockets"] == first["files"] - first["sockets"]
        assert row["mb"] - first["mb"] < LEEWAY


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_closed_client_holds_no_connection_and_no_thread(found: dict[str, dict[str, Any]], kind: str) -> None:
    closed = found[kind]["after closing"]
    assert (closed["sockets"], closed["threads"]) == (0, 1)
