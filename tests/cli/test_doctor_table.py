"""`lollms doctor` tells the truth: set-ups that are broken in every way that was met, and what it must say of each.

Exit status 0 is for a chosen format that works. Where a row says 0, something is odd and works all the same.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.ollama_server import OllamaServer

WORKING = """
    from lollms_core import Backend, Chunk, ModelInfo, hookimpl
    class Working(Backend):
        @hookimpl
        def generate(self, request):
            yield Chunk("hi")
        @hookimpl
        def list_models(self, request):
            return [ModelInfo(name="one")]
"""
HANGING = "import threading; threading.Event().wait()"
LOCAL = WORKING.replace(
    "class Working(Backend):",
    "class Working(Backend):\n        capabilities = Capabilities(local=True, needs_model=True)",
).replace("import Backend,", "import Backend, Capabilities,")


@dataclass
class World:
    """What a row may break."""

    strangers: Any
    config: Callable[[str], Path]
    home: Path
    site: Path
    monkeypatch: pytest.MonkeyPatch
    open: contextlib.ExitStack
    env: dict[str, str] = field(default_factory=dict)

    def install(self, source: str, **entry_points: str) -> str:
        return str(self.strangers.install(source, **entry_points))

    def require(self, module: str, requirement: str) -> None:
        """Make an installed stranger require something."""
        with (self.site / f"{module}-1.0.dist-info" / "METADATA").open("a") as file:
            file.write(f"Requires-Dist: {requirement}\n")

    def ollama(self, **options: Any) -> str:
        return str(self.open.enter_context(OllamaServer(**options)).address)

    def server(self, status: int, content_type: str, body: str) -> str:
        """The address of a server that gives everybody the same answer."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.open.callback(thread.join)
        self.open.callback(server.server_close)
        self.open.callback(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}"

    def silent(self) -> str:
        """The address of a server that accepts and says nothing."""
        server = self.open.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    def nobody(self) -> str:
        """An address at which nobody listens."""
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def world(strangers, config, home, tmp_path, monkeypatch) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        yield World(strangers, config, home, tmp_path / "site", monkeypatch, stack)


ROWS: list[Any] = []


def row(status: dict[str, str], said: str, code: int = 1) -> Callable[[Callable[[World], list[str]]], None]:
    """A row of the table: a function that breaks something and gives the arguments, and what the doctor must say."""

    def add(prepare: Callable[[World], list[str]]) -> None:
        ROWS.append(pytest.param(prepare, status, said, code, id=prepare.__name__.replace("_", " ")))

    return add


# --- the format ----------------------------------------------------------------------------------------------------


@row({"ecco": "not installed"}, "Did you mean 'echo'?")
def a_format_that_is_not_installed(world):
    return ["-f", "ecco"]


@row({"nosuch": "not installed", "echo": "ready"}, "environment LOLLMS_FORMAT")
def a_variable_that_names_no_format(world):
    world.env["LOLLMS_FORMAT"] = "nosuch"
    return ["echo"]


@row({"anthropic": "not installed"}, "-f litellm -m anthropic/NAME")
def a_provider_in_place_of_a_format(world):
    return ["-f", "anthropic"]


@row({"litellm": "failed"}, "Set OPENAI_API_KEY, or use --api-key-file.")
def a_provider_without_its_key(world):
    pytest.importorskip("lollms_litellm", reason="the environment of old versions holds the formats over HTTP alone")
    world.monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return ["-f", "litellm", "-m", "openai/gpt-4o"]


@row({"broken": "broken"}, "No module named 'no_such_module_anywhere'")
def a_package_that_cannot_be_imported(world):
    world.install("import no_such_module_anywhere", broken="Broken")
    return ["-f", "broken"]


@row({"exiting": "broken"}, "SystemExit: leaving")
def a_package_that_exits(world):
    world.install("import sys; sys.exit('leaving')", exiting="Exiting")
    return ["-f", "exiting"]


@row({"hanging": "no answer"}, "no answer within 0.5 seconds")
def a_package_that_hangs(world):
    world.install(HANGING, hanging="Hanging")
    return ["-f", "hanging", "--timeout", "0.5"]


@row({"future": "broken"}, "version 99 of the contract")
def another_version_of_the_contract(world):
    world.install(WORKING + "        contract_version = 99\n", future="Working")
    return ["-f", "future"]


@row({"misspelt": "broken"}, "lacks @hookimpl")
def a_hook_without_its_mark(world):
    world.install(WORKING.replace("@hookimpl", "", 1), misspelt="Working")
    return ["-f", "misspelt"]


@row({"gone": "broken"}, "has no attribute 'Gone'")
def a_class_that_is_not_there(world):
    world.install(WORKING, gone="Gone")
    return ["-f", "gone"]


