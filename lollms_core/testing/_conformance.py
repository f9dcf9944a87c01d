"""`BackendConformance`: what every backend must do, as a class that its author's tests derive from."""

from __future__ import annotations

from lollms_core.testing._answers import Answers
from lollms_core.testing._basics import Basics
from lollms_core.testing._downloads import Downloads
from lollms_core.testing._honesty import Honesty
from lollms_core.testing._life import Life
from lollms_core.testing._limits import Limits
from lollms_core.testing._mistakes import Mistakes
from lollms_core.testing._parts import Parts
from lollms_core.testing._questions import Questions
from lollms_core.testing._stopping import Stopping
from lollms_core.testing._twins import Twins
from lollms_core.testing._value_calls import Queries

__all__ = ["BackendConformance"]


class BackendConformance(
    Answers, Limits, Honesty, Parts, Stopping, Questions, Queries, Downloads, Mistakes, Twins, Life, Basics
):
    """Derive from this, give one fixture, and pytest runs every behaviour against your backend.

        from lollms_core.testing import BackendConformance

        class TestShout(BackendConformance):
            @pytest.fixture
            def client_options(self):
                return {"default_generation_mode": "shout"}

    Five basic behaviours run first. Where one of them fails, the others are skipped: they would fail with it.

    What the backend cannot do is taken from its `Capabilities`. What else it cannot do is named in `deviations`, with
    the reason. The format must be installed, `pip install -e .` is enough. See `Setting` for the other attributes and
    fixtures: `observe` shows what a stub server was sent, `silent_options` makes a backend that waits, `model_to_pull`
    names a model that may be downloaded.
    """
