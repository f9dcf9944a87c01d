"""`lollms generate`: what goes in, what comes out, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest

ONE_PIXEL_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


def asked(result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# --- the prompt ----------------------------------------------------------------------------------------------------


def test_the_answer_is_all_there_is_on_stdout(lollms):
    result = lollms("generate", "-f", "echo", "Hello,", "world")
    assert (result.stdout, result.stderr, result.exit_code) == ("Hello, world\n", "", 0)


def test_the_prompt_comes_from_standard_input(lollms):
    assert lollms("generate", "-f", "echo", input="from a pipe\n").stdout == "from a pipe\n"


def test_a_dash_says_where_standard_input_belongs(lollms, recorder):
    result = lollms("generate", "-f", recorder, "Summarize:", "-", "Briefly.", input="a text\nof two lines\n")
    assert asked(result)["prompt"] == "Summarize:\n\na text\nof two lines\n\nBriefly."


def test_a_pipe_follows_the_prompt(shell, recorder):
    result = shell("generate", "-f", recorder, "Summarize:", input="a text\n")
    assert json.loads(result.stdout)["prompt"] == "Summarize:\n\na text"


def test_nothing_in_the_pipe_changes_nothing(shell, recorder):
    assert json.loads(shell("generate", "-f", recorder, "Hello", input="").stdout)["prompt"] == "Hello"


def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_the_prompt(lollms, recorder):
    result = lollms("generate", "-f", recorder, input="\N{BYTE ORDER MARK}a\r\nb\r\n".encode())
    assert asked(result)["prompt"] == "a\nb"


def test_input_that_is_not_utf_8_is_wrong_usage(lollms):
    result = lollms("generate", "-f", "echo", input=b"caf\xe9")
    assert result.exit_code == 2
    assert "not UTF-8" in result.stderr
    assert "byte 3" in result.stderr


def test_an_empty_prompt_is_an_error(lollms):
    result = lollms("generate", "-f", "echo")
    assert result.exit_code == 2
    assert "Error: There is no prompt: give it as an argument or on standard input." in result.stderr


# --- options -------------------------------------------------------------------------------------------------------


def test_every_option_reaches_the_backend(lollms, recorder, tmp_path):
    image = tmp_path / "pixel.png"
    image.write_bytes(ONE_PIXEL_PNG)
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    key = tmp_path / "key"
    key.write_text("sk-123456\n")
    result = lollms(
        "generate", "-f", recorder, "-m", "big", "--host-address", "http://somewhere:1", "--api-key-file", str(key),
        "--insecure", "--option", "depth=3", "-O", "label=007a", "-n", "5", "-t", "0.5", "--top-k", "7", "--top-p",
        "0.8", "--min-p", "0.1", "--repeat-penalty", "1.2", "--repeat-last-n", "9", "--seed", "0", "--n-threads", "2",
        "--ctx-size", "512", "--personality", "4", "--system", "Be brief.", "--strict", "--stop", "A", "--stop", "B",
        "--image", str(image), "--image", str(image), "--schema", str(schema), "--think", "--raw", "hi",
    )  # fmt: skip
    assert asked(result) == {
        "prompt": "hi",
        "messages": [],
        "system": "Be brief.",
        "images": 2,
        "model": "big",
        "completion_format": "Instruct",
        "chosen": {
            "min_p": 0.1, "n_predict": 5, "n_threads": 2, "repeat_last_n": 9, "repeat_penalty": 1.2, "seed": 0,
            "stop": ["A", "B"], "temperature": 0.5, "top_k": 7, "top_p": 0.8,
        },
        "schema": {"type": "object"},
        "think": True,
        "personality": 4,
        "host_address": "http://somewhere:1",
        "key": "654321-ks",
        "headers": [],
        "verify": False,
        "connect": 10.0,
        "idle": 120.0,
        "retries": 2,
        "ctx_size": 512,
        "options": {"depth": 3, "label": "007a"},
    }  # fmt: skip


def test_without_options_nothing_is_chosen(lollms, recorder):
    request = asked(lollms("generate", "-f", recorder, "hi"))
    assert request["chosen"] == {}
    assert request["verify"] is True
    assert request["think"] is None
    assert request["completion_format"] == "Chat"
    assert request["key"] is None


@pytest.mark.parametrize(
    ("options", "think"), [(["--no-think"], False), (["--think-level", "high"], "high"), (["--think"], True)]
)
def test_thinking(lollms, recorder, options, think):
    assert asked(lollms("generate", "-f", recorder, *options, "hi"))["think"] == think


def test_contradictory_thinking_is_wrong_usage(lollms):
    assert lollms("generate", "-f", "echo", "--no-think", "--think-level", "high", "hi").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-O", "depth"], "'depth' is not KEY=VALUE"),
        (["--schema", "no-such-file"], "no-such-file"),
        (["-n", "many"], "many"),
    ],
)
def test_options_that_make_no_sense_are_wrong_usage(lollms, arguments, said):
    result = lollms("generate", "-f", "echo", *arguments, "hi")
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_schema_that_is_none_is_wrong_usage(lollms, tmp_path, content):
    path = tmp_path / "schema.json"
    path.write_text(content)
    result = lollms("generate", "-f", "echo", "--schema", str(path), "hi")
    assert result.exit_code == 2
    assert "schema.json" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["-f", "ecco"], "no generation format 'ecco' is installed", "Did you mean 'echo'?"),
        (["-f", "echo", "-O", "dealy=1"], "the echo format has no option 'dealy'", "Did you mean 'delay'?"),
        (["-f", "echo", "-O", "temperature=1"], "temperature is not an option of a backend", "Use --temperature"),
        (["-f", "echo", "-O", "delay=-1"], "echo options: delay must be greater than or equal to 0", ""),
        (["-f", "echo", "-O", "delay=abc"], "echo options: delay must be a valid number", ""),
        (["-f", "echo", "--n-predict", "0"], "--n-predict must be at least 1, not 0", ""),
        (["-f", "echo", "--temperature", "-1"], "--temperature must be at least 0, not -1", ""),
        (["-f", "echo", "--image", "missing.png"], "missing.png", ""),
        (
            ["-f", "echo", "--api-key-file", "missing"],
            "the file with the API key, missing, cannot be read",
            "",
        ),
        (
            ["-f", "echo", "-O", "service_key=x"],
            "service_key is not an option",
            "Use --api-key-file, LOLLMS_API_KEY or",
        ),
        (["-f", "echo", "-O", "model_name=x"], "model_name is not an option", "Use --model, LOLLMS_MODEL or model"),
        (["-f", "echo", "-O", "default_generation_mode=x"], "is not an option", "Use --format, LOLLMS_FORMAT or"),
        (["-f", "echo", "-O", "timeouts=1"], "timeouts is not an option", "LOLLMS_IDLE_TIMEOUT or idle_timeout"),
        (["-f", "anthropic"], "no generation format 'anthropic' is installed", "Use `-f litellm -m anthropic/NAME`"),
        (["-f", "Gemini"], "no generation format 'gemini' is installed", "Use `-f litellm -m gemini/NAME`"),
        (["-f", "lmstudio"], "'lmstudio'", "Use `-f openai --host-address http://localhost:1234/v1`"),
    ],
)
def test_errors_are_one_line_and_a_hint(lollms, arguments, error, hint):
    result = lollms("generate", *arguments, "hi")
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Error: ")
    assert error in lines[0]
    assert all(line.startswith("Hint: ") for line in lines[1:])
    assert hint in "".join(lines[1:])


def test_an_option_without_effect_is_a_line_on_stderr(lollms):
    result = lollms("generate", "-f", "echo", "--top-k", "5", "hi")
    assert result.stdout == "hi\n"
    assert result.stderr == "Warning: the echo format does not honour: --top-k\n"


def test_strict_makes_it_an_error(lollms):
    result = lollms("generate", "-f", "echo", "--top-k", "5", "--strict", "hi")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the echo format does not honour: --top-k\n")


# --- what comes out ------------------------------------------------------------------------------------------------


def test_json_has_usage_and_timings(lollms):
    record = asked(lollms("generate", "-f", "echo", "-m", "m", "--json", "one two three"))
    timings = record.pop("timings")
    assert 0 <= timings["first_chunk"] <= timings["total"]
    assert record == {
        "text": "one two three",
        "reasoning": "",
        "finish_reason": "stop",
        "format": "echo",
        "model": "m",
        "usage": {
            "prompt_tokens": 3, "completion_tokens": 3, "reasoning_tokens": None, "cached_tokens": None,
            "total_tokens": 6,
        },
        "metadata": {},
    }  # fmt: skip


def test_a_json_error_keeps_the_partial_text(lollms):
    result = lollms(
        "generate",
        "-f",
        "echo",
        "--json",
        "-O",
        "fail_with=IncompleteStreamError",
        "-O",
        "fail_after=2",
        "one two three",
    )
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert record["status"] is False
    assert record["type"] == "IncompleteStreamError"
    assert record["partial_text"] == "one two"
    assert result.stderr == "Error: the echo format was told to fail\n"


def test_an_error_keeps_what_was_printed(lollms):
    result = lollms("generate", "-f", "echo", "-O", "fail_with=ServerError", "-O", "fail_after=2", "one two three")
    assert result.exit_code == 1
    assert result.stdout == "one two\n"
    assert result.stderr == "Error: the echo format was told to fail\n"


def test_debug_shows_where_an_error_comes_from(lollms):
    arguments = ["generate", "-f", "echo", "-O", "fail_with=ServerError", "one"]
    for result in (
        lollms(*arguments, "--debug"),
        lollms("--debug", *arguments),
        lollms(*arguments, env={"LOLLMS_DEBUG": "1"}),
    ):
        assert "Traceback (most recent call last)" in result.stderr
        assert "echo.py" in result.stderr
        assert result.stderr.splitlines()[-1] == "Error: the echo format was told to fail"
        assert result.exit_code == 1
    assert "Traceback" not in lollms(*arguments).stderr


def test_a_bug_in_a_backend_is_an_error_too(lollms, strangers):
    strangers.install(
        """
        from lollms_core import Backend, Chunk, hookimpl
        class Buggy(Backend):
            def __init__(self, settings):
                raise ZeroDivisionError("at the very start\\nand more")
            @hookimpl
            def generate(self, request):
                yield Chunk("never")
        """,
        buggy="Buggy",
    )
    result = lollms("generate", "-f", "buggy", "hi")
    assert result.exit_code == 1
    assert "ZeroDivisionError: at the very start and more" in result.stderr.splitlines()[0]
    assert "--debug" in result.stderr.splitlines()[1]


def test_the_limit_of_tokens_is_told(lollms):
    result = lollms("generate", "-f", "echo", "-n", "2", "one two three")
    assert result.stdout == "one two\n"
    assert result.stderr == "Note: the answer was cut off at the limit of tokens; --n-predict raises it\n"


def test_reasoning_stays_out_of_a_pipe(lollms):
    arguments = ["generate", "-f", "echo", "-O", 'reasoning=["Let me ", "think."]', "hi"]
    result = lollms(*arguments)
    assert (result.stdout, result.stderr) == ("hi\n", "")
    result = lollms(*arguments, "--show-reasoning")
    assert (result.stdout, result.stderr) == ("hi\n", "Let me think.\n")


def test_text_reaches_a_pipe_unchanged(lollms):
    script = json.dumps(["tab\t", "esc\x1b[31m", "é🙂\n", "\n"])
    assert lollms("generate", "-f", "echo", "-O", f"script={script}", "x").stdout == "tab\tesc\x1b[31mé🙂\n\n"


# --- the end -------------------------------------------------------------------------------------------------------


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    seen = ""
    while text not in seen:
        piece = os.read(process.stdout.fileno(), 100).decode()
        assert piece, f"ended after {seen!r}: {process.communicate()[1]}"
        seen += piece
    return seen


def test_ctrl_c_ends_with_130_and_keeps_what_was_printed(shell):
    process = shell.start("generate", "-f", "echo", "-O", 'script=["first ", "second"]', "-O", "delay=0.2", "x")
    with process:
        seen = read_until(process, "first")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert seen + out in ("first \n", "first second\n")
    assert err.strip() == "Stopping…"


def test_a_reader_that_leaves_is_no_error(shell, strangers):
    strangers.install(
        """
        from lollms_core import Backend, Chunk, hookimpl
        class Endless(Backend):
            @hookimpl
            def generate(self, request):
                while True:
                    yield Chunk("line of text\\n")
        """,
        endless="Endless",
    )
    process = shell.start("generate", "-f", "endless", "x")
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        read_until(process, "line of text")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


THINKER = """
    from lollms_core import MSG_TYPE, Backend, Chunk, hookimpl
    class Thinker(Backend):
        @hookimpl
        def generate(self, request):
            yield Chunk("hm", MSG_TYPE.MSG_TYPE_REASONING)
            yield Chunk(finish_reason="length")
    class Caller(Backend):
        @hookimpl
        def generate(self, request):
            yield Chunk(finish_reason="tool_calls", metadata={"tool_calls": [{"function": {"name": "look"}}]})
"""


def test_an_answer_without_text_says_why(lollms, strangers):
    strangers.install(THINKER, thinker="Thinker", caller="Caller")
    result = lollms("generate", "-f", "thinker", "hi")
    assert "used up its tokens with reasoning" in result.stderr
    assert "--n-predict" in result.stderr
    result = lollms("generate", "-f", "caller", "hi")
    assert "called tools" in result.stderr
    assert "look" in result.stderr
    record = asked(lollms("generate", "-f", "caller", "--json", "hi"))
    assert record["metadata"]["tool_calls"] == [{"function": {"name": "look"}}]
