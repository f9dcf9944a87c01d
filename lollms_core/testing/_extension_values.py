"""What an extension does to the calls for a value: every hook, over backends that have it and that lack it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from lollms_core import Backend, BackendError, LollmsClient
from lollms_core.testing._extension_setting import ExtensionSetting, outcome, shown
from lollms_core.testing._known_backends import ANSWERING, FAILING, LACKING
from lollms_core.testing._requirements import behaviour, require

__all__ = ["ExtensionValues"]

_ASKED: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "embed": ({"text": ["abc", "d"]}, {"text": ["e", "fg"]}, {"text": "abc"}),
    "tokenize": ({"prompt": "abc"}, {"prompt": "d"}),
    "detokenize": ({"tokens_list": [97, 98]}, {"tokens_list": [99]}),
    "count_tokens": ({"text": "abc"}, {"text": "d"}),
    "list_models": ({"details": True},),
    "model_info": ({"model_name": "one"}, {"model_name": "two"}),
    "list_personalities": ({"details": True},),
}
"""The calls for a value, each with what is asked."""

_CALLS = pytest.mark.parametrize("call", _ASKED)


class ExtensionValues(ExtensionSetting):
    """Values pass, and so do errors and what the backend has not."""

    @ANSWERING
    @_CALLS
    @behaviour
    def test_values(self, backend: type[Backend], call: str) -> None:
        with self.bare_client(backend) as client:
            expected = [_ask(client, call, asked) for asked in _ASKED[call]]
        with self.client(backend) as client:
            for _ in range(2):  # the second time, a cache has something to give
                for asked, value in zip(_ASKED[call], expected, strict=True):
                    here, there = _ask(client, call, asked), _aask(client, call, asked)
                    self.must_be_unchanged(_written(call, asked), here, there, value)

    @pytest.mark.filterwarnings("ignore::UserWarning")  # that counts are estimates, where no vocabulary is at hand
    @LACKING
    @_CALLS
    @behaviour
    def test_what_the_backend_lacks(self, backend: type[Backend], call: str) -> None:
        asked = _ASKED[call][0]
        with self.bare_client(backend) as client:
            expected = _ask(client, call, asked)
        with self.client(backend) as client:
            got = _ask(client, call, asked), _aask(client, call, asked)
        what = f"{_written(call, asked)}, over a backend without that hook,"
        self.must_not_break(what, *got)
        for each in got if self.transparent else ():
            require(
                shown(each) == shown(expected),
                f"{what} gave {shown(each)} where it gives {shown(expected)} without the extension",
                "callers must be able to tell `there is none` from `something broke`. What `proceed` gives is None "
                "then, which has to be returned as it is.",
            )

    @FAILING
    @_CALLS
    @behaviour
    def test_errors_of_the_backend_pass_for_values(self, backend: type[Backend], call: str) -> None:
        asked = _ASKED[call][0]
        with self.client(backend) as client:
            for error in (_ask(client, call, asked), _aask(client, call, asked)):
                self.must_not_break(_written(call, asked), error)
                require(
                    not self.transparent
                    or (isinstance(error, BackendError) and f"the {client.format} format" in error.message),
                    f"an error of the backend became {shown(error)} in {_written(call, asked)}",
                    "whoever looks for the fault looks in the wrong place.",
                )


def _ask(client: LollmsClient, call: str, asked: Mapping[str, Any]) -> Any:
    return outcome(lambda: getattr(client, call)(**asked))


def _aask(client: LollmsClient, call: str, asked: Mapping[str, Any]) -> Any:
    return outcome(lambda: asyncio.run(getattr(client, f"a{call}")(**asked)))


def _written(call: str, asked: Mapping[str, Any]) -> str:
    return f"{call}({', '.join(f'{name}={value!r}' for name, value in asked.items())})"
