"""The tutorial for authors of backends: its packages are installed as printed and keep the contract."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lollms_core import LollmsClient, ModelLoadError, UnsupportedOptionError
from lollms_core._client import registry
from lollms_core.testing import BackendConformance
from tests.parity.packages import install_project, run_pytest
from tests.support.strangers import Strangers
from tests.support.waiting import PATIENCE

DOCUMENT = Path(__file__).parents[2] / "docs" / "backends.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def block(containing: str) -> str:
    (found,) = [text for text in blocks("python") if containing in text]
    return found


def test_seven_lines_of_python_and_seven_of_toml_are_a_backend(tmp_path):
    module, project = blocks("python")[0], blocks("toml")[0]
    assert len([line for line in module.splitlines() if line]) <= 7
    assert len(project.splitlines()) == 7
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "lollms_shout.py").write_text(module)
    (folder / "pyproject.toml").write_text(project)
    (folder / "test_shout.py").write_text(block("class TestShout"))
    site = tmp_path / "site"
    install_project(site, folder)
    done = run_pytest(folder, [folder, site])
    failed = set(re.findall(r"^FAILED \S+::(\w+)", done.stdout, re.MULTILINE))
    assert failed == {"test_finish_reason_says_why_the_answer_ended", "test_contract_version_is_stated"}, done.stdout


def test_options_and_capabilities_as_printed(strangers):
    source = "\n".join([blocks("python")[0], block("class ShoutOptions")])
    strangers.install(source, shout="ShoutBackend")
    with LollmsClient(default_generation_mode="shout", ending="!") as client:
        assert client.generate("good morning") == "GOOD! MORNING! "
    with pytest.raises(UnsupportedOptionError, match="endign") as caught:
        LollmsClient(default_generation_mode="shout", endign="!")
    assert "'ending'" in caught.value.hint


def test_values_from_a_thread_as_printed(strangers):
    strangers.install("\n".join([blocks("python")[0], block("class LengthBackend")]), length="LengthBackend")

    async def main(client):
        return await client.aembed(["abcd"])

    with LollmsClient(default_generation_mode="length") as client:
        assert client.embed(["a", "abc"]) == [[1.0], [3.0]]
        assert asyncio.run(main(client)) == [[4.0]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        source = "\n".join([blocks("python")[0], block("class EngineBackend")])
        Strangers(tmp_path_factory.mktemp("site"), patch).install(source, engine="EngineBackend")
        yield
        sys.path_importer_cache.clear()
    registry.refresh_installed()


class TestTheEngineAsPrinted(BackendConformance):
    patience = PATIENCE

    @pytest.fixture
    def client_options(self, engine):
        return {"default_generation_mode": "engine"}

    def expected_answer(self, prompt):
        return "".join(f"{word.upper()} " for word in prompt.split())


VOICES = ["loud", "louder"]


class ShoutServer(ThreadingHTTPServer):
    """The server of the tutorial's HTTP backend."""

    daemon_threads = True
    block_on_close = False


class Shout(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_whole(200, VOICES)

    def send_whole(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body["text"] == "before a voice is loaded":
            self.send_whole(423, {"error": "no voice"})
            return
        if body["voice"] not in (None, *VOICES):
            self.send_whole(404, {"error": f"there is no model {body['voice']}"})
            return
        words = body["text"].split()
        said = words[: body["limit"]]
        lines = [{"word": f"{word.upper()} "} for word in said]
        lines.append({"end": "stop" if said == words else "length"})
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for line in lines:
                data = json.dumps(line).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True


@pytest.fixture(scope="module")
def shout_server():
    server = ShoutServer(("127.0.0.1", 0), Shout)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("site")
        Strangers(folder, patch).install(block("class ShoutServerBackend"), shoutserver="ShoutServerBackend")
        yield
        sys.path_importer_cache.clear()
    registry.refresh_installed()  # or the format is known to whatever runs in this process next


class TestTheHTTPBackendAsPrinted(BackendConformance):
    patience = PATIENCE

    @pytest.fixture
    def client_options(self, installed, shout_server):
        return {"default_generation_mode": "shoutserver", "host_address": shout_server}

    def expected_answer(self, prompt):
        return "".join(f"{word.upper()} " for word in prompt.split())

    def test_the_voices(self):
        assert self.client.list_models() == VOICES

    def test_an_error_of_its_own(self):
        with pytest.raises(ModelLoadError, match="no voice") as caught:
            list(self.client.stream("before a voice is loaded"))
        assert "shout-server load" in caught.value.hint
