"""`lollms chat`: at a terminal, and with a pipe in place of a person."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from typing import Any

import pytest

from lollms_core import InvalidRequestError
from lollms_core._cli.transcript import Conversation
from tests.cli.test_generate import ONE_PIXEL_PNG, read_until

CTRL_C, CTRL_D, SEARCH, UP = "\x03", "\x04", "\x12", "\x1b[A"
COLOURS = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|4\d|9\d|10\d)(?:;\d+)*m")


def answers(result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- a pipe --------------------------------------------------------------------------------------------------------


def test_the_conversation_is_sent_as_messages(lollms, recorder):
    first, second = answers(lollms("chat", "-f", recorder, input="My name is Ada.\n\nWhat is my name?\n"))
    assert first["messages"] == [["user", "My name is Ada."]]
    assert second["messages"] == [
        ["user", "My name is Ada."],
        ["assistant", json.dumps(first)],
        ["user", "What is my name?"],
    ]


def test_commands_change_what_is_sent(lollms, recorder):
    lines = "one\n/reset\n/system Be brief.\n/model big\ntwo\n/system\n/model\n"
    result = lollms("chat", "-f", recorder, "-m", "small", "-s", "Be kind.", input=lines)
    first, second = answers(result)
    assert (first["system"], first["model"]) == ("Be kind.", "small")
    assert (second["system"], second["model"]) == ("Be brief.", "big")
    assert second["messages"] == [["user", "two"]]
    assert result.stderr.splitlines()[-2:] == ["Be brief.", "big (recorder)"]


def test_sampling_options_hold_for_every_turn(lollms, recorder):
    for answer in answers(lollms("chat", "-f", recorder, "--seed", "3", input="a\nb\n")):
        assert answer["chosen"] == {"seed": 3}


def test_several_lines_are_one_message_between_quotes(lollms, recorder):
    messages = [answer["messages"][-1][1] for answer in answers(lollms("chat", "-f", recorder, input=
        '"""\na\n\nb\n"""\n"""c"""\n"""d\ne"""\n'))]  # fmt: skip
    assert messages == ["a\n\nb", "c", "d\ne"]


def test_help_lists_the_commands(lollms):
    text = lollms("chat", "-f", "echo", input="/help\n").stdout
    for name in ("/help", "/exit", "/reset", "/retry", "/image", "/system", "/model", "/save", "/load"):
        assert f"\n{name}" in f"\n{text}"


def test_saving(lollms, tmp_path):
    markdown, messages = tmp_path / "talk one.md", tmp_path / "talk.json"
    lines = f'hi\n/save "{markdown}"\n/save {messages}\n'
    assert lollms("chat", "-f", "echo", "-s", "S", input=lines).exit_code == 0
    assert markdown.read_text() == "## system\n\nS\n\n## user\n\nhi\n\n## assistant\n\nS\nhi\n"
    assert json.loads(messages.read_text()) == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "S\nhi"},
    ]
    roles = ["user", "assistant"]
    lines = f"/load {messages}\nmore\n/save {messages}\nand more\n/save {messages}\n"
    assert lollms("chat", "-f", "echo", input=lines).exit_code == 0
    assert [message["role"] for message in json.loads(messages.read_text())] == ["system", *roles * 3]
    assert sorted(path.name for path in tmp_path.iterdir() if "talk" in path.name) == ["talk one.md", "talk.json"]
    forgotten = lollms("chat", "-f", "echo", input=f"/load {messages}\n/reset\n/save {messages}\n")
    assert "is there already" in forgotten.stderr
    again = lollms("chat", "-f", "echo", input=f"/save {messages}\n")
    assert again.exit_code == 1
    assert "is there already" in again.stderr


def test_nothing_is_not_saved(lollms, tmp_path):
    result = lollms("chat", "-f", "echo", input=f"/save {tmp_path}/talk.json\n")
    assert "there is nothing to save yet" in result.stderr
    assert not (tmp_path / "talk.json").exists()


def test_saving_again_keeps_who_may_read_the_file(lollms, tmp_path):
    talk = tmp_path / "talk.json"
    lollms("chat", "-f", "echo", input=f"hi\n/save {talk}\n")
    talk.chmod(0o600)
    assert lollms("chat", "-f", "echo", input=f"/load {talk}\nmore\n/save {talk}\n").exit_code == 0
    assert len(json.loads(talk.read_text())) == 4
    assert talk.stat().st_mode & 0o777 == 0o600


def test_saving_again_loses_nothing_of_others(lollms, tmp_path):
    talk = tmp_path / "talk.json"
    talk.write_text('[{"role": "user", "content": "hi", "at": "noon"}]')
    said = lollms("chat", "-f", "echo", input=f"/load {talk}\nmore\n/save {talk}\n")
    assert "is there already" in said.stderr
    assert "noon" in talk.read_text()


def test_what_another_chat_has_saved_since_is_kept(tmp_path):
    file = tmp_path / "talk.json"
    ours = Conversation("", None)
    ours.save(file)
    file.write_text("[ ]")
    with pytest.raises(InvalidRequestError, match="is there already"):
        ours.save(file)
    assert file.read_text() == "[ ]"


def test_loading_goes_on_where_it_was_saved(lollms, recorder, tmp_path):
    talk = tmp_path / "talk.json"
    lollms("chat", "-f", recorder, "-s", "Be kind.", input=f"My name is Ada.\n/save {talk}\n")
    (answer,) = answers(lollms("chat", "-f", recorder, input=f"/load {talk}\nWhat is my name?\n"))
    assert answer["system"] == "Be kind."
    assert [role for role, _ in answer["messages"]] == ["user", "assistant", "user"]
    assert [answer["messages"][0][1], answer["messages"][2][1]] == ["My name is Ada.", "What is my name?"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("## user\n\nhi\n", "it is not a list of messages"),
        ("3", "it is not a list of messages"),
        ("[3]", "it is not a list of messages"),
        ('[{"role": "nobody", "content": ""}]', "role must be system, user, assistant or tool"),
        ('[{"role": "user"}]', "lacks 'content'"),
    ],
)
def test_what_is_no_conversation_is_not_loaded(lollms, tmp_path, content, said):
    path = tmp_path / "talk.json"
    if content is not None:
        path.write_text(content)
    result = lollms("chat", "-f", "echo", input=f"/load {path}\n")
    assert result.exit_code == 1
    assert said in result.stderr


def test_retrying_asks_the_last_question_again(lollms, recorder):
    first, second, again = answers(lollms("chat", "-f", recorder, input="one\ntwo\n/retry\n"))
    assert len(first["messages"]) == 1
    assert again["messages"] == second["messages"]
    result = lollms("chat", "-f", recorder, input="/retry\n")
    assert result.exit_code == 1
    assert "nothing has been asked yet" in result.stderr


def test_a_question_that_failed_can_be_asked_again(terminal):
    with terminal("chat", "-f", "echo", "-O", "fail_with=ServerError", TERM="dumb") as chat:
        for line in ("hi there", "/retry"):
            chat.expect("> ")
            chat.type(f"{line}\n")
            chat.expect("hi there\r\n")
            chat.expect("told to fail")
        chat.expect("> ")
        chat.type(CTRL_D)
        assert chat.end() == 0


def test_images_go_with_one_message(lollms, recorder, tmp_path):
    image = tmp_path / "a pixel.png"
    image.write_bytes(ONE_PIXEL_PNG)
    talk = tmp_path / "talk.json"
    lines = f'one\n/image "{image}"\n/image "{image}"\ntwo\nthree\n/save {talk}\n'
    result = lollms("chat", "-f", recorder, "--image", str(image), input=lines)
    assert [answer["images"] for answer in answers(result)] == [1, 3, 3]
    assert "An image goes with your next message.\n2 images go with your next message.\n" in result.stderr
    saved = json.loads(talk.read_text())
    assert [len(message.get("images", [])) for message in saved if message["role"] == "user"] == [1, 2, 0]
    (answer,) = answers(lollms("chat", "-f", recorder, input=f"/load {talk}\nfour\n"))
    assert answer["images"] == 3


def test_the_name_of_a_file_that_is_there_needs_no_quotes(lollms, recorder, tmp_path):
    (tmp_path / "a pixel.png").write_bytes(ONE_PIXEL_PNG)
    (answer,) = answers(lollms("chat", "-f", recorder, input=f"/image {tmp_path}/a pixel.png\nhi\n"))
    assert answer["images"] == 1


def test_an_image_can_be_taken_back(lollms, recorder, tmp_path):
    image = tmp_path / "pixel.png"
    image.write_bytes(ONE_PIXEL_PNG)
    (answer,) = answers(lollms("chat", "-f", recorder, "-i", str(image), input="/image\nhi\n"))
    assert answer["images"] == 0


def test_a_format_that_sees_nothing_says_so(lollms, strangers, tmp_path):
    strangers.install(
        """
        from lollms_core import Backend, Chunk, hookimpl
        class Blind(Backend):
            @hookimpl
            def generate(self, request):
                yield Chunk("hi")
        """,
        blind="Blind",
    )
    result = lollms("chat", "-f", "blind", "--image", "x.png", input="hi\n")
    assert result.exit_code == 1
    assert result.stderr == "Error: the blind format does not take images\n"


@pytest.mark.parametrize("word", ["/exit", "/quit", "/bye"])
def test_leaving(lollms, word):
    result = lollms("chat", "-f", "echo", input=f"one\n{word}\ntwo\n")
    assert (result.exit_code, result.stdout) == (0, "one\n")


def test_an_answer_that_was_cut_off_says_so(lollms):
    result = lollms("chat", "-f", "echo", "-n", "1", input="one two\n")
    assert result.stdout == "one\n"
    assert "--n-predict raises it" in result.stderr


@pytest.mark.parametrize(
    "line",
    ["/nope", "/save", "/save a b", "/save '", "/save /no/such/folder/x.md", "/load", "/image", "/image missing.png"],
)
def test_a_command_that_cannot_be_obeyed_ends_a_pipe_with_an_error(lollms, line):
    result = lollms("chat", "-f", "echo", input=f"{line}\nhi\n")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stdout == ""


def test_an_error_ends_a_pipe_and_keeps_what_was_said(lollms):
    result = lollms("chat", "-f", "echo", "-O", "fail_with=ServerError", input="hi\nagain\n")
    assert (result.exit_code, result.stdout) == (1, "hi\n")
    assert result.stderr == "Error: the echo format was told to fail\n"


def test_ctrl_c_ends_a_pipe(shell):
    process = shell.start("chat", "-f", "echo", "-O", 'script=["first ", "second"]', "-O", "delay=0.2")
    process.wait(timeout=20)
    process.communicate()
    assert process.returncode == 0  # nothing on standard input: nothing to do

    import subprocess

    process = subprocess.Popen(
        [*shell.command, "chat", "-f", "echo", "-O", 'script=["first ", "second"]', "-O", "delay=0.2"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=shell.environment,
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        process.stdin.write("hi\n")
        process.stdin.flush()
        read_until(process, "first")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130


# --- a terminal ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["prompt_toolkit", "readline"])
def reader(request, tmp_path):
    """Both ways to read from a terminal. The one without prompt_toolkit is made to fail its import."""
    pytest.importorskip(request.param)
    if request.param == "readline":
        site = tmp_path / "site"
        site.mkdir(exist_ok=True)
        (site / "prompt_toolkit.py").write_text("raise ImportError('not here')")
    return request.param


@pytest.fixture
def chat(reader, terminal):
    """Begins a chat, and waits until it is one's turn."""

    @contextlib.contextmanager
    def begin(*args: str, **options):
        with terminal("chat", *args, **options) as screen:
            screen.until(our_turn)
            yield screen

    return begin


