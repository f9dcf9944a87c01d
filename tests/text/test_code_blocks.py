"""`extract_code_blocks`: what callers get."""

from __future__ import annotations

from textwrap import dedent

import pytest

from lollms_core.text import extract_code_blocks


def only(text: str) -> dict[str, object]:
    blocks = extract_code_blocks(text)
    assert len(blocks) == 1
    return blocks[0]


def test_all_keys_of_a_block() -> None:
    text = dedent("""\
        # Greeting

        Save this as `hello.py`:

        ```Python
        print("hello")
        ```
        """)
    assert only(text) == {
        "index": 0,
        "file_name": "hello.py",
        "section": "Greeting",
        "content": 'print("hello")',
        "type": "python",
        "is_complete": True,
    }


def test_no_blocks() -> None:
    assert extract_code_blocks("") == []
    assert extract_code_blocks("Inline ```code``` and `more`.\n\n    ```\n    indented code\n    ```") == []


def test_indentation_and_blank_lines_of_the_code_are_kept() -> None:
    assert only("```\n\n    a\n\n\n  b\n\n```")["content"] == "\n    a\n\n\n  b\n"


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("~~~\na\n```\nb\n~~~", "a\n```\nb"),
        ("````\na\n```\nb\n````", "a\n```\nb"),
        ("```\na\n``` x\nb\n`````  \n", "a\n``` x\nb"),
        ("  ```\n  a\n    b\n c\n  ```", "a\n  b\nc"),
        ("1. x\n\n   ```\n   a\n\n     b\n   ```", "a\n\n  b"),
        ("- ```\n  a\n  ```", "a"),
        ("- a\n  - b\n    ```\n    c\n    ```", "c"),
        ("> ```\n> a\n>\n>   b\n> ```", "a\n\n  b"),
        ("> - ```\n>   a\n>   ```", "a"),
        ("-\t```\n\ta\n\t```", "a"),
        ("> ```\na", ""),
        ("```\n\ta\n```", "\ta"),
        ("para\n```\na\n```\npara", "a"),
    ],
)
def test_fences_and_containers(text: str, content: str) -> None:
    block = only(text)
    assert (block["content"], block["is_complete"]) == (content, True)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("```python\nx = 1", "x = 1"),
        ("```python\nx = 1\n", "x = 1\n"),
        ("```python\nx = 1\n    ", "x = 1\n    "),
        ("```python", ""),
        ("- ```\n  a\n  b\n", "a\nb\n"),
        ("> ~~~\n> a", "a"),
    ],
)
def test_an_answer_that_was_cut_off(text: str, content: str) -> None:
    block = only(text)
    assert (block["content"], block["is_complete"]) == (content, False)


def test_a_block_that_ends_with_its_list_cannot_be_continued() -> None:
    assert only("- ```\n  a\n\nText behind the list.")["is_complete"] is True


def test_fences_inside_html_are_not_code() -> None:
    assert extract_code_blocks("<!--\n\n```\na\n```\n\n-->\n\n<div>\n```\nb\n```\n</div>\n") == []


@pytest.mark.parametrize(
    ("info", "language"),
    [
        ("", ""),
        ("python", "python"),
        ("  C++  ", "c++"),
        ("c#", "c#"),
        ("objective-c", "objective-c"),
        ('JavaScript title="x.js"', "javascript"),
        ("rust,no_run", "rust"),
        ("python:src/x.py", "python"),
        ("jsx{1,3-4}", "jsx"),
        ("{python}", "python"),
        ("{.haskell .numberLines}", "haskell"),
        ("日本", "日本"),
    ],
)
def test_languages(info: str, language: str) -> None:
    assert only(f"```{info}\n```")["type"] == language


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ('py title="src/x.py"', "src/x.py"),
        ("py title=x.py", "x.py"),
        ('py title="Reading a file"', ""),
        ("py filename='my file.py'", "my file.py"),
        ("js {1} file=a/b.js", "a/b.js"),
        ("python:path/x.py", "path/x.py"),
        ("python main.py", "main.py"),
        ("python copy", ""),
        ("rust,no_run", ""),
    ],
)
def test_file_names_in_the_info_string(info: str, name: str) -> None:
    assert only(f"```{info}\n```")["file_name"] == name


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("file: x.py", "x.py"),
        ("File name: `src/x`", "src/x"),
        ("**Filename:** x.py", "x.py"),
        ("<file_name>x y.py</file_name>", "x y.py"),
        ("**x.py**", "x.py"),
        ("`src/app/x.tsx`", "src/app/x.tsx"),
        ("**`x.py`**:", "x.py"),
        ("### x.py", "x.py"),
        ("Dockerfile", "Dockerfile"),
        ("Then put this into `x.py`:", "x.py"),
        ("Copy `a.py` to `b.py`:", ""),
        ("Call `requests.get`:", ""),
        ("This reads a file.", ""),
        ("See https://example.org/x.py", ""),
        ("e.g.", ""),
    ],
)
@pytest.mark.parametrize("gap", ["\n", "\n\n"])
def test_file_names_in_the_line_before(line: str, name: str, gap: str) -> None:
    assert only(f"Text\n\n{line}{gap}```\n```")["file_name"] == name


def test_a_file_name_belongs_to_one_block_only() -> None:
    blocks = extract_code_blocks("x.py\n```\n```\n```\n```\n\nx.py\n\n\n\n\nText\n\n```\n```")
    assert [block["file_name"] for block in blocks] == ["x.py", "", ""]


def test_sections() -> None:
    text = dedent("""\
        ```
        # not a heading
        ```
        ## **Set-up** ##
        ### Later
        ```
        ```
        ```
        ```
        Underlined
        ----------
        Text - with
        --- dashes

        - item
        ---
        ```
        ```
        > # Quoted
        > ```
        > ```
        First
        ---
        Second
        ===
        ```
        ```
        #hashtag
        ```
        ```
        """)
    sections = [block["section"] for block in extract_code_blocks(text)]
    assert sections == ["", "Later", "Later", "Underlined", "Quoted", "Second", "Second"]


def test_captions_are_looked_for_in_linear_time() -> None:
    for text in ("# a" + " " * 200_000 + "b\n", "\n---\n" * 40_000, "#" * 200_000 + "\n", "- ##\n" * 40_000):
        assert only(text + "```\n```")["file_name"] == ""
    for info in ("file" + " " * 100_000, "py " + "file=" * 20_000, "a:" * 50_000):
        assert only(f"```{info}\n```")["content"] == ""
