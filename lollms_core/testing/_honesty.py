"""Option honesty: what is declared changes the outcome, what is not declared warns."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import pytest

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    Message,
    UnsupportedOptionError,
    UnsupportedOptionWarning,
)
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting

__all__ = ["Honesty"]

_SCHEMAS = [
    {"type": "object", "properties": {name: {"type": "string"}}, "required": [name], "additionalProperties": False}
    for name in ("city", "colour")
]

_VALUES: Mapping[str, tuple[Any, Any]] = {
    "n_predict": (2, 8),
    "temperature": (0, None),  # against the author's `hot`
    "top_k": (1, 0),
    "top_p": (0.01, 1.0),
    "min_p": (1.0, 0.0),
    "repeat_penalty": (1.0, 1.9),
    "repeat_last_n": (1, 64),
    "seed": (11, 12),
    "n_threads": (1, 2),
    "system_prompt": ("Answer with one short sentence about the sea.", "Answer only with the letters of the alphabet."),
    "json_schema": (_SCHEMAS[0], _SCHEMAS[1]),
    "think": (True, False),
    "personality": (None, None),  # from the backend's own list
    "ctx_size": (512, 1024),
}
"""Two values for each option, between which the outcome must differ."""

_NARROW = ("top_k", "top_p", "min_p")
"""The first of their values leaves one token to choose: the greedy one."""

_HOT = (*_NARROW, "seed")
"""What has an effect only where answers vary."""

_UNSEEN = ("n_threads", "think")
"""What a model's text need not show."""


