"""What newcomers stumbled over at the terminal: hints that lead astray, and input that vanished."""

from __future__ import annotations

import json

import pytest

from lollms_core.tokenizers import Utf8Tokenizer
from tests.support.openai_stub import Reply, running

LISTING = """
from lollms_core import Backend, Chunk, ModelInfo, hookimpl
class Listing(Backend):
    @hookimpl
    def generate(self, request):
        yield Chunk(self.settings.host_address or "none")
    @hookimpl
    def list_models(self, request):
        return [ModelInfo(name=str(self.settings.host_address)), ModelInfo(name="b")]
    @hookimpl
    def model_info(self, request):
        return ModelInfo(name=str(request.model))
"""


def test_options_beside_a_name_are_for_that_format(lollms, strangers):
    strangers.install(LISTING, listing="Listing")
    found = json.loads(lollms("doctor", "listing", "--host-address", "http://here:1", "-m", "b", "--json").stdout)
    assert found["problems"] == []
    assert list(found["formats"]) == ["listing"]
    assert found["formats"]["listing"]["detail"] == "2 models, b chosen"


def test_options_beside_two_names_are_refused(lollms):
    result = lollms("doctor", "echo", "lollms", "-m", "x")
    assert result.exit_code == 2
    assert "name one" in result.stderr


def test_what_is_suggested_reaches_what_was_checked(lollms, strangers):
    strangers.install(LISTING, listing="Listing")
    result = lollms("doctor", "listing", "-m", "my model", "--host-address", "http://here:1")
    assert "lollms generate -f listing -m 'my model' --host-address http://here:1" in " ".join(result.stdout.split())


def test_a_server_with_two_models_of_which_none_was_chosen_is_not_ready(lollms):
    with running() as stub:
        stub.models = [{"id": "m1", "object": "model"}, {"id": "m2", "object": "model"}]
        result = lollms("doctor", "openai", "--host-address", stub.url, "--json")
    found = json.loads(result.stdout)["formats"]["openai"]
    assert (result.exit_code, found["status"]) == (1, "no model")
    assert "config set formats.openai.model m1" in found["hint"]


def test_an_engine_that_is_not_installed_is_not_ready(lollms):
    pytest.importorskip("lollms_vllm")
    result = lollms("doctor", "vllm", "-m", "some/model", "--json")
    assert json.loads(result.stdout)["formats"]["vllm"]["status"] == "broken"
    assert "engine is not installed" in result.stdout


def test_hints_ask_the_format_that_failed(lollms, strangers):
    strangers.install("import no_such_module_anywhere", broken="Broken")
    assert "`lollms doctor broken --debug`" in lollms("generate", "-f", "broken", "x").stderr


def test_a_key_that_is_refused_is_looked_for_where_it_may_be(lollms):
    with running() as stub:
        stub.refuse(Reply({}, 401), lambda body: True)
        result = lollms(
            "generate", "-f", "openai", "-m", "m", "--host-address", stub.url, "x", env={"OPENAI_API_KEY": "wrong"}
        )
    assert "service_key" not in result.stderr
    assert "Check the key in OPENAI_API_KEY, LOLLMS_API_KEY or --api-key-file" in " ".join(result.stderr.split())


@pytest.mark.parametrize("where", ["file", "environment", "option"])
def test_a_key_that_is_refused_is_looked_for_where_it_comes_from(lollms, config, tmp_path, where):
    key_file = tmp_path / "key"
    key_file.write_text("sk-wrong-key")
    config('[formats.openai]\napi_key = "sk-wrong-key"\n' if where == "file" else "")
    options = ["--api-key-file", str(key_file)] if where == "option" else []
    env = {"LOLLMS_API_KEY": "sk-wrong-key"} if where == "environment" else {}
    with running() as stub:
        stub.refuse(Reply({}, 401), lambda body: True)
        result = lollms("-f", "openai", "-m", "m", "--host-address", stub.url, *options, "x", env=env)
    places = {
        "file": "file, [formats.openai]",
        "environment": "environment LOLLMS_API_KEY",
        "option": f"{key_file} (option --api-key-file)",
    }
    assert f"Check the key. It comes from: {places[where]}." in " ".join(result.stderr.split())


def test_a_fence_that_is_not_closed_ends_with_the_input(lollms):
    result = lollms("chat", "-f", "echo", input='"""\nx\ny\n')
    assert result.stdout.strip() == "x\ny"


def test_a_table_of_the_configuration_is_taken_out_key_by_key(lollms, config):
    config('[formats.ollama]\nmodel = "x"\nhost_address = "y"\n')
    result = lollms("config", "unset", "formats.ollama")
    assert result.exit_code == 2
    assert "formats.ollama.model, formats.ollama.host_address" in " ".join(result.stderr.split())
    assert lollms("config", "unset", "formats.ollama.model").exit_code == 0


