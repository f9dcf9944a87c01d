"""The fences that are found are those of CommonMark: compared with markdown-it, on real documents and made-up ones."""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path

import commonmark
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lollms_core.text import extract_code_blocks
from lollms_core.text._commonmark import Fence, FenceScanner, with_plain_line_ends

fuzz = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


def by_scanner(text: str) -> list[Fence]:
    scanner = FenceScanner(text)
    return list(iter(scanner.next, None))


def by_markdown_it(text: str) -> list[tuple[str, str]]:
    parser = MarkdownIt("commonmark", {"maxNesting": 500})
    parser.core.ruler.disable(["inline", "text_join"])
    return [(t.content.removesuffix("\n"), t.info.strip()) for t in parser.parse(text) if t.type == "fence"]


def by_the_reference(text: str) -> list[tuple[str, str]]:
    """By a port of the specification's own implementation, which is an older one."""
    nodes = (node for node, entering in commonmark.Parser().parse(text).walker() if entering and node.t == "code_block")
    return [((node.literal or "").removesuffix("\n"), (node.info or "").strip()) for node in nodes if node.is_fenced]


def contents(fences: list[Fence]) -> list[tuple[str, str]]:
    return [(fence.content.removesuffix("\n"), fence.info) for fence in fences]


def real_documents() -> list[Path]:
    root = Path(sysconfig.get_path("purelib"))
    paths = sorted({*root.glob("*.dist-info/METADATA"), *root.glob("*.dist-info/**/*.md"), *root.glob("*/**/*.md")})
    return [path for path in paths if path.stat().st_size < 200_000][:200]


def test_every_document_of_the_installed_packages() -> None:
    compared = 0
    for path in real_documents():
        text = with_plain_line_ends(path.read_bytes().decode("utf-8", "replace")).replace("\0", "")
        if "```" in text or "~~~" in text:
            assert contents(by_scanner(text)) == by_markdown_it(text), path
            compared += 1
    assert compared >= 10


LINE_PIECES = [
    "```", "~~~", "````", "``", "`", "> ", ">", "- ", "* ", "-", "1. ", "2. ", "10) ", " ", "  ", "   ", "    ", "\t",
    "a", "foo ", "# ", "===", "---", "***", "<div>", "</div>", "<!--", "-->", "<a>", "<pre>", "</pre>", "<?", "?>",
    "python", "c++", "<b x='1'>", "é", "\u3000",
]  # fmt: skip
LINES = [
    "1. Do this:", "- item", "- **b** x", "para", "para\n   more", "", "", "   ```py", "   ```", "   code", "    code",
    "     deep", "```", "   ~~~", "    ```", "  ```", "  ~~~~", "2. next", "   - sub", "     - subsub", "       ```",
    "\tx", "   \tx", "> q", "   > q", "# h", "<div>", "   <b>", "a ``` x", "   a ``` y", "      ", "  ",
]  # fmt: skip
line_soup = st.lists(st.lists(st.sampled_from(LINE_PIECES), max_size=6).map("".join), max_size=14).map("\n".join)
list_soup = st.lists(st.sampled_from(LINES), max_size=18).map("\n".join)


@fuzz
@given(st.one_of(line_soup, list_soup), st.data())
def test_asking_in_steps_finds_the_same(text: str, data: st.DataObject) -> None:
    scanner, found = FenceScanner(text), []
    for limit in sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4))):
        while fence := scanner.next(limit):
            assert fence.start < limit
            found.append(fence)
    assert found + list(iter(scanner.next, None)) == by_scanner(text)


def markdown_it_departs_from_the_specification(text: str) -> bool:
    """It lets lines indented by four columns continue a quote or end a paragraph, and keeps tabs behind `>` whole."""
    return re.search(r">[ ]*\t|(?m:^[ >]*(?: {4}|\t)\s*\S)", text) is not None


@fuzz
@given(line_soup)
def test_any_lines(text: str) -> None:
    text += "\n"
    assume(not markdown_it_departs_from_the_specification(text))
    assert contents(by_scanner(text)) == by_markdown_it(text)


word = st.sampled_from(["text", "`code`", "a ``` b", "**bold**", "x < y", "1. no", "2024. Year", "    deep", "# h", ""])
code_line = st.sampled_from(["x = 1", "    y", "\tz", "", "- a", "> b", "1. c", "<div>", "``", "~~", "   ```x", "  "])