def our_turn(lines: list[str]) -> bool:
    return bool(lines) and lines[-1] == ">"


def turn_after(text: str):
    """Whether a line has been shown, and it is one's turn again."""
    return lambda lines: text in lines and our_turn(lines)


def leave(screen) -> None:
    screen.type(CTRL_D)
    assert screen.end() == 0


YES = ["-f", "echo", "-O", 'script=["yes"]']
BLOCK = "\n".join(f"line {number}" for number in range(1, 21))


def test_a_pasted_block_is_one_message(chat, tmp_path):
    with chat(*YES) as screen:
        screen.paste(BLOCK)
        screen.until(lambda lines: lines[-1].endswith("line 20"))
        screen.type("\r")
        screen.until(turn_after("yes"))
        screen.type("/save talk.json\r")
        screen.until(turn_after("Saved in talk.json, as JSON."))
        leave(screen)
    assert json.loads((tmp_path / "talk.json").read_text()) == [
        {"role": "user", "content": BLOCK},
        {"role": "assistant", "content": "yes"},
    ]


def test_a_pasted_block_that_begins_with_a_slash_is_a_message(chat):
    with chat(*YES) as screen:
        screen.paste("/usr/bin/env: no such file\nWhat is wrong?")
        screen.type("\r")
        screen.until(turn_after("yes"))
        leave(screen)


