"""Pure functions over text: code blocks, reasoning tags, stop sequences, continuations, conversation layouts.

Names are resolved on first use: a stream needs two of these modules, and most of the others compile patterns.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lollms_core.text._code_blocks import extract_code_blocks as extract_code_blocks
    from lollms_core.text._continuation import join_continuation as join_continuation
    from lollms_core.text._continuation import read_continuation as read_continuation
    from lollms_core.text._json_schema import schema_checker as schema_checker
    from lollms_core.text._layouts import ai_full_header as ai_full_header
    from lollms_core.text._layouts import conversation_text as conversation_text
    from lollms_core.text._layouts import prompt_text as prompt_text
    from lollms_core.text._layouts import quoted as quoted
    from lollms_core.text._layouts import separator_template as separator_template
    from lollms_core.text._layouts import system_full_header as system_full_header
    from lollms_core.text._layouts import user_full_header as user_full_header
    from lollms_core.text._reasoning import ReasoningSplitter as ReasoningSplitter
    from lollms_core.text._reasoning import extract_thinking_blocks as extract_thinking_blocks
    from lollms_core.text._reasoning import remove_thinking_blocks as remove_thinking_blocks
    from lollms_core.text._stop import StopFilter as StopFilter
    from lollms_core.text._surrogates import SurrogateJoiner as SurrogateJoiner

_HOMES = {
    "ReasoningSplitter": "_reasoning",
    "StopFilter": "_stop",
    "SurrogateJoiner": "_surrogates",
    "ai_full_header": "_layouts",
    "conversation_text": "_layouts",
    "extract_code_blocks": "_code_blocks",
    "extract_thinking_blocks": "_reasoning",
    "join_continuation": "_continuation",
    "prompt_text": "_layouts",
    "quoted": "_layouts",
    "read_continuation": "_continuation",
    "remove_thinking_blocks": "_reasoning",
    "schema_checker": "_json_schema",
    "separator_template": "_layouts",
    "system_full_header": "_layouts",
    "user_full_header": "_layouts",
}

__all__ = [
    "ReasoningSplitter",
    "StopFilter",
    "SurrogateJoiner",
    "ai_full_header",
    "conversation_text",
    "extract_code_blocks",
    "extract_thinking_blocks",
    "join_continuation",
    "prompt_text",
    "quoted",
    "read_continuation",
    "remove_thinking_blocks",
    "schema_checker",
    "separator_template",
    "system_full_header",
    "user_full_header",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
