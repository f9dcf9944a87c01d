"""What broke when somebody tried to break it: input of wrong types, halves of characters, copies, passwords."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import pickle
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from lollms_core import (
    Backend,
    BackendError,
    BackendSettings,
    CallCancelledError,
    CancelToken,
    Capabilities,
    Chunk,
    ConfigurationError,
    ContractError,
    EmptyAnswerWarning,
    FinishReason,
    GenerationRequest,
    IncompleteStreamError,
    InvalidRequestError,
    LollmsClient,
    Message,
    Timeouts,
    TokenCount,
    UnfinishedCodeWarning,
    UnsupportedOptionError,
    UnsupportedOptionWarning,
    hookimpl,
    installed_formats,
)
from lollms_core._client import registry
from lollms_core.contract.types import MSG_TYPE, ToolCall, ToolResult, Usage
from lollms_core.images import load_image
from lollms_core.text import SurrogateJoiner
from lollms_core.text._json_schema import schema_checker
from tests.support.inline import Over, over
from tests.support.lollms_stub import LollmsStub
from tests.support.results import error_of, result_of
from tests.support.strangers import Strangers, strangers

__all__ = ["over", "strangers"]


def echo(**options: Any) -> LollmsClient:
    return LollmsClient(default_generation_mode="echo", raise_errors=True, **options)


# --- code that has arrived is kept ------------------------------------------------------------------------------------


class Continued(Backend):
    """Answers with code that is cut off, goes on once, and fails the second time."""

    calls = 0

    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        type(self).calls += 1
        if self.calls == 1:
            yield Chunk("```python\na = 1\nb = 2\n")
        elif self.calls == 2:
            yield Chunk("```python\nc = 3\n")
        else:
            yield Chunk("```python\nd = 4\ne =")
            raise IncompleteStreamError("the connection broke")
        yield Chunk(finish_reason="length")


@pytest.mark.parametrize("call", ["generate_code", "generate_codes"])
@pytest.mark.parametrize("world", ["sync", "async"])
def test_code_is_kept_when_a_continuation_fails(over: Over, call: str, world: str) -> None:
    Continued.calls = 0
    client = over(Continued, raise_errors=False)
    result = getattr(client, call)("x") if world == "sync" else asyncio.run(getattr(client, f"a{call}")("x"))
    assert result["type"] == "IncompleteStreamError"
    (block,) = client.extract_code_blocks(result)
    assert block["content"] == "a = 1\nb = 2\nc = 3\nd = 4\ne ="
    assert (block["type"], block["is_complete"]) == ("python", False)


class Split(Backend):
    """Its first answer breaks off inside a block; each of the next goes on with it and with another one."""

    answers: ClassVar[list[str]] = []

    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        yield Chunk(self.answers.pop(0))
        if not self.answers:
            raise IncompleteStreamError("the connection broke")
        yield Chunk(finish_reason="length")


FIRST = "# Parts\n\n`a.py`:\n```python\nx = 1\ny ="
SECOND = "```python\n 2\n```\n\nAnd `b.py`:\n```python\nz ="
WITHOUT_FENCE = " 2\n```\n\nAnd `b.py`:\n```python\nz ="
THIRD = "```python\n 3\n```\n\n# Data\n\n```json\n{}\n```\nDone."
CODES = [("x = 1\ny = 2", "a.py", "Parts"), ("z = 3", "b.py", "Parts"), ("{}", "", "Data")]


@pytest.mark.parametrize("second", [SECOND, WITHOUT_FENCE])
@pytest.mark.parametrize("world", ["sync", "async"])
def test_blocks_that_follow_in_a_continuation_are_kept(over: Over, second: str, world: str) -> None:
    Split.answers = [FIRST, second, THIRD, "never asked for"]
    client = over(Split)
    blocks = result_of(client.generate_codes("x") if world == "sync" else asyncio.run(client.agenerate_codes("x")))
    assert [(block["content"], block["file_name"], block["section"]) for block in blocks] == CODES
    assert [(block["index"], block["is_complete"]) for block in blocks] == [(0, True), (1, True), (2, True)]
    assert Split.answers == ["never asked for"]


def test_one_block_is_asked_for_and_what_follows_it_is_left_out(over: Over) -> None:
    Split.answers = [FIRST, SECOND, "never asked for"]
    assert over(Split).generate_code("x") == "x = 1\ny = 2"
    assert Split.answers == ["never asked for"]


def test_blocks_that_follow_are_kept_when_the_continuation_fails(over: Over) -> None:
    Split.answers = [FIRST, SECOND]
    error = error_of(over(Split, raise_errors=False).generate_codes("x"))
    assert error["type"] == "IncompleteStreamError"
    blocks = LollmsClient.extract_code_blocks(error)
    assert [(block["content"], block["is_complete"]) for block in blocks] == [("x = 1\ny = 2", True), ("z =", False)]


@pytest.mark.parametrize("template", ["```\nx\n```", "~~~~\n`````\n"])
def test_a_template_with_fences_is_fenced_with_a_longer_one(template: str) -> None:
    with echo() as client:
        (block,) = result_of(client.generate_codes("make it", template=template, language="md"))
    assert (block["content"], block["type"]) == (template, "md")


# --- chunks that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [Chunk(None), Chunk(b"bytes"), "text", None, 3])  # type: ignore[arg-type]
@pytest.mark.parametrize("world", ["sync", "async"])
def test_a_chunk_that_is_none_is_the_backends_fault_and_the_text_is_kept(over: Over, bad: Any, world: str) -> None:
    class Broken(Backend):
        @hookimpl
        def generate(self, request: Any) -> Iterator[Any]:
            yield Chunk("so far")
            yield bad

    client = over(Broken)
    with pytest.raises(ContractError) as caught:
        client.generate("x") if world == "sync" else asyncio.run(client.agenerate("x"))
    assert caught.value.partial_text == "so far"
    assert "inline" in caught.value.message


# --- halves of characters ---------------------------------------------------------------------------------------------


@given(st.text(alphabet=st.characters(codec=None)), st.data())
def test_characters_are_joined_however_they_are_torn(text: str, data: st.DataObject) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    halves = [units[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(units), 2)]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(halves)), max_size=5)))
    joiner = SurrogateJoiner()
    pieces = ["".join(halves[a:b]) for a, b in zip([0, *cuts], [*cuts, len(halves)], strict=True)]
    out = "".join(joiner.feed(piece) for piece in pieces) + joiner.flush()
    assert out == units.decode("utf-16-le", "replace")
    out.encode()


@pytest.mark.parametrize("kind", [MSG_TYPE.MSG_TYPE_CHUNK, MSG_TYPE.MSG_TYPE_REASONING])
def test_surrogate_pairs_reach_callers_whole(over: Over, kind: MSG_TYPE) -> None:
    class Torn(Backend):
        @hookimpl
        def generate(self, request: Any) -> Iterator[Chunk]:
            for piece in ("a\ud83d", "\ude00b", "\ud83d", "c", "\ude00", "d\ud83d"):
                yield Chunk(piece, kind)

    client = over(Torn)
    pieces: list[str] = []
    completion = result_of(client.complete("x", streaming_callback=lambda piece, _: pieces.append(piece)))
    whole = completion.text if kind == MSG_TYPE.MSG_TYPE_CHUNK else completion.reasoning
    assert whole == "".join(pieces) == "a\U0001f600b\ufffdc\ufffdd\ufffd"
    for piece in pieces:
        piece.encode()


# --- no silent empty answer -------------------------------------------------------------------------------------------


class OnlyThinks(Backend):
    capabilities = Capabilities(options=frozenset({"json_schema"}))

    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        yield Chunk("hm", MSG_TYPE.MSG_TYPE_REASONING)
        yield Chunk(finish_reason="length", usage=Usage(completion_tokens=1))


class ThinksHidden(Backend):
    """As OpenAI's reasoning models: what they think is counted, and not shown."""

    capabilities = Capabilities(options=frozenset({"json_schema"}))

    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        yield Chunk(finish_reason="length", usage=Usage(completion_tokens=50, reasoning_tokens=50))


