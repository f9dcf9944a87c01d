"""`lollms chat`: at a terminal, and with a pipe in place of a person."""

from __future__ import annotations

import json
import signal

import pytest

from tests.cli.test_generate import read_until

CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"


def answers(result) -> list[dict]:
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
    for name in ("/help", "/reset", "/system", "/model", "/save"):
        assert name in text


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
    again = lollms("chat", "-f", "echo", input=f"/save {messages}\n")
    assert again.exit_code == 1
    assert "is there already" in again.stderr


@pytest.mark.parametrize("line", ["/nope", "/save", "/save a b", "/save '", "/save /no/such/folder/x.md"])
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


def test_ctrl_c_stops_the_answer_and_not_the_program(terminal):
    script = json.dumps([f"word{number} " for number in range(1000)])
    with terminal("chat", "-f", "echo", "-O", f"script={script}", "-O", "delay=0.05") as chat:
        chat.expect("Chatting with echo")
        chat.expect("> ")
        chat.type("hello\n")
        chat.expect("word1 ")
        chat.type(CTRL_C)
        chat.expect("(stopped)")
        chat.expect("> ")
        chat.type("/help\n")
        chat.expect("/save FILE")
        chat.expect("> ")
        chat.type(CTRL_D)
        assert chat.end() == 0
    assert "word900" not in chat.shown


def test_a_stopped_answer_stays_in_the_conversation(terminal, tmp_path):
    with terminal("chat", "-f", "echo", "-O", 'script=["Once ", "upon ", "a time"]', "-O", "delay=0.3") as chat:
        chat.expect("> ")
        chat.type("Tell me.\n")
        chat.expect("Once")
        chat.type(CTRL_C)
        chat.expect("(stopped)")
        chat.expect("> ")
        chat.type("/save talk.json\n")
        chat.expect("Saved in talk.json")
        chat.expect("> ")
        chat.type(CTRL_D)
        assert chat.end() == 0
    question, answer = json.loads((tmp_path / "talk.json").read_text())
    assert question == {"role": "user", "content": "Tell me."}
    assert "Once upon a time".startswith(answer["content"])
    assert answer["content"].startswith("Once")


def test_ctrl_c_at_the_prompt_and_errors_do_not_leave(terminal):
    with terminal("chat", "-f", "echo", "-O", "fail_with=ServerError") as chat:
        chat.expect("> ")
        chat.type("half a line")
        chat.expect("half a line")
        chat.interrupt(until="(Ctrl-D leaves)")
        chat.expect("> ")
        chat.type("hi\n")
        chat.expect("Error:")
        chat.expect("told to fail")
        chat.expect("> ")
        chat.type("/nope\n")
        chat.expect("there is no command /nope")
        chat.expect("> ")
        chat.type(CTRL_D)
        assert chat.end() == 0


def test_the_history_is_there_the_next_time_and_private(terminal, home):
    pytest.importorskip("readline", reason="Windows has no readline")
    with terminal("chat", "-f", "echo") as chat:
        chat.expect("> ")
        chat.type("what I typed\n")
        chat.expect("what I typed\r\n")
        chat.expect("> ")
        chat.type(CTRL_D)
        assert chat.end() == 0
    path = home / "state" / "lollms" / "chat_history"
    assert path.read_text().splitlines()[-1] == "what I typed"
    assert path.stat().st_mode & 0o077 == 0
    with terminal("chat", "-f", "echo") as chat:
        chat.expect("> ")
        chat.type(UP)
        chat.expect("what I typed")
        chat.type("\n")
        chat.expect("what I typed\r\n> ")
        chat.type(CTRL_D)
        assert chat.end() == 0
