"""Conversions: once, whole or not at all, also when two processes want the same one."""

import logging
import subprocess
import sys

import pytest
from lollms_transformers.gguf_cache import _folder_name, cache_directory, converted

from tests.transformers.conftest import LONG


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A GGUF file of a one-layer Llama with a byte-level tokenizer, written with the format's own package."""
    import gguf
    import numpy as np
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    tokens = [*bytes_to_unicode().values(), "he", "<|end|>"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(["h e"])
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_unk_token_id, writer.add_pad_token_id):
        add(len(tokens) - 1)
    random = np.random.default_rng(0)
    shapes = {"token_embd": (len(tokens), 32), "output_norm": (32,), "output": (len(tokens), 32)}
    shapes |= {
        f"blk.0.{name}": (32, 32)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    }
    shapes |= {"blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOLLMS_CACHE_DIR", str(tmp_path))
    return tmp_path / "gguf"


def test_a_conversion_is_announced_once_and_kept(small, cache, capfd):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = converted(small, torch.float32)
    assert folder.parent == cache == cache_directory()
    said = capfd.readouterr().err
    assert "Converting small.gguf to float32" in said
    assert "happens once" in said
    assert str(folder) in said
    assert converted(small, torch.float32) == folder
    assert capfd.readouterr().err == ""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert model.dtype is torch.float32
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("hehe!")["input_ids"]) == "hehe!"


def test_the_weights_are_those_of_the_file(small, cache):
    import gguf
    import torch
    from safetensors.torch import load_file

    folder = converted(small, torch.float32)
    read = {tensor.name: tensor.data for tensor in gguf.GGUFReader(small).tensors}
    saved = load_file(folder / "model.safetensors")
    assert torch.equal(saved["model.layers.0.mlp.up_proj.weight"], torch.tensor(read["blk.0.ffn_up.weight"]))


def test_two_processes_convert_once(small, cache):
    code = f"""
import pathlib, torch
from lollms_transformers.gguf_cache import converted
print(converted(pathlib.Path({str(small)!r}), torch.float32))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    results = [process.communicate(timeout=LONG) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert sorted(result[1].count("Converting small.gguf") for result in results) == [0, 1]
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_what_a_killed_process_left_behind_is_removed(small, cache):
    import torch

    name = _folder_name(small, torch.float32)
    leftover = cache / f"{name}.killed.part"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")
    folder = converted(small, torch.float32)
    assert not leftover.exists()
    assert (folder / "config.json").exists()


def test_an_interrupted_conversion_leaves_nothing(small, cache, monkeypatch):
    import lollms_transformers.gguf_cache as module
    import torch

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        converted(small, torch.float32)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_another_file_or_type_is_another_conversion(small, tmp_path):
    import torch

    changed = tmp_path / small.name
    data = bytearray(small.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    names = {
        _folder_name(small, torch.float32),
        _folder_name(small, torch.float16),
        _folder_name(changed, torch.float32),
    }
    assert len(names) == 3
    same = tmp_path / "copy" / small.name
    same.parent.mkdir()
    same.write_bytes(small.read_bytes())
    assert _folder_name(same, torch.float32) == _folder_name(small, torch.float32)


def test_who_shows_progress_is_told_and_there_is_no_bar(small, cache, capfd, caplog):
    import torch

    caplog.set_level(logging.INFO, "lollms.progress")
    progress, listener = logging.getLogger("lollms.progress"), logging.NullHandler()
    progress.addHandler(listener)
    try:
        folder = converted(small, torch.float32)
    finally:
        progress.removeHandler(listener)
    assert capfd.readouterr().err == ""
    remark, *stages = [record for record in caplog.records if record.name == "lollms.progress"]
    assert str(folder) in remark.getMessage()
    assert not hasattr(remark, "part")
    parts = [record.part for record in stages]
    assert parts == sorted(parts)
    assert (parts[0], parts[-1]) == (0, 1)
    assert list(dict.fromkeys(record.getMessage() for record in stages)) == [
        "reading the tokenizer",
        "reading the weights",
        "writing the folder",
        "",
    ]


def test_a_pipe_gets_no_bar(small, cache, capfd):
    import torch

    converted(small, torch.float32)
    assert capfd.readouterr().err.count("\r") == 0
