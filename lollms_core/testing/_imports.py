"""What a package imports of the core that is not meant to be imported."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

__all__ = ["private_imports"]


def private_imports(package: str) -> list[str]:
    """Where the modules of a package import what is private in `lollms_core`: a line for each place.

    Args:
        package: the name that is imported, such as `"lollms_whatever"`. None of its code is run.

    Raises:
        ModuleNotFoundError: there is no such package, or it is not written in Python.
        SyntaxError: one of its files is no Python.
    """
    if not package.isidentifier():
        raise ModuleNotFoundError(
            f"{package!r} is not the name of a package: give the name that is imported, such as lollms_whatever"
        )
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no package {package!r} here", name=package)
    origin = Path(spec.origin)
    if origin.suffix != ".py":
        raise ModuleNotFoundError(f"{package!r} is not written in Python", name=package)
    files = sorted(origin.parent.rglob("*.py")) if spec.submodule_search_locations else [origin]
    return [
        f"{file.relative_to(origin.parent.parent if len(files) > 1 else origin.parent)}:{line}: {name} is private"
        for file in files
        for line, name in _imported(ast.parse(file.read_bytes(), str(file)))
        if name.startswith("lollms_core.") and any(_is_private(part) for part in name.split("."))
    ]


def _imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
