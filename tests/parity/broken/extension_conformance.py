"""The kit over every broken extension. Not collected by itself: `test_extension_kit` runs it in a process."""

from __future__ import annotations

import pytest

from lollms_core.testing import ExtensionConformance
from tests.parity.broken import extensions  # noqa: F401  # they fill the table
from tests.parity.broken.table import EXTENSIONS, Case
from tests.support.waiting import PATIENCE


def _class(name: str, case: Case) -> type:
    @pytest.fixture
    def extension(self):
        return case.subject()

    body = {"patience": PATIENCE, "basics_first": False, "extension": extension, **case.attributes}
    return type(f"Test_{name}", (ExtensionConformance,), body)


for _name, _case in EXTENSIONS.items():
    globals()[f"Test_{_name}"] = _class(_name, _case)
