"""Formats of strangers: found through metadata, isolated from one another."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lollms_core import (
    Backend,
    BackendError,
    Chunk,
    ContractError,
    FormatLoadError,
    LollmsClient,
    LollmsError,
    UnknownFormatError,
    hookimpl,
    installed_formats,
)
from lollms_core._client import registry

SHOUT = """
from lollms_core import Backend, Chunk, hookimpl
class Shout(Backend):
    @hookimpl
    def generate(self, request):
        yield Chunk(request.prompt.upper())
"""


def test_listing_imports_nothing(strangers):
    module = strangers.install("raise RuntimeError('imported')", broken="Whatever")
    assert installed_formats()["broken"].distribution == module
    assert module not in sys.modules


def test_one_broken_format_leaves_the_others_alone(strangers):
    strangers.install("import a_package_that_is_missing", broken="Whatever")
    strangers.install(SHOUT, shout="Shout")
    with LollmsClient(default_generation_mode="shout") as client:
        assert client.generate("hi") == "HI"
    with pytest.raises(FormatLoadError, match="a_package_that_is_missing") as caught:
        LollmsClient(default_generation_mode="broken")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert "doctor" in caught.value.hint


def test_a_backends_class_need_not_be_installed():
    class Shout(Backend):
        @hookimpl
        def generate(self, request):
            yield Chunk(request.prompt.upper())

    with LollmsClient(default_generation_mode=Shout, raise_errors=True) as client:
        assert (client.format, client.generate("hi")) == ("Shout", "HI")
    with pytest.raises(ContractError, match="the format 'str' of builtins: builtins:str is not a subclass"):
        LollmsClient(default_generation_mode=str)  # type: ignore[arg-type]


def test_a_package_that_exits_at_import_does_not_end_the_program(strangers):
    strangers.install("import sys; sys.exit(3)", rude="Whatever")
    with pytest.raises(FormatLoadError, match="SystemExit"):
        LollmsClient(default_generation_mode="rude")


def test_a_backend_that_cannot_be_made_is_a_backend_error(strangers):
    strangers.install(SHOUT + "    def __init__(self, settings):\n        raise OSError('no disk')\n", shout="Shout")
    with pytest.raises(BackendError, match="no disk") as caught:
        LollmsClient(default_generation_mode="shout")
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("class B: pass", "not a subclass"),
        ("from lollms_core import Backend\nclass B(Backend): pass", "does not implement `generate`"),
        (
            "from lollms_core import Backend\nclass B(Backend):\n    def generate(self, request): pass",
            "lacks @hookimpl",
        ),
        ("from lollms_core import Backend\nclass B(Backend):\n    contract_version = 99", "version 99 .* version 1"),
    ],
)
def test_what_breaks_the_contract_is_said(strangers, source, complaint):
    strangers.install(source, bad="B")
    with pytest.raises(ContractError, match=complaint):
        LollmsClient(default_generation_mode="bad")


def test_a_misspelt_hook_is_refused(strangers):
    strangers.install(SHOUT + "    @hookimpl\n    def list_modles(self, request):\n        return []\n", bad="Shout")
    with pytest.raises(ContractError, match="list_modles"):
        LollmsClient(default_generation_mode="bad")


def test_a_strangers_format_cannot_take_the_name_of_a_built_in_one(strangers, caplog):
    strangers.install(SHOUT, echo="Shout")
    with LollmsClient(default_generation_mode="echo") as client:
        assert client.generate("hi") == "hi"
    assert installed_formats()["echo"].distribution == "lollms-core"
    assert "ignored" in caplog.text


def test_an_official_format_that_is_not_installed_names_its_package(monkeypatch):
    monkeypatch.setattr(registry, "_entry_points", lambda group: ())
    with pytest.raises(LollmsError, match="ollama") as caught:
        LollmsClient(default_generation_mode="ollama")
    assert "pip install lollms-ollama" in caught.value.hint


def test_so_does_one_whose_name_is_misspelt(monkeypatch):
    monkeypatch.setattr(registry, "_entry_points", lambda group: ())
    with pytest.raises(UnknownFormatError, match="olama") as caught:
        LollmsClient(default_generation_mode="olama")
    assert caught.value.hint.startswith("Did you mean 'ollama'? Install it with `pip install lollms-ollama`")


def test_importing_the_core_is_light():
    heavy = "requests tiktoken torch click rich pydantic transformers aiohttp litellm PIL urllib3".split()
    code = f"import lollms_core, lollms_client, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_making_a_client_loads_no_http_library():
    code = (
        "import sys; from lollms_client import LollmsClient; LollmsClient(); "
        "print([m for m in ('requests', 'urllib3', 'aiohttp', 'tiktoken') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_guides_import_name_has_the_same_names():
    import lollms_client
    import lollms_core

    assert lollms_client.__all__ == lollms_core.__all__
    for name in lollms_core.__all__:
        assert getattr(lollms_client, name) is getattr(lollms_core, name)
    with pytest.raises(AttributeError):
        _ = lollms_core.no_such_name  # type: ignore[attr-defined]


def test_every_public_name_of_errors_and_types_is_exported():
    import lollms_core
    from lollms_core.contract import errors, types

    assert set(errors.__all__) | set(types.__all__) <= set(lollms_core.__all__)
