"""Packages of strangers that panic, exit, or misunderstand what a hook or `start` is: it is their failure alone."""

from __future__ import annotations

import functools
import gc
import signal
from typing import Any

import pytest

from lollms_core import (
    Backend,
    Chunk,
    ContractError,
    Extension,
    ExtensionError,
    FormatLoadError,
    LollmsClient,
    hookimpl,
)
from lollms_core._client import registry

PANIC = """
    class PanicException(BaseException):
        '''As what Rust raises through pyo3.'''
    raise PanicException("index out of bounds")
"""
EXTENSIONS = "lollms.extensions"


def client(*extensions: Any, backend: str | type[Backend] = "echo") -> LollmsClient:
    return LollmsClient(default_generation_mode=backend, extensions=extensions, raise_errors=True)


# --- at import --------------------------------------------------------------------------------------------------------


def test_a_format_that_panics_at_import_is_broken(strangers):
    module = strangers.install(PANIC, panicking="Whatever")
    with pytest.raises(
        FormatLoadError, match=f"'panicking' of {module} .*PanicException: index out of bounds"
    ) as caught:
        client(backend="panicking")
    assert type(caught.value.__cause__).__name__ == "PanicException"


@pytest.mark.parametrize("source", [PANIC, "raise SystemExit(3)"])
def test_so_is_an_extension(strangers, source):
    module = strangers.install(source, group=EXTENSIONS, panicking="Whatever")
    with pytest.raises(ExtensionError, match=f"the extension 'panicking' of {module} cannot be loaded"):
        client("panicking")


@pytest.mark.parametrize("group", ["lollms.backends", EXTENSIONS])
def test_ctrl_c_is_for_the_program(strangers, group):
    strangers.install("raise KeyboardInterrupt", group=group, slow="Whatever")
    with pytest.raises(KeyboardInterrupt):
        client("slow") if group == EXTENSIONS else client(backend="slow")


@pytest.mark.parametrize("group", ["lollms.backends", EXTENSIONS])
def test_so_is_what_its_signal_handler_raises(strangers, group):
    class TimeIsUp(Exception):
        pass

    def limit(*_: object) -> None:
        raise TimeIsUp

    strangers.install("import signal; signal.raise_signal(signal.SIGTERM)", group=group, slow="Whatever")
    before = signal.signal(signal.SIGTERM, limit)
    try:
        with pytest.raises(TimeIsUp):
            client("slow") if group == EXTENSIONS else client(backend="slow")
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("group", "kind", "error"),
    [("lollms.backends", "format", FormatLoadError), (EXTENSIONS, "extension", ExtensionError)],
)
def test_an_entry_point_that_names_a_module_alone(strangers, tmp_path, group, kind, error):
    module = strangers.install("raise AssertionError('imported')", group=group, bare="Whatever")
    points = tmp_path / "site" / f"{module}-1.0.dist-info" / "entry_points.txt"
    points.write_text(f"[{group}]\nbare = {module}\n")
    registry.refresh_installed()
    said = f'the {kind} \'bare\' of {module} cannot be loaded: .* `bare = "{module}"`, not `bare = "module:Class"`'
    with pytest.raises(error, match=said):
        client("bare") if group == EXTENSIONS else client(backend="bare")


# --- the start of an extension ----------------------------------------------------------------------------------------


class PanicException(BaseException):
    pass


class Recording(Extension):
    """Tells what is done to it; `what` says how it closes."""

    def __init__(self, told: list[str], what: str = "") -> None:
        super().__init__()
        self.told, self.what = told, what

    def start(self) -> None:
        self.told.append("started")

    def close(self) -> None:
        self.told.append("closed")
        if self.what:
            raise SystemExit(self.what)


class ClosingLater(Recording):
    async def close(self) -> None:  # type: ignore[override]
        self.told.append("closed")


class Exiting(Extension):
    def start(self) -> None:
        raise SystemExit("no licence")


class Panicking(Extension):
    def start(self) -> None:
        raise PanicException("no GPU")


class ExitingWhenMade(Extension):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        raise SystemExit("no licence")


class Interrupted(Extension):
    def start(self) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("extension", "said"),
    [
        (Exiting, "SystemExit: no licence"),
        (Panicking, "PanicException: no GPU"),
        (ExitingWhenMade, "SystemExit: no licence"),
    ],
)
def test_an_extension_that_exits_does_not_end_the_program(extension, said):
    with pytest.raises(ExtensionError, match=f"the extension '{extension.__name__}' of .* failed: {said}"):
        client(extension)


@pytest.mark.parametrize("failing", [Exiting, ExitingWhenMade, Interrupted, object()])
@pytest.mark.parametrize("kind", [Recording, ClosingLater])
def test_those_that_started_are_closed_when_a_later_one_fails(failing, kind):
    told: list[str] = []
    with pytest.raises((ExtensionError, KeyboardInterrupt, TypeError)):
        client(kind(told), kind(told), failing)
    assert told == ["started", "started", "closed", "closed"]


def test_a_close_that_fails_then_is_logged(caplog):
    told: list[str] = []
    with pytest.raises(ExtensionError, match="no licence"):
        client(Recording(told, "cannot close"), Recording(told), Exiting())
    assert told == ["started", "started", "closed", "closed"]
    assert [record.name for record in caplog.records] == ["lollms"]
    assert "closing the extension 'Recording' of " in caplog.text
    assert "SystemExit: cannot close" in caplog.text


class AsyncStart(Extension):
    async def start(self) -> None:  # type: ignore[override]
        self.kept: dict[str, str] = {}


