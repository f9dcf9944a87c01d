"""The conformance kit for authors of backends and extensions; needs pytest (`pip install lollms-core[testing]`).

from lollms_core.testing import BackendConformance
"""

from __future__ import annotations

from lollms_core.testing._conformance import BackendConformance
from lollms_core.testing._extension import ExtensionConformance
from lollms_core.testing._extension_setting import ExtensionSetting
from lollms_core.testing._imports import private_imports
from lollms_core.testing._requirements import eventually, require, within
from lollms_core.testing._setting import Setting, png

__all__ = [
    "BackendConformance",
    "ExtensionConformance",
    "ExtensionSetting",
    "Setting",
    "eventually",
    "png",
    "private_imports",
    "require",
    "within",
]
