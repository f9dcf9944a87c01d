"""What a third round of newcomers met: questions taken for slips, a closing line that was false, keys that stayed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from lollms_core import Backend, InvalidRequestError, hookimpl
from lollms_core._cli import toml_edit
from lollms_core._cli.app import cli
from lollms_core._cli.doctor_report import Report


@pytest.fixture
def run(home):
    return lambda *args: CliRunner().invoke(cli, list(args))


def test_a_question_with_an_option_is_a_question(run):
    result = run("what", "is", "the", "capital", "of", "France", "-f", "echo")
    assert result.exit_code == 0, result.output
    assert "capital" in result.output


def test_the_doctor_names_the_format_that_its_command_asks(run, monkeypatch):
    monkeypatch.setattr(Report, "problems", [])  # the chosen format has no server here
    assert run("config", "set", "format", "lollms").exit_code == 0
    assert "will ask echo" in " ".join(run("doctor", "echo").output.split())


@pytest.mark.parametrize("text", ['formats.ollama.model = "x"\n', '[formats]\nollama.model = "x"\n'])
def test_the_last_dotted_key_can_be_taken_out(text):
    assert "model" not in toml_edit.unset_value(text, ("formats", "ollama", "model"))


def test_an_empty_table_can_be_taken_out():
    text = "[formats.ollama.options]\n"
    assert "options" not in toml_edit.unset_value(text, ("formats", "ollama", "options"))


def test_a_nan_elsewhere_is_no_reason_to_refuse():
    assert "b = 1" in toml_edit.set_value("a = nan\n", ("b",), 1)


@pytest.mark.parametrize(
    ("option", "meant"), [("--base-url", "--host-address"), ("--max-tokens", "--n-predict"), ("--provider", "--format")]
)
@pytest.mark.parametrize("before", [(), ("generate",)])
def test_other_names_of_options_lead_to_ours(run, option, meant, before):
    result = run(*before, option, "x", "hi")
    assert result.exit_code == 2
    assert f"There is no option {option}. Did you mean {meant}?" in result.output


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("models", "echo"), "Did you mean -f echo?"),
        (("chat", "echo"), "Did you mean -f echo?"),
        (("chat", "llama3.2"), "Did you mean -m llama3.2?"),
        (
            ("chat", "hello there"),
            "`lollms chat` takes no question: type it there, or ask it alone with lollms 'hello there'",
        ),
        (("ps",), "`lollms models` lists the models"),
        (("rm", "llama3.2"), "such as `ollama rm`"),
        (("models", "list"), "Got unexpected extra argument (list)"),
        (("models", "a", "b"), "Got unexpected extra arguments (a b)"),
        (("-f", "echo", "-O", "api_key=x", "hi"), "Did you mean --api-key-file?"),
        (("-f", "echo", "-O", "self=1", "hi"), "self is not an option of a backend"),
        (("config", "set", "temperature=0.7"), "lollms config set temperature 0.7"),
        (("config", "set", "api_key=hunter2"), "lollms config set api_key"),
        (("embed", "a", " "), "Text 2 is empty, and has no embedding: leave it out."),
    ],
)
def test_what_to_do_instead_is_said(run, arguments, meant):
    result = run(*arguments)
    told = " ".join(result.output.split())
    assert (result.exit_code in (1, 2), "hunter2" in told) == (True, False)
    assert meant in told
    assert "-m list" not in told


def test_line_ends_of_windows_stay(run, home):
    path = home / "config" / "lollms" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_bytes(b'# mine\r\nformat = "echo"\r\n')
    assert run("config", "set", "temperature", "0.7").exit_code == 0
    assert path.read_bytes() == b'# mine\r\nformat = "echo"\r\ntemperature = 0.7\r\n'


def test_what_comes_through_a_pipe_is_a_question(home, tmp_path):
    """Without a word beside it; and `/dev/null` is nobody's question."""
    prompt = tmp_path / "prompt.txt"

    def asked(text):
        prompt.write_text(text or "")
        with prompt.open() if text is not None else open(os.devnull) as stdin:
            command, environment = [sys.executable, "-m", "lollms_core"], {**os.environ, "LOLLMS_FORMAT": "echo"}
            return subprocess.run(command, stdin=stdin, capture_output=True, text=True, env=environment, check=False)

    done = asked("hello")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    for text, told in ((None, "Usage: lollms COMMAND"), ("", "There is no prompt")):
        done = asked(text)
        assert (done.returncode, done.stdout, told in done.stderr) == (2, "", True)


class Failing(Backend):
    contract_version = 1

    @hookimpl
    def generate(self, request):
        raise InvalidRequestError("status 400: Pool(host='localhost', n_predict=3): set host_address", status_code=400)


def test_the_words_of_a_server_stay(monkeypatch):
    monkeypatch.setattr("lollms_core._client.base.load_format", lambda name: Failing)
    assert "Pool(host='localhost', n_predict=3): set host_address" in CliRunner().invoke(cli, ["-f", "x", "hi"]).stderr


def test_config_without_set(run):
    result = run("config", "format", "echo")
    assert (result.exit_code, "Did you mean lollms config set format …?" in result.stderr) == (2, True)
