"""Tokens by the model's own tokenizer, from any thread; vectors; what is known about a model; what is loadable."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lollms_core import (
    ContextWindowError,
    DetokenizeRequest,
    EmbedRequest,
    InvalidRequestError,
    ListModelsRequest,
    ModelInfoRequest,
    TokenizeRequest,
)
from tests.support.results import known
from tests.transformers.conftest import FRANCE, MODEL, answer, greedy, make, value

pytestmark = pytest.mark.model


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(max_codepoint=0x1FFFF, exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=80))
def test_tokens_round_trip(backend, text):
    tokens = value(backend.tokenize(TokenizeRequest(text=text)))
    assert value(backend.detokenize(DetokenizeRequest(tokens=tuple(tokens)))) == text


def test_sixteen_threads_share_the_tokenizer_while_the_model_runs(backend):
    texts = [f"{number} grüße 👩‍👩‍👧 " * (number % 7 + 1) for number in range(400)]

    def there_and_back(text):
        return value(
            backend.detokenize(DetokenizeRequest(tokens=tuple(value(backend.tokenize(TokenizeRequest(text=text))))))
        )

    with ThreadPoolExecutor(17) as pool:
        running = pool.submit(answer, backend, greedy(FRANCE))
        assert list(pool.map(there_and_back, texts)) == texts
        assert running.result()[0] == "The capital of France is Paris."


@pytest.mark.parametrize("token", [-1, 49152, 10**9])
def test_a_token_that_is_not_in_the_vocabulary(backend, token):
    with pytest.raises(InvalidRequestError, match=str(token)) as caught:
        value(backend.detokenize(DetokenizeRequest(tokens=(1, token))))
    assert "49151" in caught.value.hint


def test_vectors_are_means_over_the_text_alone(backend, smol):
    import torch

    texts = ("The cat sat on the mat.", "A dog", "The cat sat on the rug, and then it slept for a long while.")
    vectors = value(backend.embed(EmbedRequest(texts=texts)))
    assert [len(vector) for vector in vectors] == [576] * 3
    # The one with the most padding in the batch equals the one computed alone.
    assert torch.allclose(
        torch.tensor(vectors[1]), torch.tensor(value(backend.embed(EmbedRequest(texts=("A dog",))))[0]), atol=1e-4
    )
    similar = torch.cosine_similarity(torch.tensor(vectors[0]), torch.tensor(vectors[2]), dim=0)
    assert similar > torch.cosine_similarity(torch.tensor(vectors[0]), torch.tensor(vectors[1]), dim=0)


def test_texts_that_cannot_be_embedded(backend, smol):
    with pytest.raises(InvalidRequestError, match="text 1"):
        value(backend.embed(EmbedRequest(texts=("a", ""))))
    with pytest.raises(ContextWindowError, match="8192"):
        value(backend.embed(EmbedRequest(texts=("word " * 8193,))))


def test_model_info(backend):
    info = value(backend.model_info(ModelInfoRequest()))
    assert (info.context_window, info.parameters, info.dtype, info.device) == (8192, 134515008, "float32", "cpu")
    assert info.capabilities == ("completion", "chat", "embedding")


def test_what_is_listed_can_be_loaded(smol, tmp_path, monkeypatch):
    shutil.copytree(smol.model.name_or_path, tmp_path / "mine" / "smol")
    found = {model.name: model for model in make(None, models_folder=tmp_path).list_models(ListModelsRequest())}
    assert known(found[MODEL].size_bytes) > 90_000_000
    assert found["mine/smol"].context_window == 8192
    from lollms_transformers.sources import find_source

    assert find_source("mine/smol", [tmp_path]).kind == "folder"


def test_the_hub_cache_is_listed(tmp_path, monkeypatch):
    import huggingface_hub

    snapshot = tmp_path / "models--acme--tiny" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"max_position_embeddings": 77, "vision_config": {}}')
    (snapshot / "model.safetensors").write_bytes(b"0" * 10)
    scan = huggingface_hub.scan_cache_dir
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: scan(tmp_path))
    (model,) = [model for model in make(None).list_models(ListModelsRequest()) if model.name == "acme/tiny"]
    assert model.context_window == 77
    assert "vision" in model.capabilities


def test_a_smaller_window_on_request():
    from lollms_transformers import TransformersBackend

    from lollms_core import BackendSettings, CloseRequest

    backend = TransformersBackend(
        BackendSettings(format="transformers", model_name=MODEL, ctx_size=64, ctx_size_chosen=True)
    )
    try:
        assert value(backend.model_info(ModelInfoRequest())).context_window == 64
        with pytest.raises(ContextWindowError, match="64"):
            answer(backend, greedy("word " * 64))
    finally:
        backend.close(CloseRequest())
