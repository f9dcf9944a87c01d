"""What an author tells the kit about an extension, and what every behaviour uses."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Generator, Iterator
from typing import Any, ClassVar

import pytest

from lollms_core import (
    Backend,
    Completion,
    ContractError,
    Extension,
    ExtensionError,
    ExtensionWarning,
    LollmsClient,
    LollmsError,
    TokenCount,
)
from lollms_core.testing._gate import Gate
from lollms_core.testing._known_backends import begun, closed
from lollms_core.testing._leftovers import Snapshot
from lollms_core.testing._requirements import require
from lollms_core.testing._whereabouts import files_of

__all__ = ["ExtensionSetting", "outcome", "shown"]

_NEEDED = """the conformance kit needs one fixture, which gives the extension:

    class TestMyExtension(ExtensionConformance):
        @pytest.fixture
        def extension(self):
            return MyExtension()        # or its name, or {"its name": {"option": "value"}}
"""

_ON_PURPOSE = "If that is the purpose, say transparent = False."


class ExtensionSetting(Gate):
    """The fixture and the attributes that an author sets, and helpers for the behaviours."""

    transparent: ClassVar[bool] = True
    """Answers and values pass as they are. `False` for an extension that is there to change them."""

    patience: float = 60.0
    """Seconds after which a behaviour counts as hung."""

    _extension: Any
    _suspects: tuple[object, ...]

    @pytest.fixture
    def extension(self) -> Any:
        """What `LollmsClient(extensions=[…])` takes: an object, a class, a name, `{name: options}`. The one fixture
        that is required; a new one for each behaviour.
        """
        pytest.fail(_NEEDED, pytrace=False)

    # --- what pytest does -----------------------------------------------------------------------------------------

    @pytest.fixture(autouse=True)
    def _set_the_stage(self, request: pytest.FixtureRequest, extension: Any) -> Iterator[None]:
        self.pass_the_gate(request)
        self._extension = extension
        known = isinstance(extension, Extension) or (isinstance(extension, type) and issubclass(extension, Extension))
        self._suspects = (extension,) if known else ()
        begun.clear()
        closed.clear()
        with warnings.catch_warnings():
            # What fails at the end of an answer spoils none, and users are told by a warning.
            warnings.simplefilter("error", ExtensionWarning)
            yield

    def abandon_client(self) -> None:
        """Nothing: each behaviour has clients of its own."""

    def note_failure(self, name: str, *, hung: bool = False) -> None:
        """Shut the gate if it was a basic behaviour that failed, or if any hung: most of the others would, too."""
        if hung or name in self.basics:
            self.shut_the_gate(name, hung)

    def authors_files(self) -> Collection[str]:
        """The files with the extension's code; of one that was named, once a client has been made."""
        return files_of(*self._suspects)

    # --- asking ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def client(self, backend: type[Backend], **arguments: Any) -> Generator[LollmsClient, None, None]:
        """A client of one of the kit's backends, inside of the extension; it raises errors."""
        arguments = {"extensions": [self._extension], **arguments}
        with LollmsClient(**{"default_generation_mode": backend, "raise_errors": True, **arguments}) as client:
            self._suspects = client.extensions or self._suspects
            yield client

    def bare_client(self, backend: type[Backend]) -> contextlib.AbstractContextManager[LollmsClient]:
        """A client of one of the kit's backends, without the extension."""
        return self.client(backend, extensions=[])

    # --- what is due ----------------------------------------------------------------------------------------------

    def must_be_an_answer(self, what: str, got: Any, text: str) -> None:
        """Fail unless a call gave an answer, with this text if the extension changes nothing."""
        __tracebackhide__ = True
        require(
            isinstance(got, Completion) and isinstance(got.text, str),
            f"{what} gave {shown(got)}",
            "callers get something else than an answer.",
        )
        if self.transparent:
            require(
                got.text == text,
                f"{what} gave {got.text!r} where the backend gave {text!r}",
                f"callers get something else than the model said. {_ON_PURPOSE}",
            )

    def must_be_unchanged(self, what: str, here: Any, there: Any, expected: Any) -> None:
        """Fail unless a sync and an async call gave the same, and what is due if the extension changes nothing."""
        __tracebackhide__ = True
        self.must_not_break(what, here, there)
        here, there, expected = shown(here), shown(there), shown(expected)
        require(
            here == there,
            f"{what} gave {here} to a sync caller, {there} to an async one",
            "a program that is made async must not change its behaviour.",
        )
        if self.transparent:
            require(
                here == expected,
                f"{what} gave {here} where the backend gave {expected}",
                f"callers get something else than the model said. {_ON_PURPOSE}",
            )

    def must_not_break(self, what: str, *got: Any) -> None:
        """Fail if the extension has failed, or broken the contract. Any other error may be one that it refuses with."""
        __tracebackhide__ = True
        for each in got:
            require(
                not isinstance(each, (ExtensionError, ContractError)),
                f"{what} failed: {each}",
                "a program that worked without the extension does not work with it.",
            )

    def must_leave_no_threads(self, before: Snapshot) -> None:
        """Fail if threads that began since still run."""
        __tracebackhide__ = True
        threads = before.threads_since(self.patience / 4)
        require(not threads, f"threads were left behind: {threads}", "they pile up until the program ends.")


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or the error that it raises."""
    try:
        return call()
    except LollmsError as error:
        return error.with_traceback(None)  # whose frames would hold on to the client


def shown(value: Any) -> str:
    """A value or an error as a text that has all of it."""
    if isinstance(value, LollmsError):
        return f"{value.type}: {value.message}"
    if isinstance(value, TokenCount):
        return f"TokenCount({int(value)}, exact={value.exact})"
    return repr(value)
