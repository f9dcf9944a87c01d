from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core.text import extract_code_blocks, join_continuation, read_continuation

CODE = """\
def area(shape):
    if shape == "square":
        return side * side
    return 3.14159 * radius ** 2


print(area("circle"))
"""

statements = st.lists(
    st.tuples(st.sampled_from(["", "    ", "        "]), st.integers(0, 99)),
    min_size=2,
    max_size=9,
    unique_by=lambda t: t[1],
).map(lambda pairs: [f"{indent}x{number} = {number}" for indent, number in pairs])


def fenced(code: str) -> str:
    return f"Here is the rest:\n\n```python\n{code}```\n\nThat is all."


@given(lines=statements, data=st.data())
def test_cut_between_lines_any_repetition_is_taken_once(lines: list[str], data: st.DataObject) -> None:
    code = "\n".join(lines) + "\n"
    cut = data.draw(st.integers(1, len(lines)))
    repeated = data.draw(st.integers(0, cut))
    first = "\n".join(lines[:cut]) + "\n"
    more = "\n".join(lines[cut - repeated :])
    assert join_continuation(first, more + "\n" if more else "") == code
    if more:
        assert join_continuation(first, fenced(more + "\n")) == code.removesuffix("\n")


@given(lines=statements, data=st.data())
def test_cut_inside_a_line_that_is_then_repeated_whole(lines: list[str], data: st.DataObject) -> None:
    code = "\n".join(lines)
    cut = data.draw(st.integers(0, len(lines) - 1))
    repeated = data.draw(st.integers(0, cut))
    within = data.draw(st.integers(1, len(lines[cut]) - 1))
    first = "\n".join([*lines[:cut], lines[cut][:within]])
    assert join_continuation(first, "\n".join(lines[cut - repeated :])) == code


@given(lines=statements, data=st.data())
def test_nothing_is_ever_lost(lines: list[str], data: st.DataObject) -> None:
    more = data.draw(statements)
    joined = join_continuation("\n".join(lines) + "\n", "\n".join(more)).split("\n")
    assert joined[: len(lines)] == lines
    assert joined[-1] == more[-1]
    assert {line.strip() for line in [*lines, *more]} == {line.strip() for line in joined}


@given(first=st.text(alphabet="ab `~\n}", max_size=30), more=st.text(alphabet="ab `~\n}", max_size=30))
def test_what_there_was_stays(first: str, more: str) -> None:
    assert join_continuation(first, more).startswith(first.rstrip("ab `~}"))


def test_every_cut_of_a_program_continued_exactly() -> None:
    for cut in range(1, len(CODE)):
        inside_indentation = CODE[:cut].endswith(" ") and CODE[cut] == " "
        if not inside_indentation:
            assert join_continuation(CODE[:cut], CODE[cut:]) == CODE, cut


def test_every_cut_of_a_program_continued_from_the_beginning_of_the_line() -> None:
    for cut in range(1, len(CODE)):
        begin = CODE.rfind("\n", 0, cut) + 1
        assert join_continuation(CODE[:cut], fenced(CODE[begin:])) == CODE.removesuffix("\n"), cut


def test_a_new_start_from_the_top() -> None:
    for cut in range(1, len(CODE)):
        assert join_continuation(CODE[:cut], fenced(CODE)) == CODE.removesuffix("\n"), cut


def test_the_indentation_of_a_broken_off_line_is_kept() -> None:
    assert join_continuation("def f():\n    retu", "return 1\n") == "def f():\n    return 1\n"
    assert join_continuation("def f():\n    ", "return 1\n") == "def f():\n    return 1\n"
    assert join_continuation("def f():\n    ", "    return 1\n") == "def f():\n    return 1\n"


def test_an_indented_line_does_not_go_on_with_one_that_is_there() -> None:
    assert join_continuation("if a:\n    b()", "    c()\n") == "if a:\n    b()\n    c()\n"


def test_closing_brackets_may_well_follow_one_another() -> None:
    assert join_continuation("f(\n[\n]\n", "]\n)\n") == "f(\n[\n]\n]\n)\n"


def test_empty_parts() -> None:
    assert join_continuation("", "a") == "a"
    assert join_continuation("a", "") == "a"


@pytest.mark.parametrize(
    ("answer", "code", "closed"),
    [
        ("b = 2\n", "b = 2\n", False),
        ("```python\nb = 2\n```", "b = 2", True),
        ("```\nb = 2\n", "b = 2\n", False),
        ("Sure! Here it goes on:\n\n```\nb = 2\n```\nDone.", "b = 2", True),
        ("Here is the rest.\n```\nb = 2", "b = 2", False),
        ("b = 2\n```\n\nThis sets b.", "b = 2", True),
        ("```\n", "", False),
        ("b = 2\n```py\nc = 3\n```", "c = 3", True),
    ],
)
def test_reading_an_answer_that_continues(answer: str, code: str, closed: bool) -> None:
    assert read_continuation(answer) == (code, closed)


def test_with_the_blocks_of_an_answer_that_was_cut_off() -> None:
    (block,) = extract_code_blocks("Here:\n\n```python\n" + CODE[:40])
    assert not block["is_complete"]
    assert join_continuation(block["content"], fenced(CODE[17:])) == CODE.removesuffix("\n")