class Calls(Backend):
    @hookimpl
    async def generate(self, request: Any) -> AsyncIterator[Chunk]:
        yield Chunk(finish_reason="tool_calls", metadata={"tool_calls": [{"function": {"name": "f"}}]})


@pytest.mark.parametrize("backend", [OnlyThinks, ThinksHidden])
def test_tokens_used_up_by_reasoning_are_told(over: Over, backend: type[Backend]) -> None:
    client = over(backend)
    with pytest.warns(EmptyAnswerWarning, match="Raise n_predict"):
        assert client.generate("x") == ""
    with pytest.warns(EmptyAnswerWarning):
        assert asyncio.run(client.agenerate("x")) == ""
    assert result_of(client.complete("x")).finish_reason == "length"
    with pytest.raises(BackendError, match="used up its tokens with reasoning") as caught:
        client.generate("x", json_schema={"type": "object"})
    assert "think=False" in caught.value.hint


def test_calls_of_tools_in_place_of_an_answer_are_told(over: Over) -> None:
    client = over(Calls)
    with pytest.warns(EmptyAnswerWarning, match="tool_calls"):
        assert client.generate("x") == ""
    assert result_of(client.complete("x")).metadata["tool_calls"] == [{"function": {"name": "f"}}]


# --- values of wrong types --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"timeouts": 5}, "Timeouts(connect=5"),
        ({"max_retries": "2"}, "max_retries must be an int"),
        ({"max_retries": True}, "max_retries must be an int"),
        ({"verify_ssl_certificate": 1.5}, "CA bundle"),
        ({"headers": [("a", "b")]}, "headers must be a dictionary"),
        ({"host_address": 9600}, "host_address must be a str"),
        ({"model_name": ["m"]}, "model_name must be a str"),
        ({"service_key": 12345}, "service_key must be a str, not int"),
        ({"headers": {"x": 5}}, "the header x must be a str, not int"),
        ({"headers": {"x": None}}, "the header x must be a str, not NoneType"),
        ({"headers": {b"x": "y"}}, "the names of headers must be str"),
    ],
)
def test_settings_of_wrong_types(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError) as caught:
        echo(**settings)
    assert said in str(caught.value)


