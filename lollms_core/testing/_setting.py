"""What an author tells the kit about a backend, and what every behaviour uses."""

from __future__ import annotations

import contextlib
import difflib
import struct
import zlib
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from typing import Any, ClassVar

import pytest

from lollms_core import Capabilities, Completion, LollmsClient, LollmsError
from lollms_core.testing._gate import Gate
from lollms_core.testing._requirements import is_behaviour, require, within
from lollms_core.testing._whereabouts import files_of

__all__ = ["Setting", "png"]

_NEEDED = """the conformance kit needs one fixture, which says how to make a client:

    class TestMyBackend(BackendConformance):
        @pytest.fixture
        def client_options(self):
            return {"default_generation_mode": "my-format"}
"""

CLIENTS = pytest.StashKey["Clients"]()


class Clients:
    """The client that the behaviours of one class share, made when first needed."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._options: Mapping[str, Any] | None = None
        self._client: LollmsClient | None = None
        self.life: Any = None
        """What was seen in the life of one client; see `lifetime`."""
        self.files: frozenset[str] = frozenset()
        """Where the backend's code is."""

    def shared(self, options: Mapping[str, Any]) -> LollmsClient:
        if self._client is not None and options != self._options:
            self.close()
        if self._client is None:
            self._client = LollmsClient(**options)
            self._options = dict(options)
            self.files = files_of(self._client.backend)
        return self._client

    def abandon(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.cancel()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            within(self._patience, client.close)


class Setting(Gate):
    """The fixtures and attributes that an author sets, and helpers for the behaviours."""

    deviations: ClassVar[Mapping[str, str]] = {}
    """Behaviours that this backend cannot have, each with the reason: `{"test_cut_answer_says_length": "…"}`.

    They are expected to fail; one that passes after all is reported, so that the list stays true. A single case is
    named with its parameter: `"test_option_honesty[seed]"`."""

    prompt: ClassVar[str] = (
        "Count from one to thirty in English words, one word after the other, without any other text."
    )
    """A question whose answer is longer than `limit` tokens, or has at least ten pieces."""

    limit: ClassVar[int] = 24
    """`n_predict` for ordinary questions."""

    hot: ClassVar[float] = 1.5
    """A temperature at which answers differ."""

    patience: float = 300.0
    """Seconds after which a behaviour counts as hung."""

    grace: ClassVar[float] = 60.0
    """Seconds that threads and connections may take to end."""

    embeddings_depend: ClassVar[bool] = False
    """Some models embed and others do not, of which this may be one: an `UnsupportedError` will do, too."""

    always_raw: ClassVar[bool] = False
    """Every prompt reaches the model as it is, `Chat` or not: the server knows no templates."""

    single_instance: ClassVar[bool] = False
    """Two clients that have answered do not fit into memory: the shared one is closed before another is used."""

    unknown_model: ClassVar[str] = "lollms-conformance/no-such-model"
    """A model name that nothing has."""

    model_to_pull: ClassVar[str | None] = None
    """A model that the kit may download, by its name: it does so twice. Name one that costs nothing, as over a stub
    server, or a very small one. `None`: whether `pull_model` works is not tried."""

    heavy_modules: ClassVar[tuple[str, ...]] = (
        "aiohttp", "httpx", "jax", "litellm", "numpy", "openai", "requests", "tensorflow", "tiktoken", "torch",
        "transformers", "vllm",
    )  # fmt: skip
    """What importing the backend's module must not import."""

    _clients: Clients
    _options: Mapping[str, Any]
    _observe: Callable[[], Any] | None
    _silent: Mapping[str, Any] | None

    # --- what an author gives -------------------------------------------------------------------------------------

    @pytest.fixture
    def client_options(self) -> Mapping[str, Any]:
        """The keyword arguments of `LollmsClient` that choose this backend. The one fixture that is required."""
        pytest.fail(_NEEDED, pytrace=False)

    @pytest.fixture
    def observe(self) -> Callable[[], Any] | None:
        """A function that gives what the last call sent or set, where its effect cannot be seen in the answer.

        For a stub server that always answers alike: the body of the last request. Leave out what differs from call
        to call by itself, such as ids and times.
        """
        return None

    @pytest.fixture
    def silent_options(self) -> Mapping[str, Any] | None:
        """Arguments, besides `client_options`, for a backend that says nothing for longer than `patience`."""
        return None

    def expected_answer(self, prompt: str) -> str | None:
        """The exact answer to a prompt, where it is known, as for a backend or a stub that echoes; else `None`."""
        return None

    def unreachable_options(self) -> Mapping[str, Any] | None:
        """Arguments for a client whose server is not there, a free port of this machine by default.

        `None` for a backend that talks to no server: one that does not derive from `HTTPBackend`.
        """
        bases = {f"{base.__module__}.{base.__qualname__}" for base in type(self.client.backend).__mro__}
        if "lollms_core.http._backend.HTTPBackend" not in bases:
            return None
        return {"host_address": f"http://127.0.0.1:{_free_port()}", "max_retries": 0}

    def model_sees(self) -> bool:
        """Whether the model takes images: the format does, and what is known about the model does not deny it."""
        if not self.capabilities.vision:
            return False
        info = self.client.model_info()
        known = () if isinstance(info, dict) else info.capabilities
        return not known or "vision" in known

    # --- what pytest does -----------------------------------------------------------------------------------------

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        names = [name for name in dir(cls) if is_behaviour(getattr(cls, name))]
        for name, reason in cls.deviations.items():
            if name.partition("[")[0] not in names:
                close = difflib.get_close_matches(name, names, n=3)
                raise TypeError(
                    f"{cls.__name__}.deviations names {name!r}, which is no behaviour. Close to it: {', '.join(close)}"
                )
            if not reason.strip():
                raise TypeError(f"{cls.__name__}.deviations gives no reason for {name!r}")

    @pytest.fixture(autouse=True)
    def _set_the_stage(
        self,
        request: pytest.FixtureRequest,
        client_options: Mapping[str, Any],
        observe: Callable[[], Any] | None,
        silent_options: Mapping[str, Any] | None,
    ) -> None:
        for name in (request.node.name, request.node.originalname):
            if name in self.deviations:
                request.applymarker(pytest.mark.xfail(reason=self.deviations[name], strict=True))
        self.pass_the_gate(request)
        home = self._home
        if CLIENTS not in home.stash:
            home.stash[CLIENTS] = Clients(self.patience)
            home.addfinalizer(lambda: home.stash[CLIENTS].close())
        self._clients = home.stash[CLIENTS]
        self._options, self._observe, self._silent = client_options, observe, silent_options

    def note_failure(self, name: str, *, hung: bool = False) -> None:
        """Shut the gate if it was a basic behaviour that failed, and nobody had said that it would."""
        if name not in self.deviations:
            super().note_failure(name, hung=hung)

    def authors_files(self) -> Collection[str]:
        """The files with the backend's code, once a client has been made."""
        return self._clients.files

    def abandon_client(self) -> None:
        """Leave the shared client as it is, and make another for the next behaviour."""
        self._clients.abandon()

    # --- clients --------------------------------------------------------------------------------------------------

    @property
    def client(self) -> LollmsClient:
        """The client that all behaviours of the class share."""
        return self._clients.shared(self._options)

    @contextlib.contextmanager
    def own_client(self, *, answers: bool = True, **overrides: Any) -> Generator[LollmsClient, None, None]:
        """A client of the behaviour's own, closed at the end.

        Args:
            answers: whether it will be asked for anything, and so may load a model.
            **overrides: replace or join `client_options`.
        """
        if answers and self.single_instance:
            self._clients.close()
        with LollmsClient(**{**self._options, **overrides}) as client:
            yield client

    @property
    def capabilities(self) -> Capabilities:
        """What the backend declares."""
        return self.client.backend.capabilities

    def declares(self, option: str) -> bool:
        """Whether the backend says that this option changes the outcome."""
        return option in self.capabilities.options

    @property
    def deterministic(self) -> bool:
        """Whether equal questions must have equal answers, as far as the author says."""
        return "test_same_question_same_answer" not in self.deviations

    def settings(self, **more: Any) -> dict[str, Any]:
        """Options for a short answer that can be repeated, as far as the backend honours them, and `more`."""
        wanted = {"n_predict": self.limit, "temperature": 0, "seed": 1}
        return {name: value for name, value in wanted.items() if self.declares(name)} | more

    def hot_settings(self, seed: int, **more: Any) -> dict[str, Any]:
        """Options for a short answer that varies, as far as the backend honours them, and `more`."""
        return (
            self.settings(**{n: v for n, v in {"temperature": self.hot, "seed": seed}.items() if self.declares(n)})
            | more
        )

    # --- asking ---------------------------------------------------------------------------------------------------

    def complete(self, prompt: Any = None, *, client: LollmsClient | None = None, **options: Any) -> Completion:
        """The answer with all that is known about it; `options` are passed on as they are."""
        __tracebackhide__ = True
        question = self.prompt if prompt is None else prompt
        completion = (client or self.client).complete(question, **options)
        if isinstance(completion, Completion):
            return completion
        raise AssertionError(
            f"the question {question!r} with {options} gave an error: {completion}\n"
            "Why it matters: a user who asks a plain question gets no answer."
        )

    def answer(self, prompt: Any = None, **options: Any) -> str:
        """The text of the answer to a question under `settings`, joined by `options`."""
        __tracebackhide__ = True
        return self.complete(prompt, **self.settings(**options)).text

    def pieces(self, prompt: str | None = None, **options: Any) -> list[str]:
        """The pieces of answer text, as they came."""
        chunks = self.client.stream(prompt or self.prompt, **self.settings(**options))
        return [chunk.text for chunk in chunks if chunk.text and chunk.type == 0]

    def observed(self) -> Any:
        """What the author's `observe` gives; `None` without one."""
        return None if self._observe is None else self._observe()

    def error_of(self, result: Any, what: str, why: str) -> str:
        """The name of the error that a call returned; fails if it is none."""
        __tracebackhide__ = True
        require(
            isinstance(result, dict) and result.get("status") is False, f"{what}: got {result!r}, not an error", why
        )
        return str(result["type"])

    @contextlib.contextmanager
    def raising(self, kind: type[LollmsError] | type[TypeError], what: str, why: str) -> Iterator[list[Any]]:
        """The block must raise this kind of error, which is put into the list."""
        __tracebackhide__ = True
        caught: list[Any] = []
        try:
            yield caught
        except kind as error:
            caught.append(error)
        except Exception as error:
            raise AssertionError(
                f"{what}: {type(error).__name__} was raised, not {kind.__name__}: {error}\nWhy it matters: {why}"
            ) from error
        require(caught, f"{what}: nothing was raised, {kind.__name__} is due", why)


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def png(red: int, green: int, blue: int, size: int = 16) -> bytes:
    """A valid PNG image of one colour, `size` pixels square."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((red, green, blue)) * size) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