@row({"echo": "ready", "gone": "broken"}, "is missing")
def a_module_that_is_not_there(world):
    module = world.install(WORKING, gone="Working")
    (world.site / f"{module}.py").unlink()
    return ["-f", "echo"]


@row({"echo": "ready", "needy": "broken"}, "no-such-distribution (not installed)")
def a_requirement_that_is_not_installed(world):
    world.require(world.install("raise SystemExit('imported')", needy="Needy"), "no-such-distribution>=2")
    return ["-f", "echo"]


@row({"needy": "broken"}, "no-such-distribution (not installed)")
def a_requirement_of_the_chosen_format_that_it_does_not_miss_yet(world):
    world.require(world.install(WORKING, needy="Working"), "no-such-distribution>=2")
    return ["-f", "needy"]


@row({"needy": "ready"}, "All is well", 0)
def a_chosen_format_that_works_with_another_version(world):
    world.require(world.install(WORKING, needy="Working"), "click>=999")
    return ["-f", "needy"]


@row({"echo": "ready", "needy": "broken"}, "click>=999 (")
def a_requirement_that_is_too_old(world):
    world.require(world.install("raise SystemExit('imported')", needy="Needy"), "click>=999")
    return ["-f", "echo"]


@row({"twice": "ready"}, "both provide the format twice", 0)
def two_packages_with_one_format(world):
    world.install(WORKING, twice="Working")
    world.install(WORKING, twice="Working")
    return ["-f", "twice"]


@row({"echo": "ready"}, "extension broken")
def an_extension_that_is_broken(world):
    world.strangers.install("import no_such_module_anywhere", group="lollms.extensions", broken="Plugin")
    return ["-f", "echo"]


# --- the server ----------------------------------------------------------------------------------------------------


@row({"lollms": "unreachable"}, "connection refused")
def an_address_at_which_nobody_listens(world):
    return ["--host-address", world.nobody()]


@row({"lollms": "unreachable"}, "nosuch.invalid")
def a_name_that_no_server_has(world):
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "nosuch.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *rest, **more)

    world.monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return ["--host-address", "http://nosuch.invalid"]


@row({"lollms": "no answer"}, "Give it more time with --timeout.")
def a_server_that_hangs(world):
    return ["--host-address", world.silent(), "--timeout", "0.5"]


@row({"openai": "failed"}, "names a website or a proxy")
def a_server_that_answers_with_a_web_page(world):
    world.env["OPENAI_API_KEY"] = "sk-123456"
    return ["-f", "openai", "--host-address", world.server(200, "text/html", "<html><h1>Welcome!</h1></html>")]


@row({"openai": "failed"}, "Check the key")
def a_key_that_is_wrong(world):
    world.env["LOLLMS_API_KEY"] = "sk-123456"
    body = json.dumps({"error": {"message": "Incorrect API key provided: sk-123456"}})
    return ["-f", "openai", "--host-address", world.server(401, "application/json", body)]


@row({"openai": "failed"}, "Set OPENAI_API_KEY or LOLLMS_API_KEY")
def no_key(world):
    world.monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return ["-f", "openai"]


@row({"openai": "failed"}, "LOLLMS_API_KEY is for the chosen format.")
def a_key_for_the_chosen_format_alone(world):
    world.monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    body = json.dumps({"error": {"message": "You didn't provide an API key."}})
    address = world.server(401, "application/json", body)
    world.config(f'format = "echo"\n[formats.openai]\nhost_address = "{address}"\n')
    world.env["LOLLMS_API_KEY"] = "sk-123456"
    return ["openai"]


@row({"openai": "failed", "echo": "ready"}, "It comes from: file, [formats.openai].")
def a_wrong_key_in_the_table_of_a_format_beside_others(world):
    body = json.dumps({"error": {"message": "Incorrect API key provided: sk-123456"}})
    address = world.server(401, "application/json", body)
    world.config(f'format = "echo"\n[formats.openai]\nhost_address = "{address}"\napi_key = "sk-123456"\n')
    return ["openai"]


@row({"openai": "failed"}, "Check the user name and the password in --host-address.")
def a_wrong_password_in_an_address(world):
    world.monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    address = world.server(401, "application/json", '{"error": {"message": "no"}}')
    return ["-f", "openai", "--host-address", address.replace("//", "//me:sekret@")]


@row({"openai": "unreachable"}, "Start the server, or check OPENAI_BASE_URL.")
def a_variable_that_names_an_address_where_nobody_is(world):
    world.env |= {"OPENAI_BASE_URL": world.nobody(), "OPENAI_API_KEY": "sk-123456"}
    return ["-f", "openai"]


@row({"openai": "broken"}, "Correct verify_ssl_certificate (environment LOLLMS_VERIFY_SSL_CERTIFICATE)")
def certificates_that_are_not_there(world):
    world.env |= {"LOLLMS_VERIFY_SSL_CERTIFICATE": "/nope", "OPENAI_API_KEY": "sk-123456"}
    return ["-f", "openai", "--host-address", "https://localhost:1"]


