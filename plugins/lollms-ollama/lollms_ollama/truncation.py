"""Noticing that the server cut a prompt, which it does without a word.

What Ollama does with a prompt that is longer than its window (`num_ctx`), and what it then reports as
`prompt_eval_count`, differs:

- it keeps the prompt's beginning (`num_keep`, 4 tokens) and fills the *whole* window with its end;
- since its engine is llama-server, it fills *half* of the window: `num_ctx=4096` reports 2050;
- it leaves out the oldest messages of a conversation until the rest fits, and reports whatever remains.

See the threads ollama/ollama#3839, #4967 and #17427. A small count alone means nothing: a server may leave it out, or
count only what was not in its cache (ollama/ollama#3427, #16414).
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["TruncatedPromptWarning", "was_cut"]

_BELOW_FULL = 8
"""How many tokens short of the window a filled window may be reported."""
_ABOVE_HALF = 16
"""How many tokens above half of the window a half-filled one may be: half of what is kept from the beginning."""
_CORRECTED_MARGIN = 1.1
_PLAIN_MARGIN = 1.25
_DROPPED_MARGIN = 1.25


class TruncatedPromptWarning(UserWarning):
    """The server cut the prompt: the model did not see all of it."""


def was_cut(
    reported: int | None,
    window: int | None,
    size: int,
    estimate: Callable[[], tuple[int, bool]],
    *,
    several_messages: bool,
) -> bool:
    """Whether the model cannot have seen the whole prompt.

    Args:
        reported: `prompt_eval_count`; `None` if the server did not say.
        window: how many tokens prompt and answer share; `None` if unknown.
        size: the prompt's length in UTF-8 bytes. A token is at least a byte, so a prompt of fewer bytes always fits.
        estimate: about how many tokens the prompt has, and whether that was corrected by earlier reports. Called only
            if the rest looks like a cut prompt.
        several_messages: the server may have left some out.

    True only where two things agree. Either the report is what a cut leaves behind (the window full, or half of it),
    and the prompt is well above the window by the estimate: a tenth, or a quarter where the estimate was never
    corrected. Or several messages were sent, and by a corrected estimate they are a quarter above the window and a
    quarter above the report. A report that is missing proves nothing.
    """
    if not reported or not window or size <= window or reported > window:
        return False
    half = window // 2
    marked = reported >= window - _BELOW_FULL or half <= reported <= half + _ABOVE_HALF
    if not marked and not several_messages:
        return False
    tokens, corrected = estimate()
    if marked and tokens >= window * (_CORRECTED_MARGIN if corrected else _PLAIN_MARGIN):
        return True
    return several_messages and corrected and tokens >= _DROPPED_MARGIN * max(window, reported)