class Honesty(Setting):
    """Nothing is accepted and ignored."""

    @pytest.mark.parametrize("option", _VALUES)
    @behaviour
    def test_option_honesty(self, option: str) -> None:
        if not self.declares(option):
            self._must_warn(option, self._values(option)[1])
        elif option == "personality" and None in self._values(option):
            pytest.skip("the server offers fewer than two personalities, so there is nothing to choose between")
        elif option in _UNSEEN and self._observe is None:
            pytest.skip(f"{option} need not change a text; an `observe` fixture would let the kit see what it does")
        elif option == "ctx_size":
            self._ctx_size_must_count()
        else:
            self._must_count(option)

    @behaviour
    def test_stop_needs_no_declaration(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.client.stream(self.prompt, stop=["\n"]).close()
        texts = [str(w.message) for w in caught if issubclass(w.category, UnsupportedOptionWarning)]
        require(not texts, f"stop sequences warn: {texts}", "the core looks for them where the backend does not.")

    @behaviour
    def test_raw_prompt_honesty(self) -> None:
        instruct = ELF_COMPLETION_FORMAT.Instruct
        if not self.capabilities.raw_prompt:
            self._must_warn("completion_format", instruct)
            return
        expected = self.expected_answer(self.prompt)
        raw = self._outcome(completion_format=instruct)
        if expected is not None:
            require(raw[0] == expected, f"the raw prompt gave {raw[0]!r}, not {expected!r}", "raw means untouched.")
            return
        chat = self._outcome(completion_format=ELF_COMPLETION_FORMAT.Chat)
        if self.always_raw:
            what = f"always_raw is true, and `Instruct` gave {raw}, `Chat` {chat}"
            require(raw == chat, what, "users are told that every prompt is sent as it is.")
            return
        require(
            raw != chat,
            f"`Instruct` and `Chat` have the same outcome: {raw}",
            "users of base models need their text sent as it is, without a chat template around it. Do not declare "
            "raw_prompt if the backend cannot do that; if it always does that, say always_raw = True.",
        )

    @behaviour
    def test_earlier_messages_count(self) -> None:
        def conversation(name: str) -> list[Message]:
            return [
                Message("user", f"My name is {name}."),
                Message("assistant", f"Hello {name}!"),
                Message("user", "Spell my name."),
            ]

        outcomes = []
        for name in ("Ada", "Bartholomew"):
            completion = self.complete(conversation(name), **self.settings())
            outcomes.append((completion.text, self.observed()))
        require(
            outcomes[0] != outcomes[1],
            f"two conversations that differ in their first message have one outcome: {outcomes[0]}",
            "the model does not get what was said before. A backend that declares `messages` must use all of "
            "`request.messages`, not the last one alone.",
        )

    @behaviour
    def test_unknown_option_is_refused(self) -> None:
        with self.raising(
            TypeError, "temprature=0 in a call", "a misspelt option would be ignored in silence."
        ) as caught:
            self.client.generate(self.prompt, temprature=0)  # type: ignore[call-arg]
        require(
            "temperature" in str(caught[0]),
            f"the error does not name the near miss: {caught[0]}",
            "users need to see the typo.",
        )

    @behaviour
    def test_unknown_backend_option_is_refused(self) -> None:
        name = "conformance_option_that_nobody_has"
        with (
            self.raising(
                UnsupportedOptionError,
                f"LollmsClient(…, {name}=1)",
                "a misspelt option would be ignored in silence. Describe the backend's options with a pydantic model, "
                "its `Options`; `Backend.__init__` checks them.",
            ) as caught,
            self.own_client(answers=False, **{name: 1}),
        ):
            pass
        require(
            name in str(caught[0]), f"the error does not name the option: {caught[0]}", "users need to see which it is."
        )

    # --- how ------------------------------------------------------------------------------------------------------

    def _values(self, option: str) -> tuple[Any, Any]:
        first, second = _VALUES[option]
        if option == "temperature":
            return first, self.hot
        if option == "personality":
            offered = self.client.list_personalities(details=True)
            if isinstance(offered, dict) or not self.declares(option):
                return 0, 0
            ids = [personality.id for personality in offered]
            return (ids[0], ids[1]) if len(ids) > 1 else (None, None)
        return first, second

    def _must_warn(self, option: str, value: Any) -> None:
        why = (
            "an option that is dropped in silence makes users tune what has no effect. Declare it in "
            "Capabilities.options if the backend does honour it."
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._begin(option, value, strict=False)
        texts = [str(w.message) for w in caught if issubclass(w.category, UnsupportedOptionWarning)]
        require(
            any(option in text for text in texts),
            f"{option}={value!r} is not declared in Capabilities.options, and nothing warned of it (warnings: {texts})",
            why,
        )
        with self.raising(UnsupportedOptionError, f"{option}={value!r} under strict=True", why):
            self._begin(option, value, strict=True)

    def _begin(self, option: str, value: Any, *, strict: bool) -> None:
        """Everything up to the first step of an answer, which is where options are looked at."""
        given: dict[str, Any] = {option: value}
        of_client = given if option == "ctx_size" else {}
        of_call = {} if of_client else given
        known = self.client.backend.capabilities
        with self.own_client(answers=False, strict=strict, **of_client) as client:
            if client.backend.capabilities != known:
                # The other one has learnt from its server or model what they can do; this one must do so too.
                if self.single_instance:
                    self._clients.close()
                self.complete(client=client, **self.settings())
            client.stream(self.prompt, **of_call).close()

    def _outcome(self, **options: Any) -> tuple[Any, ...]:
        __tracebackhide__ = True
        completion = self.complete(**self.settings(**options))
        return completion.text, completion.reasoning, completion.finish_reason, self.observed()

    def _must_count(self, option: str) -> None:
        first, second = self._values(option)
        if self._observe is not None:
            self._observation_must_repeat()
        seen: list[Any] = []
        for seed in (1, 2, 3, 4):
            base = self._base(option, seed)
            one = self._outcome(**base, **{option: first})
            two = self._outcome(**base, **{option: second})
            self._must_be_sound(option, one)
            seen += [one, two]
            if one != two:
                return
        require(
            False,
            f"{option} is declared in Capabilities.options, but {option}={first!r} and {option}={second!r} have the "
            f"same outcome: {seen[0]}",
            "users are told that the option counts, and it does not. Forward it, or leave it out of the declaration; "
            "for a server that always answers alike, offer an `observe` fixture that shows the request.",
        )

    def _base(self, option: str, seed: int) -> dict[str, Any]:
        base = {}
        if option in _HOT and self.declares("temperature"):
            base["temperature"] = self.hot
        if option != "seed" and self.declares("seed"):
            base["seed"] = seed
        if option == "repeat_last_n" and self.declares("repeat_penalty"):
            base["repeat_penalty"] = 1.9
        if option == "json_schema" and self.declares("n_predict"):
            base["n_predict"] = max(self.limit, 64)
        return base

    def _must_be_sound(self, option: str, outcome: tuple[Any, ...]) -> None:
        text = outcome[0]
        if option in _NARROW and self.deterministic:
            greedy = self.answer()
            require(
                text == greedy,
                f"{option}={self._values(option)[0]!r} leaves one token to choose, so the answer should be the greedy "
                f"one, {greedy!r}, but it is {text!r}",
                "users narrow the choice to get the likeliest answer.",
            )
        if option == "json_schema" and self._observe is None:
            try:
                found: Any = json.loads(text)
            except ValueError:
                found = text
            require(
                isinstance(found, dict) and list(found) == ["city"] and isinstance(found["city"], str),
                f"the answer does not satisfy the JSON Schema {_SCHEMAS[0]}: {text!r}",
                "programs parse such answers without looking at them first.",
            )

    def _observation_must_repeat(self) -> None:
        first, second = (self._outcome()[-1] for _ in range(2))
        require(
            first == second,
            f"the `observe` fixture gives {first!r} and then {second!r} for two equal calls",
            "every option would seem to count. Leave out what differs from call to call by itself.",
        )

    def _ctx_size_must_count(self) -> None:
        outcomes = []
        for size in _VALUES["ctx_size"]:
            with self.own_client(ctx_size=size) as client:
                self.complete(client=client, **self.settings())
                info = client.model_info()
                outcomes.append((None if isinstance(info, dict) else info.context_window, self.observed()))
        require(
            outcomes[0] != outcomes[1],
            f"ctx_size is declared, but 512 and 1024 have the same outcome: {outcomes[0]}",
            "users set it to bound memory, or because long prompts were cut.",
        )
