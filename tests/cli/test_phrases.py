"""Hints at the terminal use the terminal's words: every hint of the core and the plugins is read here."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lollms_core import ContractError, GenerateOptions, LollmsClient
from lollms_core._cli.known_settings import SETTINGS
from lollms_core._cli.phrases import in_command_words, words_of
from tests.support.ollama_server import OllamaServer

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for path in sorted([*ROOT.glob("lollms_core/**/*.py"), *ROOT.glob("plugins/*/lollms_*/**/*.py")])
    if not path.is_relative_to(ROOT / "lollms_core" / "_cli")
]


class Hints(ast.NodeVisitor):
    """Collects the texts that a module uses as hints: arguments, attributes, returns of functions named so."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[str] = []
        self._names: dict[str, ast.expr] = {}
        for node in ast.walk(tree):
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self._names |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
        self.visit(tree)

    def visit_keyword(self, node: ast.keyword) -> None:
        if "hint" in (node.arg or ""):
            self.found += self.texts(node.value)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = [
            target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "") for target in node.targets
        ]
        if any("hint" in name.lower() for name in names):
            self.found += self.texts(node.value)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if "hint" in node.name.lower():
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    self.found += self.texts(inner.value)
        self.generic_visit(node)

    def texts(self, node: ast.expr) -> list[str]:
        """The texts that an expression may be, with an ellipsis for what only running it would tell."""
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else []
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
            return ["".join(parts)]
        if isinstance(node, ast.BinOp):
            return [
                left + right for left in self.texts(node.left) or ["…"] for right in self.texts(node.right) or ["…"]
            ]
        if isinstance(node, ast.IfExp):
            return self.texts(node.body) + self.texts(node.orelse)
        if isinstance(node, ast.BoolOp):
            return [text for value in node.values for text in self.texts(value)]
        if isinstance(node, ast.Dict):
            return [text for value in node.values for text in self.texts(value)]
        if isinstance(node, ast.Name) and node.id in self._names:
            return self.texts(self._names.pop(node.id))
        return []


def hints() -> Iterator[tuple[str, str]]:
    for path in SOURCES:
        for text in dict.fromkeys(Hints(ast.parse(path.read_text(encoding="utf-8"))).found):
            if text:
                yield path.relative_to(ROOT).as_posix(), text


PARAMETERS = {
    *inspect.signature(LollmsClient).parameters, *GenerateOptions.__annotations__, "default_generation_mode",
    "service_key", "partial_text", "raise_errors",
}  # fmt: skip
PYTHONS = (
    re.compile(rf"(?<![\w./-])({'|'.join(name for name in PARAMETERS if '_' in name)})(?!\w)"),
    re.compile(r"\w+\(\)|\w+\.\w+\(|\bload_image\b|\blist_models\b|\bmodel_info\b|\bTimeouts\b|ELF_"),
    re.compile(r"\b(True|False|None)\b"),
    re.compile(r"(?<!-O )(?<![\w_])[a-z][a-z_]*=(?!…)"),
    re.compile(r"`with`|\bpydantic\b|\basyncio\b|__main__|multiprocessing"),
)
SHELL = re.compile(r"`(?:-O|lollms|pip|ollama|vllm)[^`]*`")
"""What stands there to be typed, and may look like Python."""


def left_over(text: str) -> list[str]:
    plain = SHELL.sub("", text)
    allowed = {
        setting.name
        for setting in SETTINGS.values()
        if setting.option is None or setting.name == "verify_ssl_certificate"
    }
    found = [match[0].strip("=") for pattern in PYTHONS for match in pattern.finditer(plain)]
    return [name for name in found if name not in allowed]


def test_there_are_hints():
    assert len(list(hints())) > 100


@pytest.mark.parametrize(("path", "hint"), list(hints()))
def test_no_hint_speaks_python(path, hint):
    assert left_over(in_command_words(hint)) == []


def test_the_search_finds_what_it_looks_for():
    for text in ("set host_address", "the answer is in partial_text", "see model_info()", "think=False", "is None"):
        assert left_over(text)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Pass a key as service_key, or set OPENAI_API_KEY.",
         "Set OPENAI_API_KEY or LOLLMS_API_KEY, or name a file with --api-key-file."),
        ("Ask again, raise n_predict, or use a larger model; the answer is in partial_text.",
         "Ask again, raise --n-predict, or use a larger model; the answer itself may tell why."),
        ("Start a LoLLMS server there (`lollms-server`), set host_address to where one runs (the current one: port "
         "9642), or choose another format with default_generation_mode (`lollms formats` lists them).",
         "Start a LoLLMS server there (`lollms-server`), say where one runs with --host-address (the current one: port "
         "9642), or choose another format with --format (`lollms formats` lists them)."),
        ("Check the server, or set another limit for the idle timeout (Timeouts(idle=...)).",
         "Check the server, or set another limit: `lollms config set idle_timeout SECONDS`."),
        ("Use quantization='8bit' on CUDA, or device='cpu'.",
         "Use `-O quantization=8bit` on CUDA, or `-O device=cpu`."),
        ("the x format does not honour: seed, temperature, top_k",
         "the x format does not honour: --seed, --temperature, --top-k"),
        ("the transformers format needs a model_name", "the transformers format needs the name of a model"),
        ("temperature must be at least 0, not -1", "--temperature must be at least 0, not -1"),
        ("n_predict must be at least 1, not 0", "--n-predict must be at least 1, not 0"),
        ("n_predict=100000 does not fit", "--n-predict 100000 does not fit"),
        ("Raise n_predict. The answer is in partial_text.", "Raise --n-predict."),
        ("Lower max_batch_size.", "Lower `-O max_batch_size=…`."),
        ("Available: device, max_batch_size, x.", "Available: device, max_batch_size, x."),
        ("x options: max_batch_size: wrong", "x options: max_batch_size: wrong"),
        ("Check the key that was passed as service_key, or set OPENAI_API_KEY.",
         "Check the key in OPENAI_API_KEY, LOLLMS_API_KEY or --api-key-file, whichever holds it."),
        ("Pass a key as service_key, or set LOLLMS_API_KEY.",
         "Set LOLLMS_API_KEY, or name a file with --api-key-file."),
        ("there is no model 'x/host_address'", "there is no model 'x/host_address'"),
    ],
)  # fmt: skip
def test_the_words_of_the_terminal(said, shown):
    assert in_command_words(said) == shown


def test_whoever_wrote_a_package_is_told_in_python():
    said = "it declares n_predikt; there are n_predict, json_schema, ctx_size"
    with pytest.raises(ContractError) as raised:
        raise ContractError(said, hint="Set model_name.")
    assert words_of(raised.value) == (said, "Set model_name.")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("think = true", "Hint: Add --no-think, or take think out of its place (file)"),
        ("n_predict = 9999\nctx_size = 4096", "Error: n_predict (file) 9999 is more than the window of 2048 tokens"),
    ],
)
def test_what_no_option_has_set_is_told_with_its_place(lollms, config, setting, said):
    with OllamaServer() as server:
        config(f"{setting}\n")
        result = lollms("generate", "-f", "ollama", "-m", "tiny-text", "--host-address", server.address, "hi")
    assert result.exit_code == 1
    assert said in " ".join(result.stderr.split())