@row({"litellm": "failed"}, "needs a key")
def a_server_of_ones_own_through_litellm_without_a_key(world):
    world.monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return ["-f", "litellm", "-m", "openai/gpt-4o", "--host-address", world.nobody()]


@row({"lollms": "broken"}, "is not a server address")
def an_address_that_is_none(world):
    return ["--host-address", "http://localhost:port"]


# --- the model -----------------------------------------------------------------------------------------------------


@row({"ollama": "no model"}, "lollms models -f ollama --pull NAME")
def no_model_at_all(world):
    return ["-f", "ollama", "--host-address", world.ollama(models={})]


@row({"ollama": "no model"}, "lollms config set formats.ollama.model tiny")
def no_model_chosen(world):
    return ["-f", "ollama", "--host-address", world.ollama()]


@row({"ollama": "no model"}, "tinny")
def a_model_that_is_not_there(world):
    return ["-f", "ollama", "-m", "tinny", "--host-address", world.ollama()]


@row({"ollama": "no model"}, "cannot answer prompts")
def a_model_that_only_embeds(world):
    return ["-f", "ollama", "-m", "tiny-embed", "--host-address", world.ollama()]


@row({"local": "no model"}, "there is no model ./gone.gguf on this machine")
def a_file_that_is_not_there(world):
    world.install(LOCAL, local="Working")
    return ["-f", "local", "-m", "./gone.gguf"]


# --- the configuration ---------------------------------------------------------------------------------------------


@row({"echo": "ready"}, "is not valid TOML")
def a_file_that_is_not_toml(world):
    world.config("format = echo\n")
    return ["-f", "echo"]


@row({"echo": "ready"}, "unknown key 'modle'")
def a_key_that_is_not_known(world):
    world.config('format = "echo"\nmodle = "x"\n')
    return []


@row({"echo": "ready"}, "[formats.ollama]")
def the_table_of_a_format_without_its_prefix(world):
    world.config('format = "echo"\n[ollama]\nmodel = "x"\n')
    return []


@row({"echo": "broken"}, "Did you mean 'delay'?")
def an_option_that_the_format_lacks(world):
    world.config('format = "echo"\n[formats.echo.options]\ndealy = 1\n')
    return []


@row({"echo": "ready"}, "temperature must be at least 0")
def a_number_that_cannot_be(world):
    world.config('format = "echo"\ntemperature = -1\n')
    return []


@row({"echo": "ready"}, "echo (file)", 0)
def a_file_with_a_byte_order_mark(world):
    world.config('\ufeffformat = "echo"\n')
    return []


@row({"echo": "ready"}, "is not UTF-8")
def a_file_in_another_encoding(world):
    world.config("").write_bytes('format = "echo"\n'.encode("utf-16"))
    return ["-f", "echo"]


@row({"echo": "ready"}, "LOLLMS_SEED must be an integer")
def a_variable_of_the_wrong_kind(world):
    world.env |= {"LOLLMS_SEED": "x", "LOLLMS_FORMAT": "echo"}
    return []


@row({"echo": "broken"}, "cannot be read: Is a directory")
def a_key_file_that_cannot_be_read(world):
    return ["-f", "echo", "--api-key-file", str(world.home)]


@row({"echo": "no model"}, "there is no model x on this machine")
def a_model_that_a_format_of_this_machine_does_not_list(world):
    return ["-f", "echo", "-m", "x"]


@row({"echo": "no model"}, "there is no model x on this machine")
def a_variable_for_the_one_format_that_is_named(world):
    world.env |= {"LOLLMS_MODEL": "x"}
    return ["echo"]


@row({"echo": "ready"}, "is not a folder that can be written", 0)
def a_home_that_cannot_be_written(world):
    (world.home / "state").write_text("a file in the way")
    return ["-f", "echo"]


def test_the_table_is_long_enough():
    assert len(ROWS) >= 20


@pytest.mark.parametrize(("prepare", "status", "said", "code"), ROWS)
def test_the_truth(lollms, world, prepare, status, said, code):
    arguments = ["doctor", *prepare(world)]
    result = lollms(*arguments, "--json", env=world.env)
    report = json.loads(result.stdout)
    found = {name: report["formats"][name]["status"] for name in status}
    assert found == status
    assert result.exit_code == code
    assert bool(report["problems"]) is bool(code)
    text = lollms(*arguments, env=world.env)
    assert said in text.stdout
    assert ("All is well" in text.stdout) is (code == 0)
    assert text.exit_code == code
    assert text.stderr == ""
    assert "Traceback" not in text.stdout
    assert "sk-123456" not in text.output + result.output
