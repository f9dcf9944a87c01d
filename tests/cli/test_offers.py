"""The first call of somebody who has only just installed this."""

from __future__ import annotations

import pytest

from lollms_core import LollmsError
from lollms_core._cli.session import open_session
from tests.cli.test_doctor import ABSENT, BROKEN

SERVING = """
    from lollms_core import Backend, Capabilities, Chunk, ModelInfo, hookimpl
    class Serving(Backend):
        capabilities = Capabilities(needs_model=True)
        @hookimpl
        def generate(self, request):
            yield Chunk("hi")
        @hookimpl
        def list_models(self, request):
            return [ModelInfo(name="embedder", capabilities=("embedding",)), ModelInfo(name="talker")]
"""


@pytest.fixture
def nobody(monkeypatch):
    """No LoLLMS server on this machine, whatever runs on it."""
    import socket

    from lollms_core._backends.lollms import LollmsBackend

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(LollmsBackend, "default_address", f"http://127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("command", [["generate", "hi"], ["hi there"], ["chat"], ["models"], ["code", "hi"]])
def test_what_would_work_here_is_offered(lollms, nobody, only_strangers, command):
    for name, source in (("absent", ABSENT), ("broken", BROKEN), ("serving", SERVING)):
        only_strangers.install(source, **{name: name.capitalize()})
    result = lollms(*command, input="hi\n")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "Error: no format has been chosen yet, and no LoLLMS server runs at http://localhost:9600",
        "Hint: This would work here:",
        '  lollms generate -t 0 -f serving -m talker "Hello!"',
        "To stay with one:",
        "  lollms config set format serving",
        "  lollms config set formats.serving.model talker",
    ]


def test_a_chat_says_so_before_anything_is_written(nobody, only_strangers, home):
    with pytest.raises(LollmsError, match="no format has been chosen yet"):
        with open_session({}) as session:
            session.look_for_default()
    with open_session({"format": "echo"}) as session:
        session.look_for_default()


def test_where_nothing_would_work_it_says_what_to_install(lollms, nobody, only_strangers):
    result = lollms("generate", "hi")
    assert result.exit_code == 1
    assert "\n  lollms install transformers" in result.stderr
    assert "\n  lollms install ollama" in result.stderr
    assert "doctor" not in result.stderr
    only_strangers.install(ABSENT, absent="Absent")
    assert "lollms doctor --all               what the installed formats still lack" in lollms("generate", "hi").stderr


def test_somebody_who_has_chosen_gets_the_error_itself(lollms, nobody, only_strangers, config):
    for arguments, env in ((["-f", "lollms"], {}), ([], {"LOLLMS_FORMAT": "lollms"})):
        assert "connection refused" in lollms("generate", *arguments, "hi", env=env).stderr
    assert "connection refused" in lollms("generate", "--host-address", "http://127.0.0.1:9", "hi").stderr
    config('format = "lollms"\n')
    assert "connection refused" in lollms("generate", "hi").stderr