@pytest.mark.parametrize("settings", [{"ctx_size": 0}, {"ctx_size": -1}, {"max_retries": -1}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        echo(**settings)


@pytest.mark.parametrize("field", ["connect", "first_token", "idle"])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, InvalidRequestError),
        (-1, InvalidRequestError),
        (float("nan"), InvalidRequestError),
        (float("inf"), InvalidRequestError),
        ("5", TypeError),
        (True, TypeError),
    ],
)
def test_limits_that_are_none(field: str, value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"the {field} timeout must be"):
        Timeouts(**{field: value})


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"n_predict": -(10**400)}, InvalidRequestError, "n_predict is a number"),
        ({"n_predict": 10**5000}, InvalidRequestError, "n_predict is a number"),
        ({"seed": 2**64}, InvalidRequestError, "seed is a number"),
        ({"model_name": 5}, TypeError, "model_name must be a str, not int"),
        ({"model_name": ["m"]}, TypeError, "model_name must be a str, not list"),
        ({"stop": {"a": 1}}, TypeError, "stop must be a string or a list of strings, not dict"),
        ({"stop": b"a"}, TypeError, "stop must be a string or a list of strings, not bytes"),
        ({"stop": 5}, TypeError, "stop must be a string or a list of strings, not int"),
        ({"stop": [1]}, TypeError, "stop must be strings, not int"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], kind: type[Exception], said: str) -> None:
    with echo() as client, pytest.raises(kind, match=said):
        client.generate("x", **options)


@pytest.mark.parametrize("images", [5, "x.png", ("x.png",), [b"x"]])
def test_a_message_whose_images_are_none(images: Any) -> None:
    with echo() as client, pytest.raises(TypeError, match="must be a tuple of Image"):
        client.generate([Message("user", "x", images=images)])


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan"), {(1, 2): 3}, nested(100_000)])
def test_extra_fields_that_are_no_json(value: Any) -> None:
    with LollmsStub() as stub, LollmsClient(host_address=stub.address, raise_errors=True) as client:
        with pytest.raises(InvalidRequestError, match="cannot be written as JSON"):
            client.generate("x", extra={"field": value})


def test_the_name_of_a_model_is_text() -> None:
    with echo() as client, pytest.raises(TypeError, match="model_name must be a str"):
        client.model_info(5)  # type: ignore[arg-type]


