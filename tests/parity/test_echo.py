"""The echo format keeps the contract."""

from __future__ import annotations

import pytest

from lollms_core.testing import BackendConformance
from tests.support.waiting import PATIENCE


class TestEcho(BackendConformance):
    patience = PATIENCE

    @pytest.fixture
    def client_options(self):
        return {"default_generation_mode": "echo"}

    @pytest.fixture
    def silent_options(self):
        return {"delay": 3600.0}

    def expected_answer(self, prompt):
        return prompt