def test_text_between_fences_is_one_message(chat):
    with chat("-f", "echo") as screen:
        for line in ('"""', "one", "two", '"""'):
            screen.type(f"{line}\r")
        screen.until(lambda lines: lines[-3:] == ["one", "two", ">"])
        leave(screen)


def answered(times: int):
    """Whether the model that only says yes has said it so often, and it is one's turn again."""
    return lambda lines: lines.count("yes") == times and our_turn(lines)


def test_the_history_is_there_the_next_time_and_private(chat, home):
    with chat(*YES) as screen:
        screen.type("what I typed\r")
        screen.until(answered(1))
        screen.paste("two\nlines \\n")
        screen.type("\r")
        screen.until(answered(2))
        leave(screen)
    path = home / "state" / "lollms" / "chat_history"
    assert path.read_text().splitlines() == ["what I typed", "two\\nlines \\\\n"]
    assert path.stat().st_mode & 0o077 == 0
    with chat(*YES) as screen:
        screen.type(UP)
        screen.until(lambda lines: lines[-1].endswith("lines \\n"))
        screen.type("\r")
        screen.until(answered(1))
        screen.type(SEARCH + "typed")
        screen.until(lambda lines: "search" in lines[-1] and any("what I typed" in line for line in lines))
        screen.type("\r")  # takes what was found; readline sends it, too
        screen.until(lambda lines: lines[-1] == "> what I typed" or answered(2)(lines))
        screen.type("\r")
        screen.until(answered(2))
        leave(screen)
    assert path.read_text().splitlines()[2:] == ["what I typed"]