def test_a_path_names_a_ca_bundle(tmp_path: Path) -> None:
    client = LollmsClient(verify_ssl_certificate=tmp_path / "ca.pem", host_address="https://localhost")
    assert client.backend.settings.verify_ssl_certificate == str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    "option",
    [
        {"think": 3.5},
        {"personality": 1.5},
        {"personality": True},
        {"completion_format": 1},
        {"extra": [1]},
        {"images": "one.png"},
    ],
)
def test_options_of_wrong_types(option: dict[str, Any]) -> None:
    with echo() as client, pytest.raises(TypeError, match=next(iter(option))):
        client.generate("x", **option)


def test_a_completion_format_by_its_name(over: Over) -> None:
    class Formats(Backend):
        capabilities = Capabilities(raw_prompt=True)

        @hookimpl
        def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
            yield Chunk(request.completion_format.name)

    client = over(Formats)
    for name in ("Chat", "chat", "Instruct", "INSTRUCT"):
        assert client.generate("x", completion_format=name) == name.capitalize()
    with pytest.raises(InvalidRequestError, match="Chat"):
        client.generate("x", completion_format="chatty")


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text"}],
        [{"type": "image_url"}],
        [{"type": "image_url", "image_url": {}}],
        [{"text": "no type"}],
        [3],
        [None],
    ],
)
def test_malformed_parts_of_a_message(content: Any) -> None:
    with echo() as client, pytest.raises(InvalidRequestError, match="part"):
        client.chat([{"role": "user", "content": content}])


@pytest.mark.parametrize("images", ["one.png", 3, {"a": 1}])
def test_images_of_a_message_that_are_no_list(images: Any) -> None:
    with echo() as client, pytest.raises(TypeError, match="images"):
        client.chat([{"role": "user", "content": "x", "images": images}])


def test_text_parts_may_be_plain_strings() -> None:
    with echo() as client:
        assert "a\nb" in client.chat([{"role": "user", "content": ["a", {"type": "text", "text": "b"}]}])


def test_a_misspelt_argument_of_the_client_is_recognised() -> None:
    with pytest.raises(UnsupportedOptionError) as caught:
        LollmsClient(temprature=0.5)
    assert "Did you mean 'temperature'?" in caught.value.hint
    assert any("temperature" in note for note in caught.value.__notes__)


# --- copies -----------------------------------------------------------------------------------------------------------


def test_plain_values_can_be_copied_and_sent_to_other_processes() -> None:
    token = CancelToken()
    token.on_cancel(print)
    request = GenerationRequest(prompt="x", messages=(Message("user", "y"),), cancel=token)
    for value in (TokenCount(3, exact=True), request, Usage(prompt_tokens=1)):
        for same in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
            assert same == value
    assert pickle.loads(pickle.dumps(TokenCount(3, exact=True))).exact is True
    assert copy.deepcopy(request).cancel is not token
    token.cancelled = True
    assert pickle.loads(pickle.dumps(request)).cancel.cancelled


# --- passwords --------------------------------------------------------------------------------------------------------

PASSWORDS = ["zq7/xj9", "zq7#xj9", "zq7?xj9", "zq7 xj9", "zq7@k4/xj9", "12/zq7", "zq7xj9"]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("format", ["lollms", "openai", "ollama"])
def test_passwords_in_addresses_are_not_shown(format: str, password: str) -> None:
    address = f"http://me:{password}@127.0.0.1:9"
    settings = BackendSettings(format=format, host_address=address, api_key=SecretStr("key-12345"))
    shown = repr(settings)
    hint = "%2F"
    try:
        client = LollmsClient(host_address=address, default_generation_mode=format, service_key="k", model_name="m")
        result = client.generate("x")
        shown += repr(client) + json.dumps(result)
    except ConfigurationError as error:
        shown += f"{error!r} {error.hint} {error.__cause__!r} {error.__notes__}"
        hint = error.hint
    assert "%2F" in hint
    for part in ("zq7", "xj9", "k4/"):
        assert part not in shown


# --- formats and packages ---------------------------------------------------------------------------------------------

SHOUT = """
from lollms_core import Backend, Chunk, hookimpl
class Shout(Backend):
    @hookimpl
    def generate(self, request):
        yield Chunk(request.prompt.upper())
"""


