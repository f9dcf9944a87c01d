"""The numbers that callers may choose stand in one table, with which every signature agrees."""

from __future__ import annotations

import inspect
import typing

import click
import pytest

from lollms_core import DEFAULTS, GenerateOptions, InvalidRequestError, LollmsClient, SamplingParams
from lollms_core._cli.app import COMMANDS
from lollms_core._cli.commands import generate
from lollms_core._cli.known_settings import SETTINGS
from lollms_core._client.argument_checks import checked_number
from lollms_core.contract._parameters import PARAMETERS, Parameter

ALL = list(PARAMETERS.values())


@pytest.mark.parametrize("parameter", ALL, ids=PARAMETERS)
def test_the_client_has_it_with_its_default(parameter: Parameter) -> None:
    found = inspect.signature(LollmsClient).parameters[parameter.name]
    assert found.default == parameter.default
    assert parameter.default is None or type(found.default).__mro__[1] is parameter.kind
    assert DEFAULTS.get(parameter.name) == parameter.default
    assert parameter.kind.__name__ in str(found.annotation)


@pytest.mark.parametrize("parameter", [each for each in ALL if each.name != "ctx_size"], ids=lambda each: each.name)
def test_every_call_has_it(parameter: Parameter) -> None:
    assert parameter.name in SamplingParams.__dataclass_fields__
    if parameter.name == "n_predict":  # stands beside the prompt
        assert parameter.name in inspect.signature(LollmsClient.generate).parameters
    else:
        annotation = typing.get_type_hints(GenerateOptions, localns={"BaseModel": object})[parameter.name]
        assert annotation == (parameter.kind | None)


def test_calls_have_no_other_numbers() -> None:
    assert set(SamplingParams.__dataclass_fields__) == {*PARAMETERS, "stop", "chosen"} - {"ctx_size"}


@pytest.mark.parametrize("parameter", ALL, ids=PARAMETERS)
def test_the_command_has_it(parameter: Parameter) -> None:
    assert COMMANDS["generate"]
    options = {each.name: each for each in generate.command.params if isinstance(each, click.Option)}
    assert options[parameter.name].help == parameter.help
    assert SETTINGS[parameter.name].option in options[parameter.name].opts


@pytest.mark.parametrize("parameter", ALL, ids=PARAMETERS)
def test_limits_hold(parameter: Parameter) -> None:
    for limit, beyond in ((parameter.low, parameter.low - 1), (parameter.high, parameter.high + 1)):
        if abs(limit) == float("inf"):
            continue
        if not parameter.above:
            assert checked_number(parameter.name, parameter.kind(limit)) == limit
        with pytest.raises(InvalidRequestError, match=f"{parameter.name} must be "):
            checked_number(parameter.name, parameter.kind(beyond))
    if parameter.above:
        with pytest.raises(InvalidRequestError, match="must be above 0, not 0"):
            checked_number(parameter.name, parameter.kind(parameter.low))
    if parameter.neutral is not None:
        assert parameter.problem(parameter.neutral) == ""
