"""Options, then the environment, then the file, then the default."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lollms_core._cli.config_file import ConfigFile
from lollms_core._cli.known_settings import SETTINGS
from lollms_core._cli.settings import resolve
from lollms_core._cli.value_kinds import FLAG_OR_LEVEL, FLAG_OR_PATH, INTEGER_OR_TEXT, NAMES, TEXT

FILE = {"format": "ollama", "model": "file-model", "temperature": 0.3, "formats": {}}
TABLES = {"openai": {"model": "table-model", "temperature": 0.4}, "ollama": {"temperature": 0.5}}


def settings(choices=None, environ=None, values=None, formats=None):
    return resolve(choices or {}, environ or {}, ConfigFile(Path("config.toml"), values or {}, formats or {}))


@pytest.mark.parametrize(
    ("choices", "environ", "values", "formats", "expected"),
    [
        # nothing is said
        ({}, {}, {}, {}, ("lollms", None, None)),
        # each place alone
        ({"format": "echo", "model": "a"}, {}, {}, {}, ("echo", "a", None)),
        ({}, {"LOLLMS_FORMAT": "echo", "LOLLMS_MODEL": "b"}, {}, {}, ("echo", "b", None)),
        ({}, {}, {"format": "echo", "model": "c", "temperature": 1}, {}, ("echo", "c", 1)),
        ({}, {}, {"format": "echo"}, {"echo": {"model": "d"}}, ("echo", "d", None)),
        # the stronger place wins
        ({"model": "a"}, {"LOLLMS_MODEL": "b"}, {"model": "c"}, {"lollms": {"model": "d"}}, ("lollms", "a", None)),
        ({}, {"LOLLMS_MODEL": "b"}, {"model": "c"}, {"lollms": {"model": "d"}}, ("lollms", "b", None)),
        ({}, {}, {"model": "c"}, {"lollms": {"model": "d"}}, ("lollms", "d", None)),
        ({}, {"LOLLMS_TEMPERATURE": "0.9"}, {"temperature": 0.1}, {}, ("lollms", None, 0.9)),
        ({"temperature": 0.0}, {"LOLLMS_TEMPERATURE": "0.9"}, {}, {}, ("lollms", None, 0.0)),
        # an empty variable is not set
        ({}, {"LOLLMS_MODEL": "", "LOLLMS_FORMAT": ""}, {"model": "c"}, {}, ("lollms", "c", None)),
        # names of formats in any case
        ({"format": "Echo"}, {}, {}, {"echo": {"model": "d"}}, ("echo", "d", None)),
        # what belongs to another format is left out; what is general is not
        ({"format": "openai"}, {}, {"format": "ollama", "model": "c", "temperature": 1}, {}, ("openai", None, 1)),
        ({"format": "openai"}, {}, {"model": "c"}, {}, ("openai", None, None)),
        ({"format": "openai"}, {"LOLLMS_FORMAT": "ollama", "LOLLMS_MODEL": "b"}, {}, {}, ("openai", None, None)),
        ({"format": "openai"}, {"LOLLMS_MODEL": "b"}, {"format": "ollama"}, {}, ("openai", "b", None)),
        ({"format": "openai"}, {"LOLLMS_FORMAT": "ollama", "LOLLMS_TOP_K": "1", "LOLLMS_TEMPERATURE": "2"}, {}, {},
         ("openai", None, 2.0)),
    ],
)  # fmt: skip
def test_precedence(choices, environ, values, formats, expected):
    found = settings(choices, environ, values, formats)
    assert (found.format.value, found.get("model"), found.get("temperature")) == expected


def test_sources_are_named():
    found = settings(
        {"seed": 1}, {"LOLLMS_TOP_K": "3"}, {"n_predict": 5}, {"lollms": {"top_p": 0.5, "options": {"a": 1}}}
    )
    sources = {name: value.source for name, value in found.values.items()}
    assert sources == {
        "seed": "option --seed",
        "top_k": "environment LOLLMS_TOP_K",
        "n_predict": "file",
        "top_p": "file, [formats.lollms]",
    }
    assert found.options["a"].source == "file, [formats.lollms.options]"
    assert found.format.source == "default"


def test_options_of_the_command_line_go_over_those_of_the_file():
    found = settings({"options": {"a": 2, "b": 3}}, {}, {}, {"lollms": {"options": {"a": 1, "c": 4}}})
    assert {name: option.value for name, option in found.options.items()} == {"a": 2, "b": 3, "c": 4}


def test_a_key_never_goes_to_another_format():
    found = settings({"format": "openai"}, {"LOLLMS_FORMAT": "lollms", "LOLLMS_API_KEY": "k"}, {"api_key": "f"})
    assert found.get("api_key") is None
    assert len(found.ignored) == 2


def test_blanks_around_the_name_of_a_format_mean_nothing():
    found = settings({}, {"LOLLMS_FORMAT": "OpenAI\r", "LOLLMS_MODEL": "m"}, {"format": " openai", "api_key": "f"})
    assert (found.format.value, found.get("model"), found.get("api_key")) == ("openai", "m", "f")
    assert not found.ignored


ANYTHING = (FLAG_OR_LEVEL, FLAG_OR_PATH, INTEGER_OR_TEXT, NAMES, TEXT)
"""Kinds that every text is of."""


@pytest.mark.parametrize("setting", [s for s in SETTINGS.values() if s.kind not in ANYTHING])
def test_a_variable_of_the_wrong_kind_is_named(lollms, setting):
    result = lollms("generate", "-f", "echo", "hi", env={setting.variable: "warm"})
    assert result.exit_code == 1
    assert result.stderr == f"Error: {setting.variable} must be {setting.kind.name}, not 'warm'\n"


def test_every_setting_reaches_the_client_from_the_file(lollms, recorder, config):
    config(
        f"""
        format = "{recorder}"
        system = "Be brief."
        n_predict = 5
        ctx_size = 512
        temperature = 1
        top_k = 7
        top_p = 0.8
        min_p = 0.1
        repeat_penalty = 1.2
        repeat_last_n = 9
        seed = 0
        n_threads = 2
        strict = true
        max_retries = 0
        connect_timeout = 1.5
        idle_timeout = 0
        [formats.{recorder}]
        model = "big"
        host_address = "http://somewhere:1"
        api_key = "sk-123456"
        verify_ssl_certificate = "/etc/ca.pem"
        personality = 4
        options = {{ depth = 3, label = "x" }}
        headers = {{ X-Org = "me" }}
        """
    )
    result = lollms("generate", "hi")
    assert result.exit_code == 0, result.stderr
    request = json.loads(result.stdout)
    assert request == {
        "prompt": "hi", "messages": [], "system": "Be brief.", "images": 0, "model": "big", "completion_format": "Chat",
        "chosen": {
            "min_p": 0.1, "n_predict": 5, "n_threads": 2, "repeat_last_n": 9, "repeat_penalty": 1.2, "seed": 0,
            "temperature": 1.0, "top_k": 7, "top_p": 0.8,
        },
        "schema": {}, "think": None, "personality": 4, "host_address": "http://somewhere:1", "key": "654321-ks",
        "headers": ["X-Org"], "verify": "/etc/ca.pem", "connect": 1.5, "idle": None, "retries": 0, "ctx_size": 512,
        "options": {"depth": 3, "label": "x"},
    }  # fmt: skip


def test_a_key_file_of_a_stronger_place_goes_over_a_key(lollms, recorder, tmp_path):
    path = tmp_path / "key"
    path.write_text("from-file\n")
    request = json.loads(
        lollms("generate", "-f", recorder, "--api-key-file", str(path), "hi", env={"LOLLMS_API_KEY": "from-env"}).stdout
    )
    assert request["key"] == "from-file"[::-1]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("format = ", "is not valid TOML"),
        ("modle = 'x'", "has an unknown key 'modle'"),
        ("temperature = 'warm'", "temperature must be a number"),
        ("temperature = true", "temperature must be a number"),
        ("formats = 3", "formats must be a table"),
        ("[ollama]\nmodel = 'x'", "has an unknown table [ollama]"),
        ("top_p = 2", "top_p must be between 0 and 1, not 2"),
        ("idle_timeout = -1", "idle_timeout must be at least 0, not -1"),
        ("[formats]\nopenai = 3", "formats.openai must be a table"),
        ("[formats.openai]\nformat = 'x'", "has an unknown key 'formats.openai.format'"),
        ("[formats.openai]\noptions = 3", "formats.openai.options must be a table"),
        ("[formats.openai.headers]\nX = 3", "formats.openai.headers.X must be text"),
        (f"n_predict = {'9' * 5000}", "cannot be read: Exceeds the limit"),
        (f"a = {'[' * 5000}", "cannot be read: maximum recursion"),
    ],
)
def test_a_file_that_says_nonsense_is_one_clear_error(lollms, config, text, error):
    path = config(text)
    result = lollms("generate", "-f", "echo", "hi")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert str(path) in result.stderr.splitlines()[0]
    assert error in result.stderr.splitlines()[0]


def test_a_file_from_an_editor_on_windows_is_read(lollms, config):
    config("").write_bytes(b"\xef\xbb\xbfformat = 'echo'\r\n")
    assert lollms("generate", "hi").stdout == "hi\n"
    assert lollms("config", "set", "n_predict", "1").exit_code == 0
    assert lollms("generate", "hi you").stdout == "hi\n"


def test_the_table_of_a_format_has_a_prefix(lollms, config):
    config("[ollama]\nmodel = 'x'")
    assert "Hint: The table of a format is called [formats.ollama]." in lollms("generate", "hi").stderr


def test_a_file_that_was_named_must_be_there(lollms, tmp_path):
    result = lollms("generate", "-f", "echo", "hi", env={"LOLLMS_CONFIG_FILE": str(tmp_path / "gone.toml")})
    assert result.exit_code == 1
    assert "gone.toml" in result.stderr


# --- secrets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["token", "verbose_secret", "api_key"])
def test_a_secret_among_the_arguments_is_refused(lollms, recorder, name):
    result = lollms("generate", "-f", recorder, "-O", f"{name}=sk-123456", "hi")
    assert result.exit_code in (1, 2)
    assert result.stdout == ""
    assert "sk-123456" not in result.stderr


def test_there_is_no_option_for_a_key(lollms):
    result = lollms("generate", "-f", "echo", "--api-key", "sk-123456", "hi")
    assert result.exit_code == 2
    assert "sk-123456" not in result.output


def test_a_backend_that_tells_its_key_is_not_believed(lollms, strangers):
    strangers.install(
        """
        import logging, threading, warnings
        from lollms_core import Backend, BackendError, hookimpl
        class Chatty(Backend):
            @hookimpl
            def generate(self, request):
                key = self.settings.api_key.get_secret_value()
                warnings.warn(f"the key is {key}")
                thread = threading.Thread(target=logging.getLogger("lollms.x").warning, args=("again: %s", key))
                thread.start()
                thread.join()
                raise BackendError(f"{key} was refused by {self.settings.host_address}", hint=f"is {key} right?")
        """,
        chatty="Chatty",
    )
    address = "http://me:pass-word@localhost:1"
    result = lollms(
        "generate", "-f", "chatty", "--host-address", address, "--debug", "hi", env={"LOLLMS_API_KEY": "sk-123456"}
    )
    assert result.exit_code == 1
    assert "sk-123456" not in result.output
    assert "pass-word" not in result.output
    assert "Warning: the key is ***" in result.stderr
    assert "Warning: again: ***" in result.stderr
    assert "Error: *** was refused by http://me:***@localhost:1" in result.stderr
