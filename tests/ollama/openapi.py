"""Ollama's published OpenAPI description (`ollama-openapi.yaml`): what it says of requests and answers."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jsonschema
import yaml

__all__ = ["problems", "request_schema"]


def problems(schema: str, value: Any) -> list[str]:
    """What a value violates of a schema of the description."""
    return [f"{error.json_path}: {error.message}" for error in _validator(schema).iter_errors(value)]


def request_schema(path: str) -> str:
    """The name of the schema of what is posted to a path."""
    content = _description()["paths"][path]["post"]["requestBody"]["content"]
    name: str = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return name


@functools.cache
def _description() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("ollama-openapi.yaml").read_text())
    return loaded


@functools.cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    # References such as `#/components/schemas/ModelOptions` are resolved within the whole document.
    document = {"$ref": f"#/components/schemas/{schema}", "components": _description()["components"]}
    return jsonschema.Draft202012Validator(document)
