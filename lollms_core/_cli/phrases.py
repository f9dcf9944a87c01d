"""What errors say, in the words of somebody at a terminal.

The library speaks to programs: it names parameters of `LollmsClient` and methods. The command has other names for the
same things. Sentences that need more than another name stand first.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from lollms_core._cli.known_settings import SETTINGS
from lollms_core._cli.state import current_origins, current_state

if TYPE_CHECKING:
    from lollms_core import LollmsError

__all__ = ["in_command_words", "words_of"]

_OPTIONS = {
    **{
        name: option
        for name in SETTINGS
        if "_" in name and (option := f"--{name.replace('_', '-')}") == SETTINGS[name].option
    },
    "completion_format": "--raw",
    "default_generation_mode": "--format",
    "json_schema": "--schema",
    "model_name": "--model",
    "system_prompt": "--system",
}
"""Parameters whose names no English sentence contains by chance."""

_ONLY_IN_LISTS = {
    **{name: setting.option for name, setting in SETTINGS.items() if setting.option},
    "images": "--image",
    "stop": "--stop",
    "think": "--think",
}

_SENTENCES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    # --- keys
    (r"Pass a key as service_key, or set LOLLMS_API_KEY\.", "Set LOLLMS_API_KEY, or name a file with --api-key-file."),
    (r"Check the key that was passed as service_key, or set LOLLMS_API_KEY\.",
     "Check the key in LOLLMS_API_KEY or --api-key-file."),
    (r"Check the key that was passed as service_key, or set ([\w ]+)\.",
     r"Check the key in \1, LOLLMS_API_KEY or --api-key-file, whichever holds it."),
    (r"Pass a key as service_key, or set ([\w ]+)\.", r"Set \1 or LOLLMS_API_KEY, or name a file with --api-key-file."),
    (r"Pass a key as service_key\.", "Set LOLLMS_API_KEY, or name a file with --api-key-file."),
    (r"Check the key that was passed as service_key\.", "Check the key in LOLLMS_API_KEY or --api-key-file."),
    (r"or pass service_key", "or use --api-key-file"),
    (r"then pass token= or set HF_TOKEN", "then set HF_TOKEN"),
    (r"or pass token=", "or set HF_TOKEN"),
    # --- what an answer is made with
    (r"^(temperature|seed) must be ", r"--\1 must be "),
    (r"or pass think=False where", "or try --no-think where"),
    (r"let the model answer at once with think=False", "let the model answer at once with --no-think"),
    (r"make the client without strict=True to go on", "leave --strict out to go on"),
    (r" The answer is in partial_text\.", ""),
    (r"the answer is in partial_text", "the answer itself may tell why"),
    (r"Leave completion_format at (ELF_COMPLETION_FORMAT\.)?Chat", "Leave --raw out"),
    (r"Use ELF_COMPLETION_FORMAT\.Chat, or a", "Leave --raw out, or use a"),
    (r"leave out completion_format=Instruct", "leave --raw out"),
    (r"; Instruct sends text as it is", "; `lollms generate --raw` sends text as it is"),
    (r"Correct it in model_options, or in extra\['options'\] of the call", "Correct it in `-O model_options=…`"),
    (r"set model_options=\{'num_batch': …\} to as much as the window \(ctx_size\)",
     "set num_batch in `-O 'model_options={\"num_batch\": …}'` to as much as the window (--ctx-size)"),
    (r"name it with the option embedding_model", "name it with `-O embedding_model=…`"),
    (r"pass it under the server's own name in `extra`",
     "pass it under the server's own name with `-O 'params={\"NAME\": …}'`"),
    (r"Pass trust_remote_code=True", "Use `-O trust_remote_code=true`"),
    (r"; a pydantic model does so with .*", "."),
    # --- connections
    (r"set host_address to where (one|it) runs", r"say where \1 runs with --host-address"),
    (r"set host_address \((or \w+)\) to where it runs", r"say where it runs with --host-address (\1)"),
    (r"set host_address or", "use --host-address or"),
    (r"set host_address to it", "give it with --host-address"),
    (r"Pass verify_ssl_certificate='(.+?)' to trust its authority, or False to trust any server",
     r"Set verify_ssl_certificate to \1 in the configuration to trust its authority, or use --insecure to trust any "
     r"server"),
    (r"Correct (verify_ssl_certificate)", lambda found: f"Correct {_called(found[1])}"),
    (r"set another limit for the (\S+) timeout \(Timeouts\(\1=\.\.\.\)\)",
     r"set another limit: `lollms config set \1_timeout SECONDS`"),
    (r"For a server, give its host_address", "For a server, give its address with --host-address"),
    (r"Read that stream to its end or close it first, or use a second client", "Wait for it to end"),
    # --- models
    (r"Name one: model_info\(model_name\), or the client's model_name\. list_models\(\) gives the names",
     "Name one with --model; `lollms models` lists the names"),
    (r'for example model_name="(.+?)"', r"for example `--model \1`"),
    (r"Pass model_name;", "Name one with --model;"),
    (r"Set model_name:", "Name one with --model:"),
    (r"give a model_name and no host_address", "give --model and no --host-address"),
    (r"needs a model_name", "needs the name of a model"),
    (r" \((see )?model_info\)", ""),
    (r"Make another client for another model", "Start the command again for another model"),
    # --- images and texts
    (r"Download it yourself and pass the file's path or its bytes; URLs are never fetched",
     "Download it and give the file's name; URLs are never fetched"),
    (r"Download (it|the image) and pass (the file's|its) path", r"Download \1 and give the file's name"),
    (r"Make it with load_image|Encode the file's bytes with base64\.b64encode, or pass a path|"
     r"Read it yourself and pass the bytes", "Give the name of an image file"),
    (r"that the text you passed really is a path", "that it really is the name of a file"),
    (r": read it as UTF-8, or with errors='replace'", ": save it as UTF-8"),
    (r'Clean it with text\.encode\("utf-8", "replace"\)\.decode\(\)', "Save the text as UTF-8"),
    (r"Pass some text, or messages of which the last is not empty", "Write something to be answered"),
    # --- programs: what cannot be helped at a terminal
    (r"Make a new client, or keep the work inside the `with` block|Make a new client in the child, or use a vLLM "
     r"server from both|Start processes with multiprocessing's 'spawn' method, or use the model only after forking",
     "Run the command again"),
    (r"Its coroutine must let `asyncio\.CancelledError` through", "This is a fault of the format's package"),
    (r"The original exception is in `__cause__`; the command prints it with --debug", "--debug shows the traceback"),
    (r"The original exception is in `__cause__`", "--debug shows the traceback"),
    (r" and that process imports the script again: put what the script does under .*", " and it could not start."),
    (r": `tokenizer\.save_pretrained\(folder\)`", ""),
)  # fmt: skip

_NAMES = (
    (
        re.compile(rf"(?<![\w.'\"/-])({'|'.join(_OPTIONS)})(?:=(\d+(?:\.\d+)?)\b|\b(?!=| \((?:file|environment)\b))"),
        lambda found: f"{_with_place(found[1])} {found[2]}" if found[2] else _OPTIONS[found[1]],
    ),
    # Options of a format's backend: by name alone, and with a value as in quantization='8bit'.
    # Not in a list of them, nor before what is wrong with one.
    (
        re.compile(r"(?<![\w`-])(?<!, )(gpu_memory_utilization|max_batch_size)\b(?![,:])"),
        lambda found: f"`-O {found[1]}=…`",
    ),
    (re.compile(r"(?<![\w`(-])([a-z][a-z_]*)='([\w./-]+)'"), lambda found: f"`-O {found[1]}={found[2]}`"),
    (re.compile(r"(?<![\w`-])([a-z][a-z_]*)=(True|False)\b"), lambda found: f"`-O {found[1]}={found[2].lower()}`"),
)
_PHRASES = tuple((re.compile(pattern), words) for pattern, words in _SENTENCES)
_MEANT = re.compile(r"Did you mean '(\w+)'\?")
_LIST = re.compile(r"(does not honour: )([\w, ]+)")


def in_command_words(text: str, format: str | None = None, *, names: bool = True) -> str:
    """A message or a hint of the library with the names that things have at the terminal.

    Args:
        text: what the library says.
        format: the format that its commands are to ask.
        names: whether names of parameters are ours, wherever they stand. In what a server said they are its own.
    """
    text = _THINK.sub(_without_think, _OF_A_CALL.sub(_call_option, _with_commands(text, format)))
    for pattern, words in _PHRASES:
        text = pattern.sub(words, text)
    text = _LIST.sub(_list, _MEANT.sub(_meant, text))
    for pattern, named in _NAMES if names else ():
        text = pattern.sub(named, text)
    return text


def _meant(found: re.Match[str]) -> str:
    """An option of the library that was not meant as one: as the command has it."""
    name = _OTHER_OPTIONS.get(found[1]) or _ONLY_IN_LISTS.get(found[1], _OPTIONS.get(found[1]))
    return f"Did you mean {name}?" if name else found[0]


_OTHER_OPTIONS = {"service_key": "--api-key-file", "timeouts": "`lollms config set idle_timeout SECONDS`"}


def _list(found: re.Match[str]) -> str:
    return found[1] + ", ".join(map(_called, found[2].split(", ")))


def _called(name: str) -> str:
    """A parameter, as whoever set it knows it: by its option, or by its name and where it stands."""
    setting = _SETTINGS.get(name, name)
    if (source := current_origins().sources.get(setting)) is not None:
        return f"{setting} ({source})"
    return _ONLY_IN_LISTS.get(name, _OPTIONS.get(name, name))


def _with_place(name: str) -> str:
    """A parameter before its value: its option, or its name where something else has set it."""
    source = current_origins().sources.get(_SETTINGS.get(name, name))
    return _OPTIONS[name] if source is None else f"{_SETTINGS.get(name, name)} ({source})"


_SETTINGS = {"model_name": "model", "system_prompt": "system"}


def words_of(error: LollmsError) -> tuple[str, str]:
    """The message and the hint of an error, in the words of the terminal. The command's own errors have them.

    A `ContractError` is for whoever wrote the package, in Python.
    """
    from lollms_core import BackendError, ContractError

    if isinstance(error, ContractError):
        return error.message, error.hint
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not frames or frames[-1].f_globals.get("__name__", "").startswith("lollms_core._cli."):
        return error.message, error.hint
    hint = in_command_words(error.hint, error.format)
    if _ABOUT_KEYS.match(error.hint) and (about := _of_the_key(error)):
        hint = about
    if current_state().chatting:
        hint = hint.replace("Name one with --model", "Name one with /model NAME")
    # What a server or a library said may stand in the message of what failed there.
    ours = error.status_code is None and not isinstance(error, BackendError)
    return in_command_words(error.message, names=ours), hint


def _of_the_key(error: LollmsError) -> str:
    """What to do about a key, where more is known of it than the library knows; empty if not."""
    origins = current_origins()
    if origins.key_place:
        return f"Check the key. It comes from: {origins.key_place}."
    if not origins.only_named:
        return ""
    variables = re.search(r"or set ([\w ]+)\.$", error.hint)
    names = [name for name in variables[1].split(" or ") if name != "LOLLMS_API_KEY"] if variables else []
    command = f"set it with `lollms config set formats.{error.format}.api_key`"
    first = f"Check the key in {' or '.join(names)}, or {command}." if names else f"{command.capitalize()}."
    return f"{first} LOLLMS_API_KEY is for the chosen format."


_THINK = re.compile(r"Leave think out")


def _without_think(_: re.Match[str]) -> str:
    source = current_origins().sources.get("think")
    return "Leave --think out" if source is None else f"Add --no-think, or take think out of its place ({source})"


_ABOUT_KEYS = re.compile(
    r"(Check the key that was passed|Pass a key) as service_key|Set the provider's key in the environment"
)


def _with_commands(hint: str, format: str | None) -> str:
    """A hint with commands in place of methods. They ask the format and the server that failed."""
    where = (f" -f {format}" if format else "") + current_origins().where
    hint = hint.replace("`client.list_models()`", f"`lollms models{where}`")
    return _PULL.sub(lambda found: f"`lollms models{where} --pull {found[1]}`", hint)


_OF_A_CALL = re.compile(r"It is an option of a call: client\.generate\(…, (\w+|…)=…\)")


def _call_option(found: re.Match[str]) -> str:
    option = _ONLY_IN_LISTS.get(found[1], _OPTIONS.get(found[1]))
    return f"Use {option}" if option else "It is an option of a call, in Python"


_PULL = re.compile(r"`client\.pull_model\('(.+?)'\)`")
