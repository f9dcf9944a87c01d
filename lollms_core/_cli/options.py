"""The options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from lollms_core._cli.completion import complete_extensions, complete_formats, complete_models
from lollms_core._cli.state import current_state, say_everything
from lollms_core._cli.value_kinds import INTEGER_OR_TEXT, NAMES, any_value
from lollms_core.contract._parameters import PARAMETERS, Parameter

__all__ = ["Choices", "connection_options", "debug_option", "image_option", "json_option", "sampling_options"]

F = TypeVar("F", bound=Callable[..., Any])

Choices = dict[str, Any]
"""What the command line says, by setting's name; `None` for what it does not say."""

Command = Callable[..., None]


def _set_debug(_: click.Context, __: click.Parameter, wanted: bool) -> None:
    if wanted:
        say_everything()


def debug_option(command: F) -> F:
    """`--debug` after the command's name, where it is easily added to a line that failed."""
    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show tracebacks, and what is done."
    )(command)


def _set_json(_: click.Context, __: click.Parameter, wanted: bool) -> bool:
    if wanted:
        current_state().as_json = True
    return wanted


def json_option(help: str) -> Callable[[F], F]:
    """`--json`: the command gets it as `as_json`, and an error is printed as JSON, too."""
    return click.option("--json", "as_json", is_flag=True, is_eager=True, callback=_set_json, help=help)


def _backend_options(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{text!r} is not KEY=VALUE")
        options[name.strip().replace("-", "_")] = any_value(value)
    return options


def _number_or_name(_: click.Context, __: click.Parameter, given: str | None) -> int | str | None:
    return None if given is None else INTEGER_OR_TEXT.from_text(given)


def _names(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> list[str] | None:
    return NAMES.from_text(",".join(given)) if given else None


def _ask_key(_: click.Context, __: click.Parameter, wanted: bool) -> str | None:
    if not wanted:
        return None
    import getpass

    try:
        key = getpass.getpass("API key: ").strip()
    except EOFError:
        key = ""
    if not key:
        raise click.UsageError("No API key was given.")
    return key


image_option = click.option(
    "-i", "--image", "images", multiple=True, metavar="FILE|URL", type=click.Path(), help="An image; repeatable."
)
"""`--image`: the command gets them as `images`."""

_CONNECTION = (
    click.option("-f", "--format", metavar="NAME", shell_complete=complete_formats, help="The format to use."),
    click.option("-m", "--model", metavar="NAME", shell_complete=complete_models, help="The model to use."),
    click.option("--host-address", metavar="URL", help="The server's address."),
    click.option(
        "--api-key-file", metavar="FILE", type=click.Path(), help="File that holds the API key and nothing else."
    ),
    click.option("--ask-api-key", "api_key", is_flag=True, callback=_ask_key, help="Ask for the API key."),
    click.option(
        "--insecure", "verify_ssl_certificate", flag_value=False, default=None, type=bool,
        help="Accept any TLS certificate.",
    ),
    click.option(
        "-O", "--option", "options", metavar="KEY=VALUE", multiple=True, callback=_backend_options,
        help="An option of the format's backend; repeatable. VALUE is JSON, or text if it is not.",
    ),
    click.option(
        "-x", "--extension", "extensions", metavar="NAME", multiple=True, callback=_names,
        shell_complete=complete_extensions,
        help="An installed extension to use; repeatable, outermost first. `none` uses none.",
    ),
)  # fmt: skip


def _number(parameter: Parameter) -> Callable[[Any], Any]:
    """The option that sets a number."""
    names = [f"-{parameter.letter}"] if parameter.letter else []
    names.append(f"--{parameter.name.replace('_', '-')}")
    return click.option(*names, type=parameter.kind, metavar="N" if parameter.kind is int else "X", help=parameter.help)


_SAMPLING = (
    *map(_number, PARAMETERS.values()),
    click.option("--personality", metavar="ID", callback=_number_or_name, help="A personality of a LoLLMS server."),
    click.option("-s", "--system", metavar="TEXT", help="The system prompt."),
    click.option(
        "--think/--no-think", default=None, help="Ask the model to reason first, or not to.",
    ),
    click.option("--think-level", metavar="LEVEL", help="How much to reason, where the model knows levels."),
    click.option("--strict", is_flag=True, default=None, help="An option without effect is an error, not a warning."),
)  # fmt: skip


def _shared(options: tuple[Callable[[Any], Any], ...], names: tuple[str, ...]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(*args: Any, **kwargs: Any) -> None:
            choices = {name: kwargs.pop(name) for name in names}
            if (level := choices.pop("think_level", None)) is not None:
                if choices["think"] is False:
                    raise click.UsageError("--no-think and --think-level exclude each other.")
                choices["think"] = level
            choices |= kwargs.pop("choices", {})
            command(*args, choices=choices, **kwargs)

        decorated: Command = gathered
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


_gather_connection = _shared(
    _CONNECTION,
    ("format", "model", "host_address", "api_key_file", "api_key", "verify_ssl_certificate", "options", "extensions"),
)
_gather_sampling = _shared(
    _SAMPLING,
    (
        *PARAMETERS, "personality", "system", "think", "think_level", "strict",
    ),
)  # fmt: skip


def connection_options(command: Command) -> Command:
    """Which format, model and server; and `--debug`. The command gets them as `choices`."""
    return _gather_connection(debug_option(command))


def sampling_options(command: Command) -> Command:
    """How to generate. The command gets them as `choices`. Goes above `connection_options`."""
    return _gather_sampling(command)
