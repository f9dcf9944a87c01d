"""Noticing that the server cut a prompt, which it does without a word.

What is left of a prompt that is longer than the window (`num_ctx`), as `prompt_eval_count` reports it:

- of a conversation, the oldest messages are left out until the rest fits (`chatPrompt` in Ollama's server/prompt.go);
- of a text, or of a last message that is too long by itself, the first `num_keep` tokens and the end are kept, so many
  that *half* of the window is filled: `num_ctx=4096` reports 2050 (ollama/ollama#17427). Servers before 0.30 fill it.

The count includes what came from the server's cache. So the prompt's own size, as far as it can be estimated, is
compared with the count that is reported: of a whole prompt they are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from lollms_ollama.estimate import Estimate, estimate

__all__ = ["TruncatedPromptWarning", "size_if_cut"]

_MARGIN = 1.25
"""How far the least estimate can be above the true number (see `estimate`): a prompt that fits is no alarm.

A text that was cut to half of the window had at least twice what is reported, so it is noticed where the estimate is at
least five eighths of the truth; where it is lower, once the text is longer yet.
"""
_HALF = range(1, 5)
"""How many tokens above half of the window the count of a cut text is: half of `num_keep`, and of what a tokenizer puts
before a text. By chance a prompt has such a count four times in as many as the window has tokens."""
_MARKED_MARGIN = 1.1
"""So with that mark a likely estimate just above the count is enough, and a cut is seen at once in any language."""
_TEMPLATE = 2
"""Tokens that a chat template adds to a message, as few as any: 1.5 (DeepSeek) to 5 (ChatML, Llama)."""
_TEMPLATE_AT_MOST = 10
"""The same, as many as any."""


class TruncatedPromptWarning(UserWarning):
    """The server cut the prompt: the model did not see all of it."""


def size_if_cut(
    reported: int, window: int | None, texts: Sequence[str], *, raw: bool, small_vocabulary: bool = False
) -> int | None:
    """About how many tokens the prompt has, if the model cannot have seen all of it; else `None`.

    Args:
        reported: `prompt_eval_count`.
        window: how many tokens prompt and answer share; `None` if unknown.
        texts: the messages' contents, or the one raw text. Images are not among them: they add to what is reported,
            so they can hide a cut but not feign one.
        raw: the text went to the model without a template.
        small_vocabulary: the model's vocabulary is one of those that have many tokens for scripts other than Latin.
    """
    if reported <= 0:
        return None
    if window is not None:
        # A token is at least a byte. Most prompts are known to fit by this alone.
        most = sum(len(text.encode()) for text in texts) + (0 if raw else _TEMPLATE_AT_MOST * len(texts))
        if most <= window or reported > window:
            return None
    size = _size(texts, raw)
    if window is not None and reported - window // 2 in _HALF:
        cut = size.likely > _MARKED_MARGIN * reported
    elif window is not None and _MARGIN * size.likely <= window:
        return None  # it fits, and looks long only because its tokens are: tables, deep indents
    else:
        cut = (size.likely if small_vocabulary else size.least) > _MARGIN * reported
    return round(size.likely) if cut else None


def _size(texts: Sequence[str], raw: bool) -> Estimate:
    sizes = [estimate(text) for text in texts]
    template = 0 if raw else _TEMPLATE * len(texts)
    return Estimate(sum(size.latin for size in sizes) + template, sum(size.other for size in sizes))
