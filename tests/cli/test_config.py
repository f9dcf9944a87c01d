"""`lollms config`: the file, what it means, and changing it without damage."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core._cli import toml_edit
from lollms_core._cli.value_kinds import is_secret_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture
def path(home):
    return home / "config" / "lollms" / "config.toml"


def test_the_path(lollms, path, tmp_path):
    assert lollms("config", "path").stdout == f"{path}\n"
    other = str(tmp_path / "other.toml")
    assert lollms("config", "path", env={"LOLLMS_CONFIG_FILE": other}).stdout == f"{other}\n"


def test_setting_makes_a_file_that_only_its_owner_reads(lollms, path):
    assert lollms("config", "set", "format", "echo").exit_code == 0
    assert path.read_text() == 'format = "echo"\n'
    assert path.stat().st_mode & 0o077 == 0
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]
    assert lollms("generate", "hi").stdout == "hi\n"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("model", "llama3.2", {"model": "llama3.2"}),
        ("temperature", "0.7", {"temperature": 0.7}),
        ("seed", "0", {"seed": 0}),
        ("strict", "yes", {"strict": True}),
        ("verify_ssl_certificate", "false", {"verify_ssl_certificate": False}),
        ("verify_ssl_certificate", "/etc/ca.pem", {"verify_ssl_certificate": "/etc/ca.pem"}),
        ("formats.openai.model", 'a "quoted" é\\', {"formats": {"openai": {"model": 'a "quoted" é\\'}}}),
        ("formats.echo.options.delay", "0.5", {"formats": {"echo": {"options": {"delay": 0.5}}}}),
        ("formats.echo.options.script", '["a", "b"]', {"formats": {"echo": {"options": {"script": ["a", "b"]}}}}),
        ("formats.openai.options.organization", "mine", {"formats": {"openai": {"options": {"organization": "mine"}}}}),
        ("repeat_last_n", "-1", {"repeat_last_n": -1}),
    ],
)
def test_values_are_of_their_kind(lollms, path, key, value, expected):
    result = lollms("config", "set", key, value)
    assert result.exit_code == 0, result.stderr
    assert tomllib.loads(path.read_text()) == expected
    assert lollms("config", "unset", key).exit_code == 0
    assert "model" not in path.read_text() or key != "model"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["modle", "x"], "'modle' is not a key. Did you mean 'model'?"),
        (["formats.openai.modle", "x"], "Did you mean 'formats.openai.model'?"),
        (["ollama.model", "x"], "Did you mean 'formats.ollama.model'?"),
        (["openai.api_key", "x"], "Did you mean 'formats.openai.api_key'?"),
        (["FORMAT", "x"], "Did you mean 'format'?"),
        (["formats.openai.headers", "x"], "'formats.openai.headers' is not a key. Keys are"),
        (["temperature", "warm"], "temperature must be a number, not 'warm'"),
        (["formats.openai.format", "x"], "is not a key"),
        (["formats.openai", "x"], "is not a key"),
        (["api_key", "sk-123456"], "api_key is a secret"),
        (["formats.openai.api_key", "sk-123456"], "is a secret"),
        (["formats.x.options.hf_token", "sk-123456"], "is a secret"),
        (["formats.x.headers.Authorization", "sk-123456"], "is a secret"),
        (["model", ""], "There is no value for model. `lollms config unset model` takes it out."),
        (["model", " "], "There is no value for model."),
    ],
)
def test_what_cannot_be_set_is_wrong_usage(lollms, path, arguments, said):
    result = lollms("config", "set", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "sk-123456" not in result.output
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["format", "ecco"], "Hint: Did you mean 'echo'?"),
        (["format", "anthropic"], "-f litellm -m anthropic/NAME"),
        (["formats.ecco.model", "x"], "no generation format 'ecco' is installed"),
        (["formats.echo.options.dealy", "1"], "Hint: Did you mean 'delay'?"),
        (["formats.echo.options.delay", "-1"], "delay must be greater than or equal to 0"),
        (["formats.echo.options.temperature", "1"], "Use --temperature, LOLLMS_TEMPERATURE or temperature"),
        (["formats.openai.host_address", "http://localhost:port"], "is not a server address"),
        (["host_address", "http://localhost:port"], "is not a server address"),
        (["temperature", "-1"], "temperature must be at least 0, not -1"),
        (["n_predict", "0"], "must be at least 1, not 0"),
        (["top_p", "2"], "must be between 0 and 1, not 2"),
        (["idle_timeout", "-1"], "must be at least 0, not -1"),
    ],
)
def test_what_cannot_work_is_refused(lollms, path, arguments, said):
    result = lollms("config", "set", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert not path.exists()


def test_a_format_may_be_configured_before_it_is_installed(lollms, path, monkeypatch):
    from lollms_core._client import registry

    monkeypatch.setattr(registry, "_entry_points", lambda group: ())
    result = lollms("config", "set", "format", "ollama")
    assert (result.exit_code, result.stderr) == (0, "Note: ollama is not installed yet: `lollms install ollama`\n")
    assert tomllib.loads(path.read_text()) == {"format": "ollama"}


def test_what_was_wrong_before_can_be_put_right(lollms, config):
    path = config('modle = "x"\ntemperature = -1\n')
    assert lollms("config", "set", "format", "echo").exit_code == 0
    assert lollms("config", "set", "temperature", "0").exit_code == 0
    assert lollms("config", "unset", "modle").exit_code == 0
    assert tomllib.loads(path.read_text()) == {"format": "echo", "temperature": 0.0}


def test_a_value_that_toml_does_not_have(lollms, path):
    result = lollms("config", "set", "formats.echo.options.script", "null")
    assert result.exit_code == 1
    assert "TOML has no NoneType" in result.stderr
    assert not path.exists()


def test_a_key_is_read_from_standard_input(lollms, path):
    result = lollms("config", "set", "formats.openai.api_key", input="sk-123456\n")
    assert result.exit_code == 0
    assert result.output == ""
    assert tomllib.loads(path.read_text()) == {"formats": {"openai": {"api_key": "sk-123456"}}}
    assert lollms("config", "set", "api_key", input="").exit_code == 2


def test_a_key_is_asked_for_without_showing_it(terminal, path):
    with terminal("config", "set", "api_key") as screen:
        screen.expect("api_key: ")
        screen.type("sk-123456\n")
        assert screen.end() == 0
    assert "sk-123456" not in screen.shown
    assert tomllib.loads(path.read_text()) == {"api_key": "sk-123456"}


def test_a_key_for_one_call_is_asked_for_without_showing_it(terminal, recorder):
    with terminal("generate", "-f", recorder, "--ask-api-key", "hi") as screen:
        screen.expect("API key: ")
        screen.type("sk-123456\n")
        assert screen.end() == 0
    assert "sk-123456" not in screen.shown
    assert "654321-ks" in screen.shown


def test_showing_names_sources_and_hides_secrets(lollms, config):
    config(
        """
        format = "openai"
        temperature = 0.5
        [formats.openai]
        host_address = "http://me:pass-word@localhost:1"
        api_key = "sk-123456"
        headers = { Authorization = "Bearer sk-abcdef", X-Org = "organisation" }
        options = { organization = "mine", hf_token = "hf-999999" }
        """
    )
    text = lollms("config", "show", env={"LOLLMS_SEED": "1"})
    rows = {line.split()[0]: line for line in text.stdout.splitlines()}
    assert rows["format"].endswith("file")
    assert rows["seed"].endswith("environment LOLLMS_SEED")
    assert rows["host_address"].split()[1] == "http://me:***@localhost:1"
    assert rows["options.organization"].split()[1] == "mine"
    assert rows["api_key"].split()[1] == "***"
    assert rows["options.hf_token"].split()[1] == "***"
    assert rows["headers.X-Org"].split()[1] == "***"
    record = lollms("config", "show", "--json", env={"LOLLMS_API_KEY": "sk-fedcba"})
    assert json.loads(record.stdout)["temperature"] == {"value": 0.5, "source": "file"}
    assert json.loads(record.stdout)["api_key"]["source"] == "environment LOLLMS_API_KEY"
    for secret in ("sk-", "pass-word", "hf-999999", "organisation"):
        assert secret not in text.output + record.output


def test_showing_says_what_is_not_used(lollms, config):
    config('format = "ollama"\nmodel = "m"\n')
    result = lollms("config", "show", "-f", "openai")
    assert "model " not in result.stdout
    assert result.stderr == (
        "Note: model in the file, outside of any table, belongs to the format ollama; it is not used for openai\n"
    )


def test_a_broken_file_is_not_overwritten(lollms, config):
    path = config("format = \n")
    assert lollms("config", "set", "format", "echo").exit_code == 1
    assert path.read_text() == "format = \n"


def test_unsetting_what_is_not_set(lollms, config):
    config("format = 'echo'\n")
    result = lollms("config", "unset", "model")
    assert result.exit_code == 2
    assert "model is not set" in result.stderr
    assert lollms("config", "unset", "formats.openai.model").exit_code == 2


def test_a_folder_that_cannot_be_written(lollms, home):
    (home / "config").write_text("a file in the way")
    result = lollms("config", "set", "format", "echo")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert f"{home / 'config' / 'lollms' / 'config.toml'} cannot be written: " in result.stderr
    assert "Hint: LOLLMS_CONFIG_FILE can name a file elsewhere." in result.stderr
    assert "Traceback" not in result.stderr
    assert lollms("generate", "-f", "echo", "hi").stdout == "hi\n"


# --- editing TOML --------------------------------------------------------------------------------------------------

DOCUMENT = """\
# my settings
format = "ollama"  # the one at home
note = '''
seed = 7
[formats.openai]
model = "not a table"
'''