@pytest.mark.parametrize("name", ["MyShout", "myshout", "MYSHOUT"])
def test_a_format_whose_name_has_capitals_can_be_chosen(strangers: Strangers, name: str) -> None:
    strangers.install(SHOUT, MyShout="Shout")
    assert "MyShout" in installed_formats()
    with LollmsClient(default_generation_mode=name) as client:
        assert client.generate("x") == "X"


def test_extras_in_an_entry_point(strangers: Strangers) -> None:
    strangers.install(SHOUT, shouting="Shout [loud,clear]")
    with LollmsClient(default_generation_mode="shouting") as client:
        assert client.generate("x") == "X"


@pytest.mark.parametrize("text", ["[lollms.backends]\nno equals sign\n", "[lollms.backends\nx = y:z\n", "\x00\xff"])
def test_a_package_with_malformed_metadata_breaks_nobody(
    strangers: Strangers, caplog: Any, tmp_path: Path, text: str
) -> None:
    strangers.install(SHOUT, shouting="Shout")
    broken = tmp_path / "site" / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_bytes(text.encode("latin-1"))
    registry.refresh_installed()
    with LollmsClient(default_generation_mode="shouting") as client:
        assert client.generate("x") == "X"


@pytest.mark.parametrize("metadata", [b"Name: b\xff\nVersion: 1\n", b"", b"Version: 1\n", b"\xff\xfe"])
def test_a_package_with_unreadable_metadata_breaks_nobody(
    strangers: Strangers, tmp_path: Path, metadata: bytes
) -> None:
    """Its own format works, too: what cannot be read is not its code."""
    strangers.install(SHOUT, shouting="Shout")
    other = strangers.install(SHOUT, whispering="Shout")
    (tmp_path / "site" / f"{other}-1.0.dist-info" / "METADATA").write_bytes(metadata)
    registry.refresh_installed()
    assert {"shouting", "whispering"} <= set(registry.installed_formats())
    for name in ("shouting", "whispering"):
        with LollmsClient(default_generation_mode=name) as client:
            assert client.generate("x") == "X"


# --- schemas and images -----------------------------------------------------------------------------------------------


def test_a_schema_whose_alternatives_refer_to_one_another() -> None:
    """Each level doubles the work of a check that looks at every alternative anew: 2 to the 40th here."""
    levels = 40
    definitions: dict[str, Any] = {"a0": {"type": "integer"}}
    for level in range(1, levels):
        reference = {"$ref": f"#/$defs/a{level - 1}"}
        definitions[f"a{level}"] = {"anyOf": [reference, {"allOf": [reference]}]}
    schema = {"$defs": definitions, "$ref": f"#/$defs/a{levels - 1}"}
    with pytest.raises(ValueError, match="more than 20000 schemas apply to one value"):
        schema_checker(schema)


