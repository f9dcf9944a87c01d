"""Downloading a model on request: tried with a model that the author names."""

from __future__ import annotations

import asyncio

import pytest

from lollms_core import PullProgress
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting

__all__ = ["Downloads"]

_WHY = "users of a download that takes an hour see how far it is, or take it for hung."


class Downloads(Setting):
    """What is downloaded tells how far it is."""

    @behaviour
    def test_download_tells_its_progress(self) -> None:
        if not self.capabilities.pull:
            pytest.skip("the backend does not declare pull, so users are told that it cannot download models")
        name = self.model_to_pull
        if name is None:
            pytest.skip(
                "nothing may be downloaded: `model_to_pull` would name a model that the kit may download, such as one "
                "of a stub server"
            )

        async def main() -> list[PullProgress]:
            return [step async for step in self.client.apull_model(name)]

        self._must_be_progress(f"pull_model({name!r})", list(self.client.pull_model(name)))
        self._must_be_progress(f"apull_model({name!r})", asyncio.run(main()))

    def _must_be_progress(self, call: str, steps: list[PullProgress]) -> None:
        __tracebackhide__ = True
        require(steps, f"{call} ended without a word", _WHY)
        for step in steps:
            require(
                isinstance(step, PullProgress)
                and isinstance(step.status, str)
                and step.status
                and all(size is None or (type(size) is int and size >= 0) for size in (step.completed, step.total))
                and (step.completed is None or step.total is None or step.completed <= step.total),
                f"{call} gave {step!r}, not a PullProgress with a status, and sizes in bytes or None",
                _WHY,
            )
