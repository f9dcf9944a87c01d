"""What the log says, and what it never does."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import Any

import pytest

from lollms_core import LollmsClient, LollmsError
from tests.support.openai_stub import Reply, running
from tests.support.waiting import PATIENCE

SECRETS = ("KEY-SECRET", "PROMPT-SECRET", "ANSWER-SECRET", "QUERY-SECRET")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_says_what_went_where_and_nothing_that_is_secret(caplog: pytest.LogCaptureFixture, asynchronous: bool) -> None:
    caplog.set_level(logging.DEBUG, logger="lollms")
    with running() as stub:
        stub.answer = ["ANSWER-SECRET"]
        refused: list[int] = []

        def busy_once(request: object) -> Reply | None:
            refused.append(1)
            return Reply({"error": "busy"}, 503, headers={"retry-after": "0"}) if len(refused) == 1 else None

        stub.rules.append(busy_once)
        address = f"{stub.url}/v1?api_key=QUERY-SECRET"
        arguments: dict[str, Any] = {"raise_errors": True, "service_key": "KEY-SECRET"}
        with LollmsClient(address, "m", default_generation_mode="openai", **arguments) as client:
            said = asyncio.run(client.agenerate("PROMPT-SECRET")) if asynchronous else client.generate("PROMPT-SECRET")
    assert said == "ANSWER-SECRET"
    lines = [record.getMessage() for record in caplog.records if record.name == "lollms"]
    where = f"POST {stub.url}/v1/chat/completions: status"
    assert [line for line in lines if line.startswith(f"{where} 503 after 0.")]
    assert [line for line in lines if line.startswith("ServerError (status 503): asking again in")]
    assert [line for line in lines if line.startswith(f"{where} 200 after 0.")]
    assert [line for line in lines if line.startswith("openai: finish reason stop after 0.") and "first text" in line]
    assert not [secret for secret in SECRETS if secret in "\n".join(lines)]


def test_says_what_failed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="lollms")
    arguments: dict[str, Any] = {"default_generation_mode": "openai", "raise_errors": True, "max_retries": 0}
    with LollmsClient("http://127.0.0.1:1", "m", **arguments) as client, pytest.raises(LollmsError):
        client.generate("x")
    lines = [record.getMessage() for record in caplog.records]
    assert [
        line for line in lines if line.startswith("POST http://127.0.0.1:1/v1/chat/completions: APIConnectionError")
    ]
    assert [line for line in lines if line.startswith("openai: APIConnectionError after")]


@pytest.mark.parametrize(("level", "shown"), [("debug", True), ("DEBUG", True), ("warning", False), ("", False)])
def test_a_variable_shows_it(level: str, shown: bool) -> None:
    program = "from lollms_core import LollmsClient; LollmsClient(default_generation_mode='echo').generate('hi')"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"LOLLMS_LOG": level}, capture_output=True, text=True, timeout=PATIENCE,
        check=True,
    )  # fmt: skip
    assert ("lollms DEBUG echo: finish reason stop" in done.stderr) is shown
    assert shown or not done.stderr


def test_a_variable_that_names_no_level_is_told() -> None:
    program = "from lollms_core import LollmsClient; LollmsClient(default_generation_mode='echo').generate('hi')"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"LOLLMS_LOG": "loud"}, capture_output=True, text=True, check=True
    )
    assert "LOLLMS_LOG=loud is no level: use debug, info, warning or error" in done.stderr


def test_a_program_without_a_log_hears_nothing_of_it() -> None:
    """Python prints warnings of a logger that has no handler at all."""
    asks = (
        "import logging, lollms_core; lollms_core.LollmsClient; logging.getLogger('lollms').warning('closing failed')"
    )
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert done.stderr == ""
