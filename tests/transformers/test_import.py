"""Importing and constructing cost nothing."""

import subprocess
import sys


def test_neither_import_nor_construction_loads_torch():
    code = """
import sys
from lollms_core import BackendSettings
from lollms_transformers import TransformersBackend
TransformersBackend(BackendSettings(format="transformers", model_name="no/such-model"))
heavy = [name for name in ("torch", "transformers", "tokenizers", "numpy", "PIL") if name in sys.modules]
assert not heavy, heavy
import threading
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_registry_finds_the_format():
    from lollms_core._client.registry import load_format

    assert load_format("transformers").__name__ == "TransformersBackend"


def test_without_torch_it_is_said_what_is_missing():
    code = """
import sys
sys.modules["torch"] = None  # as where the package is not installed: importing it fails
from lollms_core import LollmsClient, MissingDependencyError
client = LollmsClient(default_generation_mode="transformers", model_name="any/model", raise_errors=True)
try:
    client.generate("hi")
except MissingDependencyError as error:
    print(error.message, error.hint, sep="|")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message, _, hint = done.stdout.partition("|")
    assert message.startswith("the package torch is not installed")
    assert "pip install" in hint
    assert done.stderr == ""
