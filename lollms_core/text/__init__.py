"""Pure functions over text: code blocks, reasoning tags, stop sequences, continuations, conversation layouts."""

from lollms_core.text.code_blocks import extract_code_blocks
from lollms_core.text.continuation import join_continuation, read_continuation
from lollms_core.text.layouts import (
    ai_full_header,
    conversation_text,
    prompt_text,
    quoted,
    separator_template,
    system_full_header,
    user_full_header,
)
from lollms_core.text.json_schema import schema_problem
from lollms_core.text.reasoning import ReasoningSplitter, extract_thinking_blocks, remove_thinking_blocks
from lollms_core.text.stop import StopFilter

__all__ = [
    "ReasoningSplitter",
    "StopFilter",
    "ai_full_header",
    "conversation_text",
    "extract_code_blocks",
    "extract_thinking_blocks",
    "join_continuation",
    "prompt_text",
    "quoted",
    "read_continuation",
    "remove_thinking_blocks",
    "schema_problem",
    "separator_template",
    "system_full_header",
    "user_full_header",
]
