"""The conformance kit for authors of backends and extensions; needs pytest (`pip install lollms-core[testing]`).

from lollms_core.testing import BackendConformance
"""

from __future__ import annotations

from lollms_core.testing.checks import eventually, require, within
from lollms_core.testing.conformance import BackendConformance
from lollms_core.testing.extension import ExtensionConformance
from lollms_core.testing.setting import png

__all__ = ["BackendConformance", "ExtensionConformance", "eventually", "png", "require", "within"]