[formats.ollama]  # here
model = "a # b" # with a comment

[formats.ollama.options]
stop = [
  "x",
]

[[other]]
model = "in a list"
"""


@pytest.mark.parametrize(
    ("path", "value", "before", "after"),
    [
        (("format",), "echo", 'format = "ollama"  # the one', 'format = "echo"  # the one'),
        (("formats", "ollama", "model"), "c", 'model = "a # b" # with', 'model = "c" # with'),
        (("seed",), 1, "'''\n\n[formats.ollama]", "'''\nseed = 1\n\n[formats.ollama]"),
        (("formats", "ollama", "seed"), 1, "comment\n\n[formats", "comment\nseed = 1\n\n[formats"),
        (("formats", "ollama", "options", "a b"), 1, "]\n\n[[other]]", ']\n"a b" = 1\n\n[[other]]'),
        (("formats", "x", "model"), "m", "]\n\n[[other]]", ']\n\n[formats.x]\nmodel = "m"\n[[other]]'),
        (("formats", "ollama", "options", "stop"), "new", 'stop = [\n  "x",\n]\n', 'stop = "new"\n'),
    ],
)
def test_everything_else_stays_as_it_is(path, value, before, after):
    assert DOCUMENT.count(before) == 1
    changed, expected = toml_edit.set_value(DOCUMENT, path, value), DOCUMENT.replace(before, after)
    # How many blank lines stand before a new table is tomlkit's own affair, and differs between its versions.
    assert re.sub("\n+\\[", "\n[", changed) == re.sub("\n+\\[", "\n[", expected)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("formats.openai.model = 'x'\n", 'formats.openai.model = "new"\n'),
        ("formats = { openai = { model = 'x' } }\n", 'formats = { openai = { model = "new" } }\n'),
        ("formats = { openai = {} }\n", 'formats = { openai = {model = "new"} }\n'),
    ],
)
def test_tables_may_be_written_in_any_way(text, after):
    assert toml_edit.set_value(text, ("formats", "openai", "model"), "new") == after


@pytest.mark.parametrize(("text", "path"), [("format = 'x'\n", ("format", "openai")), ("format =\n", ("format",))])
def test_what_is_not_understood_is_refused(text, path):
    with pytest.raises(ValueError, match=r"format|Invalid"):
        toml_edit.set_value(text, path, "new")


values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.text(min_size=1, max_size=8)


@given(st.lists(st.tuples(st.lists(names, max_size=2), names, values), max_size=6))
def test_any_values_under_any_names_are_read_back(edits):
    text = ""
    expected: dict[str, Any] = {}
    for tables, key, value in edits:
        try:
            text = toml_edit.set_value(text, (*tables, key), value)
        except toml_edit.EditError:
            continue  # a name that is a value cannot be a table too
        inner = expected
        for table in tables:
            inner = inner.setdefault(table, {})
        inner[key] = value
    assert tomllib.loads(text) == expected


@given(st.lists(st.tuples(names, values), max_size=6, unique_by=lambda pair: pair[0]), st.data())
def test_unsetting_undoes_setting(pairs, data):
    text = ""
    for key, value in pairs:
        text = toml_edit.set_value(text, ("formats", "x", key), value)
    for key, _ in data.draw(st.permutations(pairs)):
        text = toml_edit.unset_value(text, ("formats", "x", key))
    assert tomllib.loads(text) == ({"formats": {"x": {}}} if pairs else {})


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("api_key", True), ("API-Key", True), ("token", True), ("hf_token", True), ("Authorization", True),
        ("client_secret", True), ("db_password", True), ("eos_token", False), ("max_tokens", False),
        ("tokenizer", False), ("monkey", False), ("keep_alive", False),
    ],
)  # fmt: skip
def test_names_of_secrets(name, secret):
    assert is_secret_name(name) is secret


def test_another_format_does_not_inherit_a_key(lollms, path):
    lollms("config", "set", "format", "openai")
    lollms("config", "set", "api_key", input="sk-openai-secret\n")
    lollms("config", "set", "model", "gpt-4o-mini")
    lollms("config", "set", "temperature", "0.5")
    lollms("config", "set", "formats.openai.host_address", "http://localhost:1/v1")
    result = lollms("config", "set", "format", "echo")
    assert result.exit_code == 0
    assert result.stderr == "Note: moved to [formats.openai] of the file, whose it was: model, api_key\n"
    assert tomllib.loads(path.read_text()) == {
        "format": "echo",
        "temperature": 0.5,
        "formats": {
            "openai": {"api_key": "sk-openai-secret", "model": "gpt-4o-mini", "host_address": "http://localhost:1/v1"}
        },
    }
    assert lollms("config", "set", "format", "ECHO").stderr == ""


def test_what_was_set_before_any_format_is_for_the_first_one_but_a_key(lollms, path):
    lollms("config", "set", "model", "small")
    lollms("config", "set", "api_key", input="sk-of-my-own-server\n")
    assert lollms("config", "set", "format", "echo").stderr == (
        "Note: moved to [formats.lollms] of the file, whose it was: api_key\n"
        "Note: model at the top of the file: from now on for echo\n"
    )
    assert tomllib.loads(path.read_text()) == {
        "model": "small", "format": "echo", "formats": {"lollms": {"api_key": "sk-of-my-own-server"}},
    }  # fmt: skip