@pytest.mark.parametrize("name", ["no/such/folder.py", "folder/"])
def test_a_file_that_cannot_be_written_is_said_before_the_model_works(lollms, tmp_path, name):
    result = lollms("code", "-f", "echo", "-O", "fail_with=ServerError", "-o", f"{tmp_path}/{name}", "x")
    assert "cannot be written" in result.stderr
    assert "ServerError" not in result.stderr


def test_ids_that_no_model_knows_are_not_shown(lollms, strangers, monkeypatch):
    strangers.install(LISTING, listing="Listing")
    monkeypatch.setattr("lollms_core.tokenizers._choose", lambda *_: Utf8Tokenizer())
    monkeypatch.setattr("lollms_core.tokenizers._chosen", {})
    result = lollms("tokenize", "-f", "listing", "-m", "x", "Hello")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--count gives an estimate" in result.stderr
    assert lollms("tokenize", "--count", "-f", "listing", "-m", "x", "Hello").stdout.strip().isdigit()
    counted = json.loads(lollms("tokenize", "--count", "--json", "-f", "listing", "-m", "x", "Hello").stdout)
    assert (counted["count"] > 0, counted["exact"]) == (True, False)


def test_the_file_of_a_key_is_found_from_any_folder(lollms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = lollms("config", "set", "formats.echo.api_key_file", "key")
    assert "is not there yet" in result.stderr
    failed = lollms("generate", "-f", "echo", "x")
    assert f"{tmp_path}/key, cannot be read: No such file or directory" in failed.stderr
    (tmp_path / "key").write_text("sk-1")
    monkeypatch.chdir("/")
    assert lollms("generate", "-f", "echo", "x").stdout == "x\n"


def test_strictness_of_the_file_is_named(lollms, config):
    config("strict = true\n")
    result = lollms("generate", "-f", "echo", "--seed", "3", "hi")
    assert result.exit_code == 1
    assert "Strictness is set by: file." in " ".join(result.stderr.split())
    assert "Strictness" not in lollms("generate", "-f", "echo", "--seed", "3", "--strict", "hi").stderr


def test_values_are_shown_as_the_file_has_them(lollms, config):
    config("strict = true\nformat = 'echo'\n[formats.echo.options]\nscript = ['a', 'b']\n")
    rows = {line.split()[0]: line.split(None, 1)[1] for line in lollms("config", "show").stdout.splitlines()}
    assert rows["strict"].startswith("true ")
    assert rows["options.script"].startswith('["a", "b"] ')


@pytest.mark.parametrize("word", ["get", "list", "edit"])
def test_commands_of_other_programs_lead_on(lollms, word):
    result = lollms("config", word, "format")
    assert result.exit_code == 2
    assert "lollms config" in result.stderr.partition("There is no command")[2]


def test_a_table_of_no_format_is_remarked(lollms, config):
    config("[formats.olama]\nmodel = 'x'\n[formats.vllm]\nmodel = 'y'\n")
    said = json.loads(lollms("doctor", "echo", "--json").stdout)["remarks"]
    assert said == ["[formats.olama] in the configuration file: there is no such format; did you mean ollama?"]


def test_a_system_prompt_can_be_taken_away(lollms):
    result = lollms("chat", "-f", "echo", "-s", "Be brief.", input='/system ""\nhi\n')
    assert result.stdout == "hi\n"
    assert "There is no system prompt." in result.stderr


MARK = "\ufeff"
"""The byte order mark that editors on Windows put in front."""


def test_a_byte_order_mark_is_no_part_of_what_a_file_says(lollms, strangers, recorder, tmp_path):
    schema, key = tmp_path / "schema.json", tmp_path / "key"
    schema.write_text(MARK + '{"type": "object"}', encoding="utf-8")
    assert lollms("generate", "-f", "echo", "--schema", str(schema), "{}").stdout == "{}\n"
    key.write_text(MARK + "sk-1\r\n", encoding="utf-8")
    assert lollms("generate", "-f", recorder, "--api-key-file", str(key), "hi").exit_code == 0
    chat = lollms("chat", "-f", "echo", input=f"{MARK}/exit\nhello\n")
    assert (chat.exit_code, chat.stdout) == (0, "")


def test_where_a_schema_is_no_json(lollms, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object",\n "x"}')
    result = lollms("generate", "-f", "echo", "--schema", str(schema), "{}")
    assert result.exit_code == 2
    assert "is not JSON: Expecting ':' delimiter at line 2, column 5." in " ".join(result.stderr.split())


def test_a_file_with_more_than_a_key(lollms, recorder, tmp_path, config):
    key = tmp_path / "key"
    key.write_text("sk-1\nsk-2\n")
    result = lollms("generate", "-f", recorder, "--api-key-file", str(key), "hi")
    assert f"{key}, has several lines" in " ".join(result.stderr.split())
    path = config(f"[formats.recorder]\napi_key_file = '{tmp_path}/none'\n")
    assert f"{path} names it." in " ".join(lollms("generate", "-f", recorder, "hi").stderr.split())


def test_an_empty_address_is_not_somebody_elses(lollms):
    result = lollms("generate", "-f", "openai", "--host-address", "", "-m", "x", "secret")
    assert result.exit_code == 1
    assert "--host-address is empty" in result.stderr


def test_the_end_of_input_in_place_of_a_key(terminal):
    with terminal("config", "set", "api_key") as screen:
        screen.expect("api_key: ")
        screen.type("\x04")
        screen.expect("There is no value for api_key.")
        assert screen.end() == 2


def test_who_has_chosen_nothing_is_shown_on(lollms):
    result = lollms("doctor")
    assert result.exit_code == 1
    assert "`lollms doctor --all` shows which of them would answer here." in " ".join(result.stdout.split())
    assert "doctor --all" not in lollms("doctor", "-f", "lollms").stdout


def test_extensions_of_one_format_are_set_by_the_command(lollms, strangers):
    strangers.install(
        "from lollms_core import Extension\nclass Loud(Extension):\n    contract_version = 1\n",
        group="lollms.extensions",
        loud="Loud",
    )
    assert lollms("config", "set", "formats.echo.extensions", "loud").exit_code == 0
    assert '["loud"]' in lollms("config", "show", "-f", "echo").stdout
    assert "no extension 'nosuch'" in lollms("config", "set", "formats.echo.extensions", "nosuch").stderr


def test_the_name_of_a_format_is_one_however_it_is_written(lollms, config):
    path = config("[formats.Echo]\ntemperature = 0.5\n")
    assert lollms("config", "set", "formats.echo.top_k", "4").exit_code == 0
    assert lollms("config", "set", "formats.ECHO.top_p", "0.5").exit_code == 0
    assert lollms("config", "unset", "formats.echo.temperature").exit_code == 0
    assert path.read_text() == "[formats.Echo]\ntop_k = 4\ntop_p = 0.5\n"
    assert lollms("config", "set", "formats.OLLAMA.top_k", "4").exit_code == 0
    assert "[formats.ollama]" in path.read_text()


def test_two_tables_of_one_format_are_told(lollms, config):
    config("[formats.echo]\ntop_k = 4\n[formats.Echo]\ntop_p = 0.5\n")
    result = lollms("generate", "-f", "echo", "hi")
    assert result.exit_code == 1
    assert "has [formats.echo] and [formats.Echo], which are for one format" in " ".join(result.stderr.split())
    assert "which are for one format" in " ".join(lollms("doctor", "echo").stdout.split())


@pytest.mark.parametrize(
    ("key", "meant"),
    [("format.ollama.model", "formats.ollama.model"), ("format.model", "formats.NAME.model")],
)
def test_the_slip_of_a_letter_is_named(lollms, key, meant):
    assert f"Did you mean '{meant}'?" in " ".join(lollms("config", "set", key, "x").stderr.split())


def test_without_a_limit_is_nought(lollms):
    result = lollms("config", "set", "idle_timeout", "inf")
    assert result.exit_code == 1
    assert "idle_timeout must be a finite number; 0 is no limit" in result.stderr


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--temp", "Did you mean --temperature?"),
        ("--max_tokens", "Did you mean --n-predict?"),
        ("--max-tokens", "Did you mean --n-predict?"),
        ("--service-key", "Did you mean --api-key-file?"),
        ("--model-name", "Did you mean --model?"),
        ("--timeout", "`lollms config set idle_timeout SECONDS` sets a limit."),
    ],
)
def test_options_by_the_names_of_others(lollms, option, meant):
    result = lollms("generate", "-f", "echo", option, "3", "hi")
    assert result.exit_code == 2
    assert f"There is no option {option}. {meant}" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("temp", "temperature"),
        ("max_tokens", "n_predict"),
        ("url", "host_address"),
        ("formats.echo.temp", "temperature"),
    ],
)
def test_keys_by_the_names_of_others(lollms, key, meant):
    assert f"Did you mean '{key.rpartition('.')[0]}{'.' if '.' in key else ''}{meant}'?" in " ".join(
        lollms("config", "set", key, "0.7").stderr.split()
    )


@pytest.mark.parametrize(
    ("variable", "meant"),
    [("MODEL_NAME", "MODEL"), ("SYSTEM_PROMPT", "SYSTEM"), ("SERVICE_KEY", "API_KEY"), ("CONFIG", "CONFIG_FILE")],
)
def test_variables_by_the_names_of_the_librarys_arguments(lollms, monkeypatch, variable, meant):
    monkeypatch.setenv(f"LOLLMS_{variable}", "x")
    said = " ".join(lollms("doctor", "echo").stdout.split())
    assert f"the variable LOLLMS_{variable} is not known; did you mean LOLLMS_{meant}?" in said