def test_how_a_camera_was_held_is_kept() -> None:
    from PIL import Image

    picture = Image.new("RGB", (2, 1))
    picture.putpixel((0, 0), (255, 0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by a quarter
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif, quality=100, subsampling=0)
    with Image.open(buffer) as turned:
        data = load_image(turned).data
    assert data is not None
    with Image.open(io.BytesIO(data)) as upright:
        assert upright.size == (1, 2)


@pytest.mark.parametrize(("low", "high", "expected"), [(0.0, 1.0, (0, 255)), (0.0, 200.0, (0, 200))])
def test_brightness_as_floating_point_numbers(low: float, high: float, expected: tuple[int, int]) -> None:
    from PIL import Image

    picture = Image.new("F", (2, 1))
    picture.putpixel((0, 0), low)
    picture.putpixel((1, 0), high)
    data = load_image(picture).data
    assert data is not None
    with Image.open(io.BytesIO(data)) as saved:
        assert (saved.convert("L").getpixel((0, 0)), saved.convert("L").getpixel((1, 0))) == expected


def test_warnings_name_the_callers_line(over: Over) -> None:
    client = over(OnlyThinks)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        client.generate("x")
    assert [entry.filename for entry in seen] == [__file__]


@pytest.mark.parametrize("fence", ["Python", "py"])
@pytest.mark.parametrize(
    ("language", "code"),
    [("python", "print(1)"), ("Python3", "print(1)"), ("", "pip install x"), ("rust", "pip install x")],
)
def test_the_block_in_the_language_that_was_asked_for(language: str, code: str, fence: str) -> None:
    script = [f"```sh\npip install x\n```\nThen:\n```{fence}\nprint(1)\n```\n"]
    with LollmsClient(default_generation_mode="echo", script=script, raise_errors=True) as client:
        assert client.generate_code("Print one.", language=language) == code


def test_code_that_was_stopped_before_it_began_is_cancelled() -> None:
    with LollmsClient(default_generation_mode="echo", script=["Well, ", "then: "], raise_errors=True) as client:
        with pytest.raises(CallCancelledError) as raised:
            client.generate_code("Print one.", streaming_callback=lambda *_: False)
    assert raised.value.partial_text == "Well, "


class Learns(Backend):
    """Learns while it answers that an option has no effect."""

    contract_version = 1
    capabilities = Capabilities(options=frozenset({"top_k"}))

    @hookimpl
    def generate(self, request: GenerationRequest) -> Any:
        self.not_honoured({"top_k"}, by="the model")
        yield Chunk("x")
        yield Chunk(finish_reason="stop")


class LearnsInTheLoop(Learns):
    contract_version = 1

    @hookimpl
    async def generate(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
        self.not_honoured({"top_k"}, by="the model")
        yield Chunk("x")
        yield Chunk(finish_reason="stop")


@pytest.mark.parametrize("backend", [Learns, LearnsInTheLoop])
def test_a_warning_that_is_made_an_error_stays_a_warning(over: Over, backend: type[Backend]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnsupportedOptionWarning, match="the model does not honour: top_k"):
            over(backend).generate("x", top_k=3)
        with pytest.raises(UnsupportedOptionWarning):
            asyncio.run(over(backend).agenerate("x", top_k=3))


class Raw(Backend):
    """Repeats the raw text it gets; in a chat it could say calls of tools."""

    contract_version = 1
    capabilities = Capabilities(
        options=frozenset({"messages"}), parts=frozenset({"tool_call", "tool_result"}), raw_prompt=True, local=True
    )

    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        yield Chunk(request.as_text(), finish_reason="stop")


def test_what_raw_text_cannot_say_is_told() -> None:
    talk = [
        Message("user", "Weather in Rome?"),
        Message("assistant", [ToolCall(name="weather", arguments={"city": "Rome"}, id="a")]),
        Message("tool", [ToolResult(text="21 degrees", id="a", name="weather")]),
    ]
    with LollmsClient(default_generation_mode=Raw) as client:
        with pytest.warns(UnsupportedOptionWarning, match="tool"):
            assert client.chat(talk, completion_format="Instruct") == "Weather in Rome?"


@pytest.mark.parametrize("message", [{"role": "user", "content": "hi"}, Message("user", "hi")])
def test_one_message_is_no_conversation(message: Any) -> None:
    with LollmsClient(default_generation_mode="echo") as client, pytest.raises(TypeError, match="a list of messages"):
        client.chat(message)


@pytest.mark.parametrize(("finish", "asked"), [("stop", 2), ("length", 3)])
def test_a_continuation_that_only_closes_the_block(finish: FinishReason, asked: int) -> None:
    answers: Iterator[tuple[str, FinishReason]] = iter(
        [("```python\na = 1\n", "length"), ("```\n", finish), ("```", "stop")]
    )
    prompts = []

    class Cut(Backend):
        contract_version = 1

        @hookimpl
        def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
            prompts.append(request)
            text, reason = next(answers)
            yield Chunk(text, finish_reason=reason)

    with warnings.catch_warnings(), LollmsClient(default_generation_mode=Cut, raise_errors=True) as client:
        warnings.simplefilter("error", UnfinishedCodeWarning)
        assert client.generate_code("Set a.") == "a = 1"
    assert len(prompts) == asked


def test_code_that_a_stop_sequence_ended_is_not_continued(over: Over) -> None:
    Split.answers = ["```python\na = 1\nEND b = 2\n```", "never asked for"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnfinishedCodeWarning)
        assert over(Split).generate_code("Set a.", stop="END") == "a = 1\n"
    assert Split.answers == ["never asked for"]
