"""Mistakes and failures: what callers get, in which form, and what they must never see."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest

from lollms_core import (
    EmptyPromptError,
    ErrorDict,
    InvalidRequestError,
    LollmsError,
    ModelLoadError,
    ModelNotFoundError,
    ModelRequiredError,
)
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting

__all__ = ["Mistakes"]

_KEY = "sk-conformance-0123456789-this-must-never-show"


class Mistakes(Setting):
    """Errors have one shape, the right type, and no secrets."""

    @behaviour
    def test_error_is_a_dictionary_by_default(self) -> None:
        with self.own_client(answers=False, raise_errors=False) as client:
            result = client.generate("")
        require(
            isinstance(result, dict)
            and set(result) == set(ErrorDict.__annotations__)
            and result["status"] is False
            and isinstance(result["error"], str)
            and result["error"],
            f"an error came as {result!r}",
            'programs look for {"status": False, "error": "…"}; any other shape is taken for an answer.',
        )

    @behaviour
    def test_error_is_raised_on_request(self) -> None:
        what, why = "an empty prompt under raise_errors=True", "the error would be taken for an answer."
        with self.own_client(answers=False, raise_errors=True) as client, self.raising(LollmsError, what, why):
            client.generate("")

    @behaviour
    def test_empty_prompt_is_an_error(self) -> None:
        why = "models answer nonsense to nothing, and it is billed."
        with self.raising(EmptyPromptError, "an empty prompt", why):
            next(self.client.stream("", **self.settings()))
        with self.raising(EmptyPromptError, "an empty conversation", why):
            next(self.client.stream([], **self.settings()))

    @pytest.mark.parametrize("text", ["half an emoji \ud83d", "cut\0here"], ids=["surrogate", "nul"])
    @behaviour
    def test_text_that_cannot_be_sent_is_an_error(self, text: str) -> None:
        why = "it fails deep inside of a server or is cut there in silence."
        with self.raising(InvalidRequestError, f"the prompt {text!r}", why):
            next(self.client.stream(text, **self.settings()))

    @pytest.mark.parametrize(
        ("option", "value"), [("n_predict", 0), ("n_predict", -5), ("temperature", -0.5), ("top_p", 1.5), ("top_k", -1)]
    )
    @behaviour
    def test_value_out_of_range_is_an_error(self, option: str, value: Any) -> None:
        with self.raising(InvalidRequestError, f"{option}={value}", "a backend would guess what was meant.") as caught:
            wrong: dict[str, Any] = {option: value}
            next(self.client.stream(self.prompt, **wrong))
        require(
            option in str(caught[0]), f"the error does not name {option}: {caught[0]}", "users need to see which it is."
        )

    @behaviour
    def test_wrong_type_is_a_type_error(self) -> None:
        with self.raising(TypeError, "a prompt of bytes", "a mistake in the program must not look like a bad answer."):
            self.client.generate(b"bytes", **self.settings())  # type: ignore[arg-type]

    @behaviour
    def test_unknown_model_is_an_error(self) -> None:
        names = self.client.list_models()
        result = self.client.generate(self.prompt, model_name=self.unknown_model, **self.settings())
        if (
            isinstance(result, str)
            and (isinstance(names, dict) or len(names) < 2)
            and not self.capabilities.needs_model
        ):
            return  # there is only one model, so a name chooses nothing
        why = "a typo in the model's name would be answered by another model, or by an error that nobody understands."
        kind = self.error_of(result, f"the model {self.unknown_model!r}", why)
        require(
            kind in (ModelNotFoundError.__name__, ModelLoadError.__name__),
            f"a model that does not exist gave {kind}: {result!r}, ModelNotFoundError is due",
            why,
        )
        require(
            self.unknown_model in str(result),
            f"the error does not name the model: {result!r}",
            "users need to see the typo.",
        )

    @behaviour
    def test_missing_model_name_is_an_error(self) -> None:
        if not self.capabilities.needs_model:
            pytest.skip("the backend can choose a model by itself")
        what, why = "no model_name", "users need to be told what to set."
        with self.raising(ModelRequiredError, what, why), self.own_client(model_name=None) as client:
            next(client.stream(self.prompt, **self.settings()))

    @behaviour
    def test_unreachable_server_is_named(self) -> None:
        options = self.unreachable_options()
        if options is None:
            pytest.skip("the backend talks to no server (`unreachable_options` is None)")
        with self.own_client(**options) as client:
            result = client.generate(self.prompt, **self.settings())
        why = "the server that is not running is the commonest failure; users must see which, and what to do."
        kind = self.error_of(result, "a server that is not there", why)
        require(kind == "APIConnectionError", f"a server that is not there gave {kind}: {result!r}", why)
        address = str(options.get("host_address", "")).partition("//")[2]
        require(address in str(result), f"the error does not name the address {address!r}: {result!r}", why)
        require(
            isinstance(result, dict) and result["hint"], f"the error says nothing about what to do: {result!r}", why
        )

    @behaviour
    def test_key_never_shows(self) -> None:
        shown: list[str] = []
        handler = logging.Handler(logging.DEBUG)
        handler.emit = lambda record: shown.append(record.getMessage() + str(record.exc_info))  # type: ignore[method-assign]
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            options = (None if self.capabilities.local else self.unreachable_options()) or {}
            with self.own_client(answers=bool(options), service_key=_KEY, raise_errors=True, **options) as client:
                shown += [repr(client), repr(client.backend), repr(client.backend.settings), str(vars(client))]
                if options:
                    try:
                        client.generate(self.prompt, **self.settings())
                    except LollmsError as error:
                        shown += [
                            str(error.to_dict()),
                            "".join(traceback.format_exception(error)),
                            repr(error.__dict__),
                        ]
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
        leaks = [text for text in shown if _KEY in text]
        require(
            not leaks,
            f"the service key shows: {[leak.replace(_KEY, '<the key>') for leak in leaks]}",
            "logs and tracebacks are pasted into bug reports. Keep the key as the SecretStr that it came as.",
        )
