"""The transformers format for lollms-core: any causal or image-text model that `transformers` loads, in this process.

Importing this package imports neither torch nor transformers; the model is loaded by the first call that needs it.
"""

from lollms_transformers.backend import TransformersBackend
from lollms_transformers.options import TransformersOptions

__version__ = "0.1.0"

__all__ = ["TransformersBackend", "TransformersOptions", "__version__"]