@st.composite
def fenced(draw: st.DrawFn) -> list[str]:
    fence = draw(st.sampled_from(["```", "~~~", "````", "~~~~~"]))
    info = draw(st.sampled_from(["", "python", " c++", "c# x", 'py title="a.py"']))
    indent = " " * draw(st.integers(0, 3))
    closing = [indent + fence + draw(st.sampled_from(["", " ", fence[0]]))] if draw(st.integers(0, 9)) else []
    return [indent + fence + info, *draw(st.lists(code_line, max_size=5)), *closing]


def in_item(marker: str, lines: list[str]) -> list[str]:
    indent = " " * len(marker)
    return [marker + lines[0], *(indent + line if line else "" for line in lines[1:])] if lines else [marker.rstrip()]


def in_quote(lines: list[str]) -> list[str]:
    return [f"> {line}" for line in lines]


leaf = st.one_of(
    fenced(),
    fenced(),
    st.lists(word, min_size=1, max_size=3),
    st.sampled_from(
        [["# Heading"], ["Heading", "==="], ["---"], ["<div>", "```", "</div>", ""], ["<!-- x", "", "```", "-->"]]
    ),
)
marker = st.sampled_from(["- ", "* ", "1. ", "10) ", "-   ", "7.  "])


def containers(inner: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    several = st.lists(inner, min_size=1, max_size=4).map(
        lambda blocks: [line for b in blocks for line in [*b, ""]][:-1]
    )
    return st.one_of(several, st.builds(in_item, marker, several), several.map(in_quote))


nested_document = st.recursive(leaf, containers, max_leaves=12).map(lambda lines: "\n".join(lines) + "\n")


@settings(fuzz, max_examples=60)
@given(nested_document)
def test_nested_documents(text: str) -> None:
    assume(not re.search(r">[ ]*\t|(?m:^ *> {5,}\S|^ {4,}>)", text))
    assert contents(by_scanner(text)) in (by_markdown_it(text), by_the_reference(text))


def test_where_markdown_it_departs_the_reference_decides() -> None:
    text = "1.  ```\n   - a\n    ```\n\n     ```\n"
    assert contents(by_scanner(text)) == by_the_reference(text) != by_markdown_it(text)


@fuzz
@given(st.one_of(nested_document, line_soup, list_soup))
def test_what_is_incomplete_is_the_last_and_more_text_changes_only_that(text: str) -> None:
    blocks = extract_code_blocks(text)
    assert [block["index"] for block in blocks] == list(range(len(blocks)))
    assert all(block["is_complete"] for block in blocks[:-1])
    if blocks and blocks[-1]["is_complete"]:
        longer = extract_code_blocks(text + "\n\nThe end.")
        assert [b["content"] for b in longer] == [b["content"] for b in blocks]


@fuzz
@given(st.text(alphabet="`~ \n\t>-1.<ab\r\0é", max_size=60))
def test_any_text_at_all(text: str) -> None:
    for block in extract_code_blocks(text):
        assert "\r" not in block["content"]


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_line_ends_make_no_difference(line_end: str) -> None:
    text = "# A\n\n```py\na\n\nb\n```\n\n1. x\n   ```\n   y\n   ```\n"
    assert extract_code_blocks(text.replace("\n", line_end)) == extract_code_blocks(text)


@pytest.mark.parametrize(
    "text",
    [
        "``` a " * 400_000,
        "- " * 200_000 + "\n" + "\n" * 200_000,
        "- " * 200_000 + "```\n" * 200_000,
        "* " * 200_000 + "_\n" * 200_000,
        "- * " * 100_000 + "\n",
        "> " * 200_000 + "\n" + "a\n" * 200_000,
        "> - " * 100_000 + "```\n" + "a\n" * 200_000,
        "- ~~~~\n" * 100_000,
        "   ```\n" * 200_001,
        "1. a\n\n   ```x\n   b\n" * 50_000,
        "1. a\n\n" + "   ```\n   b\n   ```\n\n" * 50_000,
        "<!--\n" * 200_000 + "```\n",
        "<a" + " a" * 500_000 + "\n\n```\n",
        "a\n\n b\n\n" * 100_000 + " ```\n",
        "```\n" + "``\n" * 500_000,
        "# x\n    ```\n" * 100_000,
        "- ```\n" + " " * 400_000 + "x\n" * 200_000,
        "<" * 500_000 + "\n```\n",
        "<a " * 200_000 + "\n```\n",
        "1" * 500_000 + ". x\n```\n",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_hostile_documents_take_linear_time(text: str) -> None:
    """Each has a size at which a quadratic way through it would not come to an end while anybody waits."""
    by_scanner(text)
