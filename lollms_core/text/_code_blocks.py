"""Code blocks in a model's answer."""

from __future__ import annotations

from lollms_core.contract.types import CodeBlock
from lollms_core.text._captions import file_name_for, language_of, last_heading
from lollms_core.text._commonmark import FenceScanner, with_plain_line_ends

__all__ = ["extract_code_blocks"]


def extract_code_blocks(text: str) -> list[CodeBlock]:
    """The fenced code blocks of a Markdown text, as CommonMark finds them, in order.

    Each is a dictionary:
        index: its number, from 0.
        type: the language in lower case, the first word of the info string; `""` if none is given.
        content: the code, without the fences, the indentation and markers of the list or quote around it, and the line
            end before the closing fence. Line ends are `\\n`. Nothing else is stripped.
        file_name: the file that the answer names for it, in the info string or in the line before the block; else `""`.
        section: the text of the nearest heading before the block; else `""`.
        is_complete: False if the text ends before the block does, which only the last block can. A block in a list or
            quote that ends with its container without a closing fence is complete: no further text could add to it.
            The content of an incomplete block keeps its last line end, which tells whether its last line is whole.
    """
    text = with_plain_line_ends(text)
    scanner = FenceScanner(text)
    blocks: list[CodeBlock] = []
    section = ""
    behind = 0
    while fence := scanner.next():
        section = last_heading(text, behind, fence.start) or section
        blocks.append(
            {
                "index": len(blocks),
                "file_name": file_name_for(fence.info, text, behind, fence.start),
                "section": section,
                "content": fence.content.removesuffix("\n") if fence.complete else fence.content,
                "type": language_of(fence.info),
                "is_complete": fence.complete,
            }
        )
        behind = fence.end
    return blocks
