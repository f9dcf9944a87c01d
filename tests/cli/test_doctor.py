"""`lollms doctor`: it always works, and says what to do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

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


LIBRARIES = ["litellm", "torch", "transformers", "openai", "vllm", "lollms_ollama", "lollms_transformers"]


def findings(result) -> dict[str, Any]:
    report = json.loads(result.stdout)
    return {name: found["status"] for name, found in report["formats"].items()} | {"problems": report["problems"]}


def test_all_is_well(lollms):
    result = lollms("doctor", "echo", "-f", "echo")
    assert result.exit_code == 0
    assert "✓ echo  ready: 1 model" in result.stdout
    assert "Chosen format: echo (option --format)" in result.stdout
    assert result.stdout.endswith('All is well: `lollms generate -f echo "Hello!"` will ask echo.\n')


UNASKED = """
    from lollms_core import Backend, Chunk, ModelInfo, hookimpl

    class Unasked(Backend):
        contract_version = 1

        @hookimpl
        def generate(self, request):
            yield Chunk("hi", finish_reason="stop")

        @hookimpl
        def list_models(self, request):
            return [ModelInfo(name="small")]

        @hookimpl
        def model_info(self, request):
            return ModelInfo(name="small", metadata={"asked": False})
"""


def test_a_format_that_cannot_ask_before_the_first_question(lollms, strangers):
    strangers.install(UNASKED, unasked="Unasked")
    result = lollms("doctor", "-f", "unasked")
    assert result.exit_code == 0
    assert re.search(r"- unasked +not asked", result.stdout)
    assert "only a question shows whether its provider answers" in result.stdout
    assert "All is well" not in result.stdout
    assert "Nothing is wrong as far as can be seen" in result.stdout


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
    assert "Needs attention: broken, exiting, misspelt." in text
    assert "--debug shows the tracebacks." in text
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
    result = shell("doctor", "-f", "echo", "hanging", "--timeout", "2", "--json")
    assert result.returncode == 1, result.stdout
    assert findings(result) == {"echo": "ready", "hanging": "no answer", "problems": ["hanging"]}


ABSENT = WORKING.replace("Working", "Absent").replace("Chunk, hookimpl", "APIConnectionError, Chunk, hookimpl") + (
    """
        @hookimpl
        def list_models(self, request):
            raise APIConnectionError("nobody is there")
