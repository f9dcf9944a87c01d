"""The kit over everything that is broken. Not collected by itself: `test_kit_catches_faults` runs it in a process."""

from __future__ import annotations

import pytest

from lollms_core.testing import BackendConformance
from tests.parity.broken import clients, formats  # noqa: F401  # they fill the table
from tests.parity.broken.table import BACKENDS, CLIENTS, Case
from tests.support.waiting import PATIENCE

_FIXTURES = ("observe", "silent_options")


def _class(name: str, case: Case, format: str) -> type:
    @pytest.fixture
    def client_options(self):
        return {"default_generation_mode": format}

    @pytest.fixture(autouse=True)
    def the_fault(self, monkeypatch):
        if name in CLIENTS:
            case.subject(monkeypatch)

    body = {"patience": PATIENCE, "basics_first": False, "client_options": client_options, "the_fault": the_fault}
    for key, value in case.attributes.items():
        body[key] = _fixture(value) if key in _FIXTURES else value
    return type(f"Test_{name}", (BackendConformance,), body)


def _fixture(value):
    @pytest.fixture
    def fixture(self):
        return value(self) if callable(value) else value

    return fixture


for _name, _case in BACKENDS.items():
    globals()[f"Test_{_name}"] = _class(_name, _case, _name.lower())
for _name, _case in CLIENTS.items():
    globals()[f"Test_{_name}"] = _class(_name, _case, "echo")