def test_a_history_that_cannot_be_kept_is_said_once(chat, home):
    (home / "state").write_text("a file in the way")
    with chat(*YES) as screen:
        for times in (1, 2):
            screen.type("hello\r")
            screen.until(answered(times))
        leave(screen)
    assert "\n".join(screen.lines).count("this chat will not be remembered") == 1


def test_words_are_completed(chat, tmp_path):
    (tmp_path / "talk.json").write_text("[]")
    with chat("-f", "echo") as screen:
        screen.type("/lo\t")
        screen.until(lambda lines: lines[-1] == "> /load")
        screen.type(" tal\t")
        screen.until(lambda lines: lines[-1] == "> /load talk.json")
        screen.type("\r")
        screen.until(turn_after("Loaded 0 messages from talk.json."))
        leave(screen)


WORDS = json.dumps([f"word{number} " for number in range(1000)])


def test_ctrl_c_stops_the_answer_and_not_the_program(chat, tmp_path):
    with chat("-f", "echo", "-O", f"script={WORDS}", "-O", "delay=0.05") as screen:
        screen.type("hello\r")
        screen.expect("word3")
        screen.type(CTRL_C)
        screen.until(turn_after("(stopped)"))
        screen.type("/save talk.json\r")
        screen.until(turn_after("Saved in talk.json, as JSON."))
        leave(screen)
    assert "word900" not in screen.shown
    question, answer = json.loads((tmp_path / "talk.json").read_text())
    assert question == {"role": "user", "content": "hello"}
    assert answer["content"].startswith("word0 word1 word2")  # what there was of it stays in the conversation


def test_ctrl_c_before_the_first_word(chat):
    with chat("-f", "echo", "-O", "delay=100") as screen:
        screen.type("hello\r")
        screen.expect("Waiting for echo")
        screen.type(CTRL_C)
        screen.until(turn_after("(stopped)"))
        assert not any("Waiting" in line for line in screen.lines)
        leave(screen)


def test_ctrl_c_at_the_prompt_and_errors_do_not_leave(chat):
    with chat("-f", "echo", "-O", "fail_with=ServerError") as screen:
        screen.type("half a line")
        screen.until(lambda lines: lines[-1] == "> half a line")
        screen.interrupt(until="(Ctrl-D leaves)")
        screen.until(our_turn)
        screen.type("hi\r")
        screen.until(turn_after("Error: the echo format was told to fail"))
        screen.type("/nope\r")
        screen.until(turn_after("Error: there is no command /nope"))
        leave(screen)


def test_a_terminal_without_control_sequences_is_enough(terminal):
    with terminal("chat", "-f", "echo", TERM="dumb") as screen:
        screen.expect("> ")
        screen.type("hello\n")
        screen.expect("hello\r\nhello\r\n> ")
        screen.interrupt(until="(Ctrl-D leaves)")
        screen.expect("> ")
        screen.type("/exit\n")
        assert screen.end() == 0
    assert "\x1b" not in screen.shown


def test_no_colours_where_none_are_wanted(chat):
    with chat("-f", "echo", "-O", "fail_with=ServerError", NO_COLOR="1") as screen:
        screen.type("hello\r")
        screen.until(turn_after("Error: the echo format was told to fail"))
        leave(screen)
    assert COLOURS.findall(screen.shown) == []
