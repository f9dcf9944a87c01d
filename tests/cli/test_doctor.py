"""`lollms doctor`: it always works, and says what to do."""

from __future__ import annotations

import json
import socket

import pytest

from tests.support.lollms_stub import LollmsStub
from tests.support.ollama_server import OllamaServer

WORKING = """
    from lollms_core import Backend, Chunk, hookimpl
    class Working(Backend):
        @hookimpl
        def generate(self, request):
            yield Chunk("hi")
"""
BROKEN = "import no_such_module_anywhere"
EXITING = "import sys; sys.exit('leaving')"
MISSPELT = WORKING.replace("Working", "Misspelt").replace("generate", "genrate")
HANGING = """
    import threading
    threading.Event().wait()
"""
REFUSING = """
    from lollms_core import AuthenticationError, Backend, Chunk, hookimpl
    class Refusing(Backend):
        @hookimpl
        def generate(self, request):
            yield Chunk("hi")
        @hookimpl
        def list_models(self, request):
            raise AuthenticationError(
                f"the server does not accept the key {self.settings.api_key.get_secret_value()}", hint="Get a new one."
            )
"""


def findings(result) -> dict:
    report = json.loads(result.stdout)
    return {name: found["status"] for name, found in report["formats"].items()} | {"problems": report["problems"]}


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_all_is_well(lollms):
    result = lollms("doctor", "echo", "-f", "echo")
    assert result.exit_code == 0
    assert "✓ echo  ready: 1 model" in result.stdout
    assert "Chosen format: echo (option --format)" in result.stdout
    assert result.stdout.endswith('All is well: `lollms generate "Hello!"` will ask echo.\n')


def test_broken_formats_are_findings_next_to_working_ones(lollms, strangers):
    for source, name in ((BROKEN, "broken"), (EXITING, "exiting"), (MISSPELT, "misspelt"), (WORKING, "working")):
        strangers.install(source, **{name: name.capitalize()})
    names = ["broken", "exiting", "misspelt", "working"]
    result = lollms("doctor", "-f", "echo", "echo", *names, "--json")
    assert result.exit_code == 1
    assert findings(result) == {
        "echo": "ready",
        "broken": "broken",
        "exiting": "broken",
        "misspelt": "broken",
        "working": "ready",
        "problems": ["broken", "exiting", "misspelt"],
    }
    text = lollms("doctor", "-f", "echo", "echo", *names).stdout
    assert "No module named 'no_such_module_anywhere'" in text
    assert "SystemExit: leaving" in text
    assert "To be seen to: broken, exiting, misspelt." in text
    assert "`lollms doctor --debug` shows the tracebacks." in text
    assert "Traceback" not in text


def test_debug_shows_the_tracebacks(lollms, strangers):
    module = strangers.install(BROKEN, broken="Broken")
    text = lollms("doctor", "-f", "echo", "broken", "--debug").stdout
    assert "--- broken\nTraceback (most recent call last)" in text
    assert f"{module}.py" in text
    assert "ModuleNotFoundError: No module named 'no_such_module_anywhere'" in text


def test_other_commands_do_not_mind_a_broken_format(lollms, strangers):
    strangers.install(EXITING, exiting="Exiting")
    assert lollms("generate", "-f", "echo", "hi").stdout == "hi\n"


def test_a_format_that_hangs_stops_nobody(shell, strangers):
    strangers.install(HANGING, hanging="Hanging")
    result = shell("doctor", "-f", "echo", "echo", "hanging", "--timeout", "4", "--json")
    assert result.returncode == 0, result.stdout
    assert findings(result) == {"echo": "ready", "hanging": "no answer", "problems": []}


def test_a_server_that_is_not_there_is_a_problem_where_it_was_chosen(lollms):
    address = f"http://127.0.0.1:{free_port()}"
    result = lollms("doctor", "lollms", "--host-address", address, "--json")
    assert result.exit_code == 1
    assert findings(result) == {"lollms": "unreachable", "problems": ["lollms"]}
    result = lollms("doctor", "lollms", "echo", env={"LOLLMS_FORMAT": "echo"})
    assert result.exit_code == 0
    assert "- lollms  unreachable" in result.stdout


def test_a_server_that_says_nothing_is_given_up(lollms):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        result = lollms("doctor", "lollms", "--host-address", address, "--timeout", "0.5", "--json")
    assert result.exit_code == 1
    assert findings(result)["lollms"] in ("unreachable", "no answer")


