"""The command in this process (`lollms`) and as a process of its own (`shell`), both far from the user's own files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lollms_core._cli.app import cli

RECORDER = """
    import json
    from lollms_core import Backend, Capabilities, Chunk, hookimpl
    from pydantic import BaseModel, SecretStr

    class Options(BaseModel):
        depth: int = 0
        label: str = ""
        token: SecretStr | None = None
        verbose_secret: SecretStr | None = None

    class Recorder(Backend):
        '''Answers with what it was asked and how it was set up.'''
        Options = Options
        capabilities = Capabilities(
            options=frozenset({
                "messages", "n_predict", "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n",
                "seed", "n_threads", "stop", "system_prompt", "json_schema", "think", "personality", "ctx_size",
            }),
            vision=True, raw_prompt=True,
        )

        @hookimpl
        def generate(self, request):
            sampling = request.sampling
            yield Chunk(json.dumps({
                "prompt": request.prompt,
                "messages": [[m.role, m.text] for m in request.messages],
                "system": request.system_prompt,
                "images": len(request.all_images),
                "model": request.model,
                "completion_format": request.completion_format.name,
                "chosen": {name: getattr(sampling, name) for name in sorted(sampling.chosen)},
                "schema": dict(request.json_schema or {}),
                "think": request.think,
                "personality": request.personality,
                "host_address": self.settings.host_address,
                "key": self.settings.api_key.get_secret_value()[::-1] if self.settings.api_key else None,
                "headers": sorted(self.settings.headers),
                "verify": self.settings.verify_ssl_certificate,
                "connect": self.settings.timeouts.connect,
                "idle": self.settings.timeouts.idle,
                "retries": self.settings.max_retries,
                "ctx_size": self.settings.ctx_size,
                "options": {"depth": self.options.depth, "label": self.options.label},
            }))
"""
"""A stranger's backend. The key comes back reversed, so that tests can look for it and no output contains it."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without any configuration, and no variable that says something to the command."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith(("LOLLMS_", "XDG_")) or name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    return folder


@pytest.fixture
def config(home: Path):
    """Writes the configuration file."""

    def write(text: str) -> Path:
        path = home / "config" / "lollms" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def lollms():
    """Runs the command in this process; `result.stdout`, `result.stderr`, `result.exit_code`."""

    def run(*args: str, input: str | bytes = "", env: Mapping[str, str] | None = None) -> Result:
        return CliRunner().invoke(cli, list(args), input=input, env=env, prog_name="lollms", catch_exceptions=False)

    return run


@pytest.fixture
def only_strangers(strangers, monkeypatch: pytest.MonkeyPatch):
    """As if none of our own formats were installed but those of the core: they take long to load."""
    import importlib.metadata

    from lollms_core._client import registry

    found: Any = importlib.metadata.entry_points

    def of_strangers(**select: str):
        return [point for point in found(**select) if point.dist is not None and point.dist.name.startswith("stranger")]

    monkeypatch.setattr(importlib.metadata, "entry_points", of_strangers)
    registry.refresh_installed()
    return strangers


class Shell:
    """Runs the command as a process, with strangers' packages on its path."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.command: Sequence[str] = (sys.executable, "-m", "lollms_core")

    @property
    def environment(self) -> dict[str, str]:
        root = Path(__file__).parents[2]
        path = os.pathsep.join([str(self.tmp_path / "site"), str(root)])
        return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def __call__(self, *args: str, input: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *args],
            input=input,
            env={**self.environment, **env},
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.tmp_path,
        )

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *args],
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.tmp_path,
            **options,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def recorder(strangers):
    """The format `recorder`, which answers with what it was asked."""
    strangers.install(RECORDER, recorder="Recorder")
    return "recorder"


@pytest.fixture
def terminal(shell: Shell):
    """Runs the command on a terminal of its own."""
    from tests.cli.terminal import Terminal

    def start(*args: str, columns: int = 100, **env: str) -> Terminal:
        environment = {**shell.environment, "TERM": "xterm-256color", **env}
        return Terminal(*args, environment=environment, folder=shell.tmp_path, columns=columns)

    return start