"""
)


def test_what_was_asked_for_must_answer(lollms, only_strangers):
    only_strangers.install(ABSENT, absent="Absent")
    result = lollms("doctor", "--all", "-f", "echo")
    assert result.exit_code == 0
    assert "✓ echo    ready" in result.stdout
    assert "- absent  unreachable" in result.stdout
    for arguments in (["absent", "-f", "echo"], ["-f", "absent"], ["absent"]):
        result = lollms("doctor", *arguments)
        assert result.exit_code == 1
        assert "✗ absent  unreachable" in result.stdout
        assert "Needs attention: absent." in result.stdout


def test_what_was_not_asked_for_is_not_imported(lollms, only_strangers):
    only_strangers.install("raise SystemExit('imported')", explosive="Explosive")
    result = lollms("doctor", "-f", "echo")
    assert result.exit_code == 0
    assert "- explosive  installed  stranger_" in result.stdout
    assert "✗ explosive" in lollms("doctor", "-f", "echo", "--all").stdout


def test_libraries_are_not_imported_for_formats_that_were_not_chosen(shell):
    program = (
        "import json, sys\n"
        "from lollms_core._cli.app import cli\n"
        "try: cli(['doctor', '-f', 'echo'], prog_name='lollms')\n"
        "except SystemExit: pass\n"
        f"print(json.dumps([module for module in {LIBRARIES} if module in sys.modules]))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=shell.environment)
    assert json.loads(result.stdout.splitlines()[-1]) == []


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
    result = lollms("doctor", env={"LOLLMS_SEED": "x", "LOLLMS_FORMAT": "echo"})
    assert result.exit_code == 1
    assert "✗ LOLLMS_SEED must be an integer, not 'x'" in result.stdout
    assert "✓ echo" in result.stdout
    assert "Needs attention: the variable LOLLMS_SEED." in result.stdout


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
    strangers.install("from lollms_core import Extension as Plugin", group=group, working="Plugin")
    result = lollms("doctor", "echo", "-f", "echo", "--debug")
    assert result.exit_code == 1
    assert "✓ extension working" in result.stdout
    assert "✗ extension broken: the extension 'broken' of " in result.stdout
    assert "--- the extension broken\nTraceback" in result.stdout
    assert "Needs attention: the extension broken." in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("format", [["echo"], ["-f", "echo"], ["echo", "-f", "echo"]])
def test_an_extension_of_the_command_line_is_started(lollms, strangers, format):
    failing = """
        from lollms_core import Extension
        class Plugin(Extension):
            def start(self):
                raise ValueError("no folder")
    """
    strangers.install(failing, group="lollms.extensions", failing="Plugin")
    result = lollms("doctor", *format, "-x", "failing")
    assert result.exit_code == 1
    assert "no folder" in result.stdout


def test_an_extension_that_is_not_installed_is_told_with_what_to_do(lollms):
    result = lollms("doctor", "echo", env={"LOLLMS_EXTENSIONS": "nope"})
    assert result.exit_code == 1
    assert "no extension 'nope' is installed\n    → Install the package that provides it." in result.stdout
    assert "environment LOLLMS_EXTENSIONS" in result.stdout


PANICKING = "class PanicException(BaseException): pass\nraise PanicException('index out of bounds')"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (HANGING, "no answer within 3 seconds"),
        (PANICKING, "the extension 'bad' of MODULE cannot be loaded: PanicException: index out of bounds"),
        ("raise KeyboardInterrupt('oh')", "KeyboardInterrupt: oh"),
    ],
)
def test_an_extension_that_hangs_or_panics_stops_no_other(shell, strangers, source, said):
    group = "lollms.extensions"
    strangers.install("from lollms_core import Extension as Plugin", group=group, before="Plugin")
    module = strangers.install(source, group=group, bad="Plugin")
    strangers.install("from lollms_core import Extension as Plugin", group=group, working="Plugin")
    result = shell("doctor", "echo", "-f", "echo", "--timeout", "3", "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 1
    assert report["extensions"] == {"before": None, "bad": said.replace("MODULE", module), "working": None}
    assert report["problems"] == ["the extension bad"]
    assert report["formats"]["echo"]["status"] == "ready"


def test_an_extension_may_be_called_like_a_format(lollms, strangers):
    strangers.install(BROKEN, group="lollms.extensions", echo="Plugin")
    report = json.loads(lollms("doctor", "echo", "-f", "echo", "--json").stdout)
    assert report["formats"]["echo"]["status"] == "ready"
    assert report["problems"] == ["the extension echo"]


NOT_TEXT = b"\xff\xfe"


def test_entry_points_that_are_not_text_are_a_remark(lollms, strangers, tmp_path):
    module = strangers.install(WORKING, unreadable="Working")
    strangers.install(WORKING, working="Working")
    (tmp_path / "site" / f"{module}-1.0.dist-info" / "entry_points.txt").write_bytes(NOT_TEXT)
    result = lollms("doctor", "working")
    assert result.exit_code == 0
    assert "✓ working  ready" in result.stdout
    assert f"! the entry points of {module} cannot be read (UnicodeDecodeError: " in " ".join(result.stdout.split())


def test_metadata_that_are_not_text_stop_nobody(lollms, strangers, tmp_path):
    names = {"hidden": "Working", "echo": "Working"}
    hidden, gone, working = (
        strangers.install(WORKING, **each) for each in (names, {"gone": "W"}, {"working": "Working"})
    )
    site = tmp_path / "site"
    (site / f"{gone}.py").unlink()
    for module in (hidden, gone):
        (site / f"{module}-1.0.dist-info" / "METADATA").write_bytes(NOT_TEXT)
    with (site / f"{working}-1.0.dist-info" / "METADATA").open("a") as file:
        file.write(f"Requires-Dist: {hidden}>=1\n")
    result = lollms("doctor", "-f", "echo")
    assert result.exit_code == 1
    assert "✓ echo" in result.stdout
    assert "- hidden" in result.stdout
    assert "- working" in result.stdout
    assert f"the module {gone} of unknown is missing\n    → Reinstall it.\n" in result.stdout
    assert "lollms-core and an unknown package both provide the format echo" in result.stdout
    assert "Needs attention: gone." in result.stdout
    assert findings(lollms("doctor", "hidden", "working", "-f", "working", "--json")) == {
        "working": "ready",
        "hidden": "ready",
        "problems": [],
    }


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
