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
    from lollms_core.registry import load_format

    assert load_format("transformers").__name__ == "TransformersBackend"
