"""The dialogue behind `generate_code` and `generate_codes`: ask for code, and continue it where it was cut off."""

from __future__ import annotations

import re

from lollms_core._client.dialogues import Ask, Dialogue
from lollms_core.contract.errors import (
    BackendError,
    CallCancelledError,
    EmptyPromptError,
    LollmsError,
    UnfinishedCodeWarning,
    warn_caller,
)
from lollms_core.contract.types import CodeBlock, Completion, Message
from lollms_core.text import extract_code_blocks, join_continuation, read_continuation
from lollms_core.text._captions import language_of
from lollms_core.text._continuation import behind_continuation

__all__ = ["ask_for_codes"]


def ask_for_codes(
    prompt: str, *, language: str, template: str, single: bool, max_continuations: int, stops: bool = False
) -> Dialogue[list[CodeBlock]]:
    """Ask for code and continue a last block that was cut off.

    Args:
        prompt: what the code shall do; may be empty if there is a template.
        language: the language to ask for; empty leaves it to the model.
        template: code to start from; empty for none.
        single: ask for exactly one block; of several, the first in that language is taken, else the first.
        max_continuations: how often at most an unfinished block is continued.
        stops: there are stop sequences, so that an answer that ends may be meant to.

    Returns:
        The blocks, in order, the last one with `is_complete` false if it still is unfinished.

    Raises:
        TypeError: an argument of the wrong type.
        EmptyPromptError: neither a prompt nor a template.
        BackendError: the model answered without any code, empty blocks aside; `partial_text` has its answer.
        CallCancelledError: the call was cancelled before there was any.
        LollmsError: an error that was thrown in, where a continuation failed; `partial_text` has all the code so far.
    """
    if isinstance(max_continuations, bool) or not isinstance(max_continuations, int):
        raise TypeError(f"max_continuations must be an int, not {type(max_continuations).__name__}")
    if not isinstance(prompt, (str, type(None))):
        raise TypeError(f"prompt must be a str, not {type(prompt).__name__}")
    for name, value in (("language", language), ("template", template)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if prompt is None or not (prompt or template):
        raise EmptyPromptError("the prompt is empty")

    def was_stopped(completion: Completion) -> bool:
        return stops and completion.finish_reason == "stop"

    question = _instructions(prompt, language, template, single)
    completion: Completion = yield Ask(question)
    answer = completion.text
    blocks = _with_code(extract_code_blocks(answer))
    if not blocks:
        raise _no_code(completion, answer)
    if single:  # a model may give the command that installs something before the code that was asked for
        wanted = (block for block in blocks if language and _plain(block["type"]) == _plain(language_of(language)))
        blocks = [{**next(wanted, blocks[0]), "index": 0}]
    for _ in range(max_continuations):
        last = blocks[-1]
        if last["is_complete"] or completion.finish_reason == "cancelled" or was_stopped(completion):
            break
        try:
            completion = yield Ask(_please_continue(question, answer, last["type"]))
        except LollmsError as error:
            if error.partial_text.strip():
                blocks = _continued(blocks, error.partial_text, single)
            error.partial_text = _markdown(blocks)
            raise
        more = completion.text
        if not more.strip():
            break
        if completion.finish_reason != "length" and not more.strip().strip("`~"):  # it only closes the block
            blocks[-1] = {**last, "content": last["content"].removesuffix("\n"), "is_complete": True}
        else:
            blocks = _continued(blocks, more, single)
        answer += more
    if not any(block["content"].strip() for block in blocks):
        raise _no_code(completion, answer)
    wanted_end = completion.finish_reason == "cancelled" or was_stopped(completion)
    if single and not blocks[0]["is_complete"] and not wanted_end:
        if completion.finish_reason == "length":
            told = "The code is not complete: the model ran out of tokens. Raise n_predict, or ask for less at once."
        else:
            told = "The model did not close the code block: the code may be incomplete."
        warn_caller(told, UnfinishedCodeWarning)
    return blocks


_SHORT = {
    "cc": "c++", "cpp": "c++", "cs": "c#", "csharp": "c#", "golang": "go", "js": "javascript", "jsx": "javascript",
    "kt": "kotlin", "md": "markdown", "ps1": "powershell", "py": "python", "python3": "python", "rb": "ruby",
    "rs": "rust", "sh": "bash", "shell": "bash", "ts": "typescript", "tsx": "typescript", "yml": "yaml", "zsh": "bash",
}  # fmt: skip


def _plain(language: str) -> str:
    """One name for a language that has several."""
    return _SHORT.get(language, language)


def _with_code(blocks: list[CodeBlock]) -> list[CodeBlock]:
    """The blocks in which there is code, or in which more may come: small models like to begin with an empty one."""
    kept = [block for block in blocks if block["content"].strip() or not block["is_complete"]]
    return [{**block, "index": index} for index, block in enumerate(kept)]


def _no_code(completion: Completion, answer: str) -> LollmsError:
    if completion.finish_reason == "cancelled":
        return CallCancelledError("the call was cancelled before any code had come", partial_text=answer)
    return BackendError(
        "the model answered without a code block",
        hint="Ask again, raise n_predict, or use a larger model; the answer is in partial_text.",
        retryable=True,
        partial_text=answer,
    )


def _continued(blocks: list[CodeBlock], more: str, single: bool) -> list[CodeBlock]:
    """The blocks with the model's next answer: the rest of the last one, and the blocks that follow it."""
    *whole, last = blocks
    content, is_complete = join_continuation(last["content"], more), read_continuation(more)[1]
    whole.append({**last, "content": content, "is_complete": is_complete})
    if not single:
        for block in extract_code_blocks(behind_continuation(more)):
            section = block["section"] or last["section"]
            whole.append({**block, "index": len(whole), "section": section})
    return whole


def _please_continue(question: str, answer: str, language: str) -> tuple[Message, ...]:
    return (
        Message("user", question),
        Message("assistant", answer),
        Message(
            "user",
            "Your code block was cut off. Continue it from exactly where it stopped, without repeating any "
            f"line, inside a ```{language} block, and close the block when the code is complete.",
        ),
    )


def _markdown(blocks: list[CodeBlock]) -> str:
    """Code blocks as text, in which `extract_code_blocks` finds them again; the last one is left open."""
    parts = []
    for block in blocks:
        fence = _fence_around(block["content"])
        end = f"\n{fence}\n\n" if block["is_complete"] else ""
        parts.append(f"{fence}{block['type']}\n{block['content']}{end}")
    return "".join(parts)


def _fence_around(code: str) -> str:
    """A fence that no line of the code closes."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))


def _instructions(prompt: str, language: str, template: str, single: bool) -> str:
    how_many = "exactly one Markdown code block" if single else "Markdown code blocks, one for each piece of code"
    named = f" of {language} code" if language else ""
    parts = [prompt] if prompt else []
    if template:
        fence = _fence_around(template)
        parts.append(f"Start from this code and complete it:\n\n{fence}{language}\n{template}\n{fence}")
    parts.append(f"Answer with {how_many}{named}, fenced with ``` and the language's name.")
    return "\n\n".join(parts)