class GeneratorStart(Extension):
    def start(self) -> Any:
        yield


class HiddenAsyncStart(Extension):
    start = functools.partialmethod(AsyncStart.start)  # type: ignore[assignment]


@pytest.mark.parametrize("extension", [AsyncStart, GeneratorStart, HiddenAsyncStart])
def test_a_start_that_nobody_would_await_is_refused(extension, recwarn):
    package = extension.__module__.partition(".")[0]
    with pytest.raises(ContractError, match=f"'{extension.__name__}' of {package} .*`start` must be a plain function"):
        client(extension())
    gc.collect()
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


class GeneratorClose(Extension):
    def close(self) -> Any:
        yield


class AsyncGeneratorClose(Extension):
    async def close(self) -> Any:
        yield


@pytest.mark.parametrize("extension", [GeneratorClose, AsyncGeneratorClose])
def test_a_close_that_would_never_run_is_refused(extension):
    said = f"'{extension.__name__}' of tests has a method 'close' that is a generator, .* would never run"
    with pytest.raises(ContractError, match=said):
        client(extension())


class Misspelling(Extension):
    nonblockng = frozenset({"generate"})


class Computing(Extension):
    """Names that are like it, and none of them meant for the core."""

    blocking = frozenset({"embed"})
    nonblocking = frozenset({"generate", "embed"}) - blocking
    _nonblocking = nonblocking
    non_blocking = True  # as PyTorch has it


def test_a_misspelt_promise_is_told():
    with pytest.raises(ContractError, match=r"'Misspelling' .*: it has 'nonblockng'.*Did you mean 'nonblocking'"):
        client(Misspelling())
    assert client(Computing()).generate("hi") == "hi"


def test_an_installed_one_is_refused_by_its_name(strangers):
    source = "from lollms_core import Extension\nclass Late(Extension):\n    async def start(self): ..."
    module = strangers.install(source, group=EXTENSIONS, late="Late")
    with pytest.raises(ContractError, match=f"the extension 'late' of {module} .*must be a plain function"):
        client("late")


# --- the signatures of hooks ------------------------------------------------------------------------------------------


def timed(function: Any) -> Any:
    """A decorator that says nothing about what is below it."""

    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def careful(function: Any) -> Any:
    """A decorator as it should be."""
    return functools.wraps(function)(timed(function))


def answering(signature: str, decorator: Any = lambda function: function) -> Any:
    """A hook with this signature that answers with its request's prompt."""
    names: dict[str, Any] = {}
    exec(f"def generate({signature}): yield from answer(locals())", {"answer": _answer}, names)
    return hookimpl(decorator(names["generate"]))


def _answer(values: dict[str, Any]) -> Any:
    yield Chunk(values["request"].prompt)


@pytest.mark.parametrize(
    "hook",
    [
        answering("self, *args"),
        answering("self, **kwargs"),
        answering("*args, **kwargs"),
        answering("self, *, request"),
        answering("self, *args, request"),
        answering("self, request=None"),
        answering("self, request, *, more"),
        answering("self, request, more"),
        answering("self, prompt"),
        answering("self"),
        answering("self, request", timed),
    ],
)
def test_a_hook_of_a_backend_that_would_be_called_with_nothing_is_refused(hook):
    class Wrong(Backend):
        generate = hook

    with pytest.raises(ContractError, match=r"'Wrong' of .*: its method 'generate' must take \(self, request\)"):
        client(backend=Wrong)


@pytest.mark.parametrize(
    "hook",
    [
        answering("self, request"),
        answering("this, request, /"),
        answering("self, request, more=1"),
        answering("self, request, *, more=1"),
        answering("self, request, *args, **kwargs"),
        answering("self, request", careful),
    ],
)
def test_one_that_is_passed_its_request_is_not(hook):
    class Right(Backend):
        generate = hook

    assert client(backend=Right).generate("hi") == "hi"


@pytest.mark.parametrize(
    "hook",
    [
        answering("self, *args"),
        answering("self, **kwargs"),
        answering("self, *, request, proceed"),
        answering("self, request, *args"),
        answering("self, request, *, proceed"),
        answering("self, request, proceed, more"),
        answering("self, request"),
        answering("self, request, proceed", timed),
    ],
)
def test_so_it_is_with_extensions(hook):
    class Wrong(Extension):
        generate = hook

    with pytest.raises(ContractError, match=r"'Wrong' of .* 'generate' that does not take \(self, request, proceed\)"):
        client(Wrong())


@pytest.mark.parametrize(
    "hook",
    [
        answering("self, request, proceed"),
        answering("self, request, _proceed, more=1, **kwargs"),
        answering("self, request, proceed", careful),
    ],
)
def test_an_extension_that_takes_both_is_used(hook):
    class Right(Extension):
        generate = hook

    assert client(Right()).generate("hi") == "hi"


# --- wrappers of pluggy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [{"wrapper": True}, {"hookwrapper": True}])
def test_wrappers_are_refused(mark):
    class Wrapping(Backend):
        @hookimpl(**mark)
        def generate(self, request: Any) -> Any:
            return (yield)

    class Around(Extension):
        @hookimpl(**mark)
        def generate(self, request: Any) -> Any:
            return (yield)

    told = r"'generate' .* wrapper; an extension \(docs/extensions.md\) goes around a hook with `proceed` instead"
    with pytest.raises(ContractError, match=f"the format 'Wrapping' of .*{told}"):
        client(backend=Wrapping)
    with pytest.raises(ContractError, match=f"the extension 'Around' of .*{told}"):
        client(Around())
