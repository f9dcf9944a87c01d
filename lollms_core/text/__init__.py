"""Pure functions over text: code blocks, reasoning tags, stop sequences, continuations."""

from lollms_core.text.code_blocks import extract_code_blocks
from lollms_core.text.continuation import join_continuation, read_continuation
from lollms_core.text.reasoning import ReasoningSplitter, extract_thinking_blocks, remove_thinking_blocks
from lollms_core.text.stop import StopFilter

__all__ = [
    "ReasoningSplitter",
    "StopFilter",
    "extract_code_blocks",
    "extract_thinking_blocks",
    "join_continuation",
    "read_continuation",
    "remove_thinking_blocks",
]