def test_the_address_and_the_key_of_the_chosen_format_go_to_no_other(lollms, strangers):
    strangers.install(
        """
        from lollms_core import Backend, BackendError, Chunk, hookimpl
        class Telling(Backend):
            @hookimpl
            def generate(self, request):
                yield Chunk("hi")
            @hookimpl
            def list_models(self, request):
                raise BackendError(f"{self.settings.host_address} {self.settings.api_key}")
        """,
        telling="Telling",
    )
    environment = {"LOLLMS_HOST_ADDRESS": "http://somewhere:1", "LOLLMS_API_KEY": "sk-123456"}
    result = lollms("doctor", "-f", "echo", "telling", "--json", env=environment)
    assert json.loads(result.stdout)["formats"]["telling"]["detail"] == "None None"
    result = lollms("doctor", "-f", "telling", "telling", "--json", env=environment)
    assert json.loads(result.stdout)["formats"]["telling"]["detail"] == "http://somewhere:1 **********"


def test_a_refused_key_is_said_and_not_shown(lollms, strangers):
    strangers.install(REFUSING, refusing="Refusing")
    result = lollms("doctor", "refusing", "-f", "refusing", "--debug", env={"LOLLMS_API_KEY": "sk-123456"})
    assert result.exit_code == 1
    assert "✗ refusing  failed" in result.stdout
    assert "the server does not accept the key ***" in result.stdout
    assert "→ Get a new one." in result.stdout
    assert "sk-123456" not in result.output


def test_a_format_that_is_not_installed(lollms):
    result = lollms("doctor", "-f", "ecco", "ecco")
    assert result.exit_code == 1
    assert "✗ ecco  not installed" in result.stdout
    assert "Did you mean 'echo'?" in result.stdout


def test_a_broken_configuration_does_not_stop_it(lollms, config):
    config("format = \n")
    result = lollms("doctor", "echo", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert "not valid TOML" in report["config"]["error"]
    assert report["formats"]["echo"]["status"] == "ready"
    assert "the configuration file" in report["problems"]
    assert "not valid TOML" in lollms("doctor", "echo").stdout


def test_a_wrong_variable_does_not_stop_it(lollms):
    result = lollms("doctor", "echo", "-f", "echo", env={"LOLLMS_SEED": "x"})
    assert result.exit_code == 0
    assert "! LOLLMS_SEED must be an integer, not 'x'" in result.stdout


def test_remarks(lollms, config):
    path = config("[formats.echo]\napi_key = 'sk-123456'\n")
    path.chmod(0o644)
    result = lollms("doctor", "echo", "-f", "echo", env={"LOLLMS_MODLE": "x"})
    assert "the variable LOLLMS_MODLE is not known; did you mean LOLLMS_MODEL?" in result.stdout
    assert f"chmod 600 {path}" in result.stdout
    path.chmod(0o600)
    assert "chmod" not in lollms("doctor", "echo", "-f", "echo").stdout


def test_extensions_are_checked(lollms, strangers):
    group = "lollms.extensions"
    strangers.install(BROKEN, group=group, broken="Plugin")
    strangers.install("class Plugin: pass", group=group, working="Plugin")
    result = lollms("doctor", "echo", "-f", "echo", "--debug")
    assert result.exit_code == 1
    assert "✓ extension working" in result.stdout
    assert "✗ extension broken: the extension 'broken' of " in result.stdout
    assert "--- the extension broken\nTraceback" in result.stdout
    assert "To be seen to: the extension broken." in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("limit", ["0", "-1", "soon"])
def test_a_time_that_is_none_is_wrong_usage(lollms, limit):
    assert lollms("doctor", "--timeout", limit).exit_code == 2


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("tiny", "ready", "tiny chosen"),
        ("tiny:latest", "ready", "tiny:latest chosen"),
        ("tinny", "no model", "tinny"),
        ("tiny-embed", "no model", "cannot answer prompts"),
    ],
)
def test_a_model_is_there_and_can_answer(lollms, model, status, said):
    with OllamaServer() as server:
        result = lollms("doctor", "ollama", "-f", "ollama", "-m", model, "--host-address", server.address, "--json")
    report = json.loads(result.stdout)
    assert report["formats"]["ollama"]["status"] == status
    assert said in report["formats"]["ollama"]["detail"]
    assert result.exit_code == (0 if status == "ready" else 1)
    assert report["problems"] == ([] if status == "ready" else ["ollama"])


def test_a_server_without_any_model_is_not_well(lollms):
    with OllamaServer(models={}) as server:
        result = lollms("doctor", "ollama", "-f", "ollama", "--host-address", server.address)
    assert result.exit_code == 1
    assert "--pull NAME" in result.stdout
    assert "All is well" not in result.stdout


def test_a_lollms_server_without_a_loaded_model(lollms):
    with LollmsStub(models=()) as stub:
        result = lollms("doctor", "lollms", "-f", "lollms", "--host-address", stub.address)
    assert result.exit_code == 1
    assert "no model" in result.stdout
    assert "All is well" not in result.stdout


def test_a_lollms_server_names_its_active_model(lollms):
    with LollmsStub() as stub:
        result = lollms("doctor", "lollms", "-f", "lollms", "--host-address", stub.address)
    assert result.exit_code == 0
    assert "stub-model by default" in result.stdout
