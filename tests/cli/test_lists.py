"""`models`, `formats`, `personalities`, `tokenize`, `embed`, `code`."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

SERVER = """
    from lollms_core import Backend, Capabilities, Chunk, ModelInfo, ModelNotFoundError, PullProgress, hookimpl

    class Server(Backend):
        capabilities = Capabilities(pull=True)

        @hookimpl
        def generate(self, request):
            yield Chunk("hi")

        @hookimpl
        def list_models(self, request):
            return [
                ModelInfo(name="small\\x1b[31m", context_window=2048, parameters=134515008, size_bytes=98_000_000),
                ModelInfo(name="a-very-long-name-" * 8, parameters=8_030_000_000, metadata={"owner": "me"}),
            ]

        @hookimpl
        def pull_model(self, request):
            if request.model != "good":
                raise ModelNotFoundError("there is no such model", hint="Look it up.")
            yield PullProgress("pulling manifest")
            for done in (0, 50, 100):
                yield PullProgress("pulling layer", done, 100)
            yield PullProgress("success")
"""

NUMBERLESS = """
    from lollms_core import Backend, Chunk, hookimpl
    class Numberless(Backend):
        @hookimpl
        def generate(self, request):
            yield Chunk("hi")
"""

CODE = textwrap.dedent(
    """\
    Here it is:

    ```python
    def f():
        return 1
    ```

    and in JavaScript:

    ```js
    const f = () => 1
    ```
    """
)


@pytest.fixture
def server(strangers):
    strangers.install(SERVER, server="Server")
    return "server"


def script(*pieces: str) -> list[str]:
    return ["-f", "echo", "-O", f"script={json.dumps(pieces)}"]


# --- models --------------------------------------------------------------------------------------------------------


def test_models_are_a_table_that_cuts_nothing_in_a_pipe(lollms, server):
    lines = lollms("models", "-f", server).stdout.splitlines()
    assert lines[0].split() == ["Name", "Window", "Parameters", "Size"]
    assert lines[1].split() == ["small␛[31m", "2048", "135", "M", "98", "MB"]
    assert lines[2].split() == ["a-very-long-name-" * 8, "8.03", "B"]


def test_models_as_json(lollms, server):
    small, other = json.loads(lollms("models", "-f", server, "--json").stdout)
    assert small["parameters"] == 134515008
    assert other["metadata"] == {"owner": "me"}


def test_pulling_tells_each_step_once(lollms, server):
    result = lollms("models", "-f", server, "--pull", "good")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "pulling manifest",
        "pulling layer (100 B)",
        "success",
        "server has good now.",
    ]


def test_pulling_leaves_nothing_on_a_terminal_but_the_end(terminal, server):
    with terminal("models", "-f", server, "--pull", "good") as screen:
        assert screen.end() == 0
    assert screen.lines == ["server has good now."]


def test_pulling_what_is_not_there(lollms, server):
    result = lollms("models", "-f", server, "--pull", "bad")
    assert result.exit_code == 1
    assert result.stderr == "Error: there is no such model\nHint: Look it up.\n"


def test_pulling_where_nothing_can_be_pulled(lollms):
    result = lollms("models", "-f", "echo", "--pull", "x")
    assert result.exit_code == 1
    assert "the echo format has no way to download models" in result.stderr


def test_a_format_without_a_list_says_so(lollms, strangers):
    strangers.install(NUMBERLESS, numberless="Numberless")
    result = lollms("models", "-f", "numberless")
    assert result.exit_code == 1
    assert "the numberless format has no list of models" in result.stderr


# --- formats -------------------------------------------------------------------------------------------------------

BROKEN = "import no_such_module_anywhere"


def test_formats_are_listed_without_importing_them(lollms, strangers):
    package = strangers.install("raise SystemExit('imported!')", explosive="Whatever")
    result = lollms("formats")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["explosive", package, "1.0"] in rows
    assert rows[0] == ["Format", "Package", "Version"]


def test_a_format_whose_files_are_gone_is_shown(lollms, strangers, tmp_path):
    package = strangers.install("", gone="Gone")
    (tmp_path / "site" / f"{package}.py").unlink()
    assert f"the module {package} of {package} is missing" in lollms("formats").stdout
    records = {record["name"]: record for record in json.loads(lollms("formats", "--json").stdout)}
    assert "missing" in records["gone"]["error"]
    assert "error" not in records["echo"]


def test_capabilities_load_every_format_and_survive_a_broken_one(lollms, strangers):
    strangers.install(BROKEN, broken="Broken")
    strangers.install(SERVER, server="Server")
    result = lollms("formats", "--capabilities")
    assert result.exit_code == 0
    assert "can: pull" in result.stdout
    assert "n_predict, stop, system_prompt\n" in result.stdout
    assert "No module named 'no_such_module_anywhere'" in result.stderr
    records = {record["name"]: record for record in json.loads(lollms("formats", "--capabilities", "--json").stdout)}
    assert records["echo"]["capabilities"]["options"][-3:] == ["n_predict", "stop", "system_prompt"]
    assert records["server"]["capabilities"]["pull"] is True
    assert "no_such_module_anywhere" in records["broken"]["error"]


def test_capabilities_that_only_an_instance_has(lollms, strangers):
    source = """
    from lollms_core import Backend, Capabilities, Chunk, hookimpl

    class Late(Backend):
        @property
        def capabilities(self):
            return Capabilities()

        @hookimpl
        def generate(self, request):
            yield Chunk("hi")
    """
    strangers.install(source, late="Late")
    result = lollms("formats", "--capabilities")
    assert result.exit_code == 0
    assert "only once a client is made" in result.stdout


def test_capabilities_survive_what_panics_or_exits_at_import(lollms, strangers):
    strangers.install("class Panic(BaseException): pass\nraise Panic('index out of bounds')", panicking="Whatever")
    strangers.install("raise SystemExit('leaving')", exiting="Whatever")
    result = lollms("formats", "--capabilities")
    assert result.exit_code == 0
    assert "echo  lollms-core" in result.stdout
    assert "cannot be loaded: Panic: index out of bounds" in " ".join(result.stderr.split())
    records = {record["name"]: record for record in json.loads(lollms("formats", "--capabilities", "--json").stdout)}
    assert "Panic: index out of bounds" in records["panicking"]["error"]
    assert "SystemExit: leaving" in records["exiting"]["error"]


# --- tokens, embeddings, personalities -----------------------------------------------------------------------------


def test_tokens(lollms):
    assert lollms("tokenize", "-f", "echo", "héy").stdout == "104 195 169 121\n"
    assert lollms("tokenize", "-f", "echo", "--count", input="hey\n").stdout == "3\n"
    record = json.loads(lollms("tokenize", "-f", "echo", "--json", "hey").stdout)
    assert record == {"tokens": [104, 101, 121], "count": 3, "exact": True}


def test_an_estimate_says_that_it_is_one(lollms, strangers):
    strangers.install(NUMBERLESS, numberless="Numberless")
    result = lollms("tokenize", "-f", "numberless", "--count", "Hello, world!")
    assert int(result.stdout) > 0
    assert "this is an estimate" in result.stderr
    assert json.loads(lollms("tokenize", "-f", "numberless", "--count", "--json", "hey").stdout)["exact"] is False


def test_embeddings_are_one_line_each(lollms):
    assert lollms("embed", "-f", "echo", "one", "two words").stdout == "[3.0, 1.0]\n[9.0, 2.0]\n"
    assert lollms("embed", "-f", "echo", input="one\ntwo words\n\n").stdout == "[3.0, 1.0]\n[9.0, 2.0]\n"
    empty = lollms("embed", "-f", "echo", input="one\n\ntwo words\n")  # nothing is left out, or lines would not fit
    assert (empty.exit_code, empty.stdout) == (2, "")
    assert "Line 2 is empty" in empty.stderr
    assert lollms("embed", "-f", "echo").exit_code == 2


def test_personalities(lollms, strangers):
    assert lollms("personalities", "-f", "echo").stdout.splitlines()[1].split() == [
        "0",
        "generic/echo",
        "generic",
        "yes",
    ]
    assert json.loads(lollms("personalities", "-f", "echo", "--json").stdout)[0]["name"] == "generic/echo"
    strangers.install(NUMBERLESS, numberless="Numberless")
    result = lollms("personalities", "-f", "numberless")
    assert result.exit_code == 1
    assert "the numberless format has no personalities" in result.stderr


# --- code ----------------------------------------------------------------------------------------------------------


def test_code_is_the_code_alone(lollms):
    result = lollms("code", *script(CODE), "x")
    assert (result.stdout, result.stderr, result.exit_code) == ("def f():\n    return 1\n", "", 0)


def test_all_code_blocks(lollms):
    assert lollms("code", "--all", *script(CODE), "x").stdout == "def f():\n    return 1\n\nconst f = () => 1\n"
    blocks = json.loads(lollms("code", "--all", "--json", *script(CODE), "x").stdout)
    assert [block["type"] for block in blocks] == ["python", "js"]
    assert json.loads(lollms("code", "--json", *script(CODE), "x").stdout) == blocks


def test_code_to_a_file(lollms, tmp_path):
    path = tmp_path / "f.py"
    result = lollms("code", "-o", str(path), *script(CODE), "x")
    assert path.read_text() == "def f():\n    return 1\n"
    assert (result.stdout, result.stderr) == ("", f"Note: wrote {path}\n")
    failed = lollms("code", "-o", str(tmp_path / "no" / "f.py"), *script(CODE), "x")
    assert failed.exit_code == 1
    assert "there is no folder" in failed.stderr
    blocks = tmp_path / "blocks.json"
    assert lollms("code", "--json", "-o", str(blocks), *script(CODE), "x").stdout == ""
    assert [block["type"] for block in json.loads(blocks.read_text())] == ["python", "js"]


def test_a_file_is_not_overwritten_unasked(lollms, tmp_path):
    path = tmp_path / "f.py"
    path.write_text("precious\n")
    # Nobody is there to be asked, and no model is asked for nothing.
    result = lollms("code", "-o", str(path), "-f", "echo", "-O", "fail_with=ServerError", "x", input="y\n")
    assert result.exit_code == 1
    assert result.stderr == f"Error: {path} is there already\nHint: --force overwrites it.\n"
    assert path.read_text() == "precious\n"
    assert lollms("code", "--force", "-o", str(path), *script(CODE), "x").exit_code == 0
    assert path.read_text() == "def f():\n    return 1\n"
    assert lollms("code", "-o", "/dev/null", *script(CODE), "x").exit_code == 0


@pytest.mark.parametrize(("answer", "status", "content"), [("y", 0, "def f():\n    return 1\n"), ("", 1, "precious\n")])
def test_somebody_at_a_terminal_is_asked(terminal, tmp_path, answer, status, content):
    (tmp_path / "f.py").write_text("precious\n")
    with terminal("code", "-o", "f.py", *script(CODE), "x") as screen:
        screen.expect("f.py is there already. Overwrite it? [y/N] ")
        screen.type(f"{answer}\n")
        assert screen.end() == status
    assert (tmp_path / "f.py").read_text() == content


FAILING = [
    ["generate", "hi"], ["code", "hi"], ["models"], ["personalities"], ["tokenize", "hi"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", FAILING, ids=[arguments[0] for arguments in FAILING])
def test_every_command_with_json_has_errors_as_json(lollms, strangers, arguments):
    strangers.install(
        """
        from lollms_core import AuthenticationError, Backend, Chunk, hookimpl
        class Failing(Backend):
            def _fail(self, request):
                key = self.settings.api_key.get_secret_value()
                raise AuthenticationError(f"{key} is not accepted", hint="Pass a key as service_key.", status_code=401)
            generate = list_models = list_personalities = tokenize = count_tokens = hookimpl(_fail)
        """,
        failing="Failing",
    )
    result = lollms(*arguments, "-f", "failing", "--json", env={"LOLLMS_API_KEY": "sk-123456"})
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "status": False,
        "error": "*** is not accepted",
        "type": "AuthenticationError",
        "hint": "Check the key. It comes from: environment LOLLMS_API_KEY.",
        "retryable": False,
        "status_code": 401,
        "partial_text": "",
    }
    assert result.stderr.startswith(
        "Error: *** is not accepted\nHint: Check the key. It comes from: environment LOLLMS_API_KEY."
    )


@pytest.mark.parametrize(
    ("arguments", "type"),
    [
        (["models", "-f", "ecco"], "UnknownFormatError"),
        (["config", "show"], "ConfigurationError"),
        (["generate", "--schema", "no-such-file", "hi"], "BadParameter"),
        (["code", "-f", "echo", "no code"], "BackendError"),
    ],
)
def test_errors_before_the_call_are_json_too(lollms, config, arguments, type):
    if arguments[0] == "config":
        config("modle = 'x'\n")
    result = lollms(*arguments, "--json")
    assert result.exit_code in (1, 2)
    record = json.loads(result.stdout)
    assert (record["status"], record["type"]) == (False, type)


def test_language_and_template_reach_the_model(lollms, strangers, tmp_path):
    strangers.install(
        """
        from lollms_core import Backend, Chunk, hookimpl
        class Quoting(Backend):
            @hookimpl
            def generate(self, request):
                yield Chunk("````text\\n" + request.prompt + "\\n````\\n")
        """,
        quoting="Quoting",
    )
    template = tmp_path / "start.py"
    template.write_text("def start(): ...\n")
    code = lollms("code", "-f", "quoting", "-l", "python", "--template", str(template), "add a loop").stdout
    assert "add a loop" in code
    assert "def start(): ..." in code
    assert "python code" in code


def test_an_answer_without_code_is_shown_and_an_error(lollms):
    result = lollms("code", *script("I would rather not."), "x")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("I would rather not.\nError: the model answered without a code block\n")


EMPTY = "```\n```\n"


@pytest.mark.parametrize("answer", [EMPTY, "```python\n", EMPTY + "```js\n \n```\n"])
def test_an_empty_block_is_no_code(lollms, tmp_path, answer):
    kept = tmp_path / "kept.py"
    kept.write_text("good = True\n")
    result = lollms("code", *script(answer), "-o", str(kept), "--force", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Error: the model answered without a code block\n" in result.stderr
    assert kept.read_text() == "good = True\n"


def test_an_empty_block_before_the_code_is_passed_over(lollms):
    assert lollms("code", *script(EMPTY + "```python\nprint(1)\n```\n"), "x").stdout == "print(1)\n"


def test_unfinished_code_is_told(lollms):
    result = lollms("code", "--all", *script("```python\nx = 1\n"), "x")
    assert "the last block is not complete" in result.stderr
    result = lollms("code", *script("```python\nx = 1\n"), "x")
    assert "Warning: The model did not close the code block" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full, which stands for a full disk")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_code_that_cannot_be_written_is_not_lost(lollms, flags):
    result = lollms("code", *script("```python\nprint(1)\n```\n"), "-o", "/dev/full", *flags, "x")
    assert result.exit_code == 1
    assert "print(1)" in (json.loads(result.stdout)["partial_text"] if flags else result.stderr)


def test_what_json_has_no_word_for_is_text(lollms, strangers):
    source = """
    import datetime
    from lollms_core import Backend, Chunk, hookimpl

    class When(Backend):
        @hookimpl
        def generate(self, request):
            yield Chunk("an answer", finish_reason="stop", metadata={"when": datetime.date(2026, 11, 28)})
    """
    strangers.install(source, when="When")
    result = lollms("-f", "when", "--json", "hi")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["text"] == "an answer"
    assert json.loads(result.stdout)["metadata"] == {"when": "2026-11-28"}
