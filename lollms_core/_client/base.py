"""What the sync and the async calls of a client have in common: set-up, requests, errors, the backend's hooks."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import difflib
import functools
import inspect
import logging
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lollms_core._bridges import processes
from lollms_core._bridges.signals import raised_by_handler
from lollms_core._client.argument_checks import check_settings, checked_number
from lollms_core._client.asked_backend import AskedBackend
from lollms_core._client.dialogues import Ask
from lollms_core._client.layers import ActiveExtension, Layers
from lollms_core._client.pipeline import ONLY_REASONING, ONLY_REASONING_HINT, Pipeline, as_lollms_error
from lollms_core._client.registry import (
    active_extensions,
    checked_backend,
    chosen_format,
    load_format,
)
from lollms_core._client.requests import (
    DefaultStr,
    GenerateOptions,
    RequestBuilder,
    answer_check,
    default_float,
    default_int,
    is_chosen,
)
from lollms_core._client.value_calls import pulling
from lollms_core._log import log_as_asked
from lollms_core.contract.backend import capabilities_problem
from lollms_core.contract.errors import (
    CallCancelledError,
    ContractError,
    EmptyAnswerWarning,
    ErrorDict,
    LollmsError,
    UnsupportedOptionError,
    warn_caller,
)
from lollms_core.contract.extension import ClientInfo, Extension
from lollms_core.contract.types import (
    ELF_GENERATION_FORMAT,
    BackendSettings,
    CancelToken,
    Chunk,
    Completion,
    GenerationRequest,
    Message,
    PullModelRequest,
    PullProgress,
    Timeouts,
)
from lollms_core.text._layouts import ai_full_header, separator_template, system_full_header, user_full_header

if TYPE_CHECKING:
    from pydantic import SecretStr

    from lollms_core.contract.backend import Backend

__all__ = ["ClientBase", "Run", "as_text", "prompt_or_messages"]


logger = logging.getLogger("lollms")

_LONGEST_CLOSE = 5.0
"""Seconds that closing waits for a backend's own `close`."""


class Run(NamedTuple):
    """One generation under way."""

    request: GenerationRequest
    pipeline: Pipeline


_DEFAULT_ADDRESS = DefaultStr("http://localhost:9600")


class ClientBase:
    """Set-up and plumbing of `LollmsClient`. Use that."""

    system_full_header = system_full_header
    user_full_header = user_full_header
    ai_full_header = ai_full_header
    separator_template = separator_template

    def __init__(
        self,
        host_address: str | None = _DEFAULT_ADDRESS,
        model_name: str | None = None,
        ctx_size: int | None = default_int("ctx_size"),
        personality: int | str = -1,
        n_predict: int | None = default_int("n_predict"),
        temperature: float | None = default_float("temperature"),
        top_k: int | None = default_int("top_k"),
        top_p: float | None = default_float("top_p"),
        repeat_penalty: float | None = default_float("repeat_penalty"),
        repeat_last_n: int | None = default_int("repeat_last_n"),
        seed: int | None = None,
        n_threads: int | None = default_int("n_threads"),
        service_key: str | SecretStr | None = None,
        default_generation_mode: ELF_GENERATION_FORMAT | str | type[Backend] = ELF_GENERATION_FORMAT.LOLLMS,
        verify_ssl_certificate: bool | str | os.PathLike[str] = True,
        *,
        min_p: float | None = None,
        raise_errors: bool = False,
        strict: bool = False,
        timeouts: Timeouts | None = None,
        max_retries: int = 2,
        headers: Mapping[str, str] | None = None,
        extensions: Sequence[str | Mapping[str, Mapping[str, Any]] | Extension | type[Extension]] = (),
        **backend_options: Any,
    ) -> None:
        """Choose a format and the values that calls use where they give none. Touches neither network nor model.

        A number below is the default. Where nobody chose another, a format to which it means nothing leaves it out.

        Args:
            host_address: the server's address, http://localhost:9600. Other formats than LoLLMS have their own default.
            model_name: the model; optional where the server chooses.
            ctx_size: context window in tokens that is asked for, where the format can: 32000.
            personality: a personality of a LoLLMS server, by index, name or id; -1 for none.
            n_predict: limit of new tokens in an answer: 4096.
            temperature: sampling temperature, 0.1; 0 is greedy.
            top_k: sample among this many best tokens, 50; 0 is off.
            top_p: sample among the best tokens that together have this probability: 0.95.
            repeat_penalty: above 1.0 discourages repetition. The default, 0.8, goes to LoLLMS servers only.
            repeat_last_n: how many last tokens the penalty looks at: 40.
            seed: for repeatable answers.
            n_threads: threads that the server or the model may use: 8.
            service_key: the key for the server; otherwise the format's own environment variables.
            default_generation_mode: a member of `ELF_GENERATION_FORMAT`, the name of any installed format, or the class
                of a backend, which need not be installed.
            verify_ssl_certificate: `False` accepts any certificate; a string is the path of a CA bundle.
            min_p: leave out tokens less probable than this share of the best one's.
            raise_errors: raise errors in place of returning `{"status": False, "error": …}`.
            strict: an option that the format cannot honour is an error, not a warning.
            timeouts: limits for connecting, for the first token and between two pieces.
            max_retries: how often a request that failed before its first token is repeated.
            headers: extra HTTP headers.
            extensions: what goes around the calls, outermost first: names of installed extensions, `{name: options}`,
                or objects of `Extension` classes.
            **backend_options: options of the chosen format, see its documentation.

        Raises:
            UnknownFormatError: no installed package provides the format.
            FormatLoadError: the format's package cannot be imported.
            UnknownExtensionError: no installed package provides an extension.
            ExtensionError: an extension cannot be loaded, or fails when it is made.
            ConfigurationError: an option that the format, or an extension, refuses.
            TypeError: a value of the wrong type.
        """
        if isinstance(default_generation_mode, ELF_GENERATION_FORMAT):
            format = default_generation_mode.value
        elif isinstance(default_generation_mode, str):
            format = chosen_format(default_generation_mode)
        elif isinstance(default_generation_mode, type):
            format = default_generation_mode.__name__
        else:
            raise TypeError(
                "default_generation_mode must be an ELF_GENERATION_FORMAT, the name of a format or a backend's class, "
                f"not {type(default_generation_mode).__name__}"
            )
        check_settings(
            timeouts=timeouts,
            max_retries=max_retries,
            verify_ssl_certificate=verify_ssl_certificate,
            headers=headers,
            texts={"host_address": host_address, "model_name": model_name},
        )
        if not isinstance(verify_ssl_certificate, bool):
            verify_ssl_certificate = os.fspath(verify_ssl_certificate)
        log_as_asked()
        self.default_generation_mode = default_generation_mode
        self.format = format
        self.host_address = host_address
        self.model_name = model_name
        self.ctx_size = ctx_size
        self.personality = personality
        self.n_predict = n_predict
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.min_p = min_p
        self.repeat_penalty = repeat_penalty
        self.repeat_last_n = repeat_last_n
        self.seed = seed
        self.n_threads = n_threads
        self.raise_errors = raise_errors
        if ctx_size is not None:
            ctx_size = int(checked_number("ctx_size", ctx_size))
        settings = BackendSettings(
            format=format,
            host_address=host_address if is_chosen(host_address) else None,
            model_name=model_name,
            ctx_size=ctx_size,
            ctx_size_chosen=is_chosen(self.ctx_size),
            n_threads=None if n_threads is None else int(checked_number("n_threads", n_threads)),
            n_threads_chosen=is_chosen(self.n_threads),
            api_key=_secret(service_key),
            verify_ssl_certificate=verify_ssl_certificate,
            timeouts=timeouts or Timeouts(),
            max_retries=max_retries,
            strict=strict,
            headers=dict(headers or {}),
            options=backend_options,
        )
        if isinstance(default_generation_mode, type):
            backend = checked_backend(default_generation_mode)
        else:
            backend = load_format(format)
        self.backend = _made(backend, settings)
        self._asked = AskedBackend(self.backend, format)
        self._builder = RequestBuilder(self.backend)
        self._say_unused(settings)
        active: list[ActiveExtension] = []
        try:
            active.extend(active_extensions(extensions, self._info(settings)) if extensions else ())
        except BaseException:  # nobody will have a client to close
            self._close_backend()
            self._close_extensions(active)
            self._asked.portal.close()
            raise
        self._layers = Layers(active, self._asked)
        self.extensions: tuple[Extension, ...] = tuple(each.extension for each in active)
        """The active extensions, outermost first: this client's own copies."""
        # Without a lock: `cancel` may be called by a signal handler, or while the collector ends an abandoned stream.
        # What is done to it is one step for the interpreter.
        self._running: dict[CancelToken, object] = {}
        _clients.add(self)

    def __repr__(self) -> str:
        # No address: it may carry credentials.
        return f"{type(self).__name__}(format={self.format!r}, model_name={self.model_name!r})"

    def _say_unused(self, settings: BackendSettings) -> None:
        """Say which arguments, given to the client, have no effect on its format.

        Time limits are not among them: they hold where nothing is waited for.
        """
        unused = set()
        if settings.ctx_size_chosen and "ctx_size" not in self.backend.capabilities.options:
            unused.add("ctx_size")
        if self.backend.capabilities.local:
            given = {
                "host_address": settings.host_address is not None,
                "verify_ssl_certificate": settings.verify_ssl_certificate is not True,
                "headers": bool(settings.headers),
            }
            unused |= {name for name, is_given in given.items() if is_given}
        if unused:
            self.backend.not_honoured(unused)

    def _info(self, settings: BackendSettings) -> ClientInfo:
        from lollms_core.http._address import mask

        address = None
        with contextlib.suppress(LollmsError):  # one that cannot be used is told by the first call
            address = getattr(self.backend, "address", None) or settings.host_address
        return ClientInfo(
            format=self.format,
            model_name=self.model_name,
            address=None if address is None else mask(str(address)),
            capabilities=self.backend.capabilities,
        )

    # --- generations ----------------------------------------------------------------------------------------------

    def _prepare(
        self,
        prompt: str | None,
        messages: Iterable[Message | Mapping[str, Any]] | None,
        n_predict: int | None,
        options: GenerateOptions,
    ) -> Run:
        self._check_open()
        cancel = CancelToken()
        schema, check = answer_check(options.get("json_schema"))
        request = self._builder.build(self, prompt, messages, n_predict, options, cancel, schema)
        if not self._layers.are_around("generate"):  # they see the question as it was asked
            request = self._asked.fitted(request)
        stop = () if "stop" in self.backend.capabilities.options else request.sampling.stop
        guided = "json_schema" in self.backend.capabilities.options
        return Run(request, Pipeline(stop, cancel, self.format, check, request.model, guided))

    def _open_sync(self, request: GenerationRequest) -> Iterable[Chunk]:
        """The answer's stream as a sync iterable."""
        self._check_open()  # the stream may have been made before the client was closed
        return self._layers.open_sync(request)

    async def _open_async(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
        """The answer's stream as an async iterator."""
        self._check_open()
        return await self._layers.open_async(request)

    def _download(self, request: PullModelRequest) -> Iterable[PullProgress]:
        progress = pulling(self, self._hook("pull_model", request))
        return self._asked.sync_iterable("pull_model", progress, request.cancel)

    async def _adownload(self, request: PullModelRequest) -> AsyncIterator[PullProgress]:
        progress = pulling(self, await self._ahook("pull_model", request))
        return self._asked.async_iterator("pull_model", progress, request.cancel)

    def cancel(self) -> None:
        """Stop every call of this client that is under way, from any thread, also from a signal handler.

        Generations return the text so far; calls for a value end with `CallCancelledError`.
        """
        for token in list(self._running):
            token.cancel()

    # --- other hooks ------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        self._asked.check_open()

    def _hook(self, name: str, request: Any) -> Any:
        """What the backend answers; `None` if it does not implement the hook. Any failure is a `LollmsError`."""
        self._check_open()
        self._running[request.cancel] = None
        try:
            return self._layers.ask_sync(name, request)
        except (Exception, asyncio.CancelledError) as error:  # in a sync call, not one of the caller's
            if raised_by_handler(error):
                raise
            known = self._failed(error, request.cancel)
            raise known from known.__cause__
        finally:
            self._running.pop(request.cancel, None)

    async def _ahook(self, name: str, request: Any) -> Any:
        """The twin of `_hook`."""
        self._check_open()
        self._running[request.cancel] = None
        try:
            return await self._layers.ask_async(name, request)
        except Exception as error:
            known = self._failed(error, request.cancel)
            raise known from known.__cause__
        finally:
            self._running.pop(request.cancel, None)

    def _failed(self, error: BaseException, cancel: CancelToken) -> LollmsError:
        if cancel.cancelled and not isinstance(error, CallCancelledError):
            return CallCancelledError("the call was cancelled", format=self.format)
        return self._asked.known(error)

    def _error(self, error: LollmsError) -> ErrorDict:
        """The dictionary form, or raise, as the client was told. What a signal handler raised is raised in any case."""
        if self.raise_errors or raised_by_handler(error):
            raise error
        return error.to_dict()

    # --- the end --------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        if self._asked.closed:
            return
        self.cancel()
        try:
            self._close_backend()
        finally:
            self._close_extensions(self._layers.extensions)
            self._asked.closed = True
            self._asked.portal.close()

    def _close_backend(self) -> None:
        self._close_one(f"the {self.format} format", self._asked.close)

    def _close_extensions(self, extensions: Iterable[ActiveExtension]) -> None:
        for active in extensions:
            self._close_one(str(active), functools.partial(_ended, active.extension))

    def _close_one(self, what: str, close: Callable[[], Iterable[Any]]) -> None:
        try:
            for ending in close():
                if inspect.isawaitable(ending):
                    self._end_in_time(ending, what)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or raised_by_handler(error):
                raise
            # Whatever the caller has is there already, and what there was to free is not to be used any more.
            logger.warning("closing %s failed", what, exc_info=True)

    def _end_in_time(self, closing: Awaitable[None], what: str) -> None:
        cancel = CancelToken()
        timer = threading.Timer(_LONGEST_CLOSE, cancel.cancel)
        timer.daemon = True
        timer.start()
        try:
            self._asked.portal.run(closing, cancel)
        except CallCancelledError:
            logger.warning("closing %s did not end within %g seconds", what, _LONGEST_CLOSE)
        finally:
            timer.cancel()


def _ended(extension: Extension) -> list[Any]:
    """What the `close` of an extension gives, which may be async."""
    return [extension.close()]


_clients: weakref.WeakSet[ClientBase] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Stop what is under way when the program ends: later, it is too late to tell a server."""
    processes.say_exiting()
    for client in list(_clients):
        client.cancel()
    processes.wait_at_the_end()


def _made(backend: type[Backend], settings: BackendSettings) -> Backend:
    theirs = () if backend.Options is None else backend.Options.model_fields
    if clash := ", ".join(sorted(_arguments().intersection(theirs))):
        problem = f"its Options have names of LollmsClient's own arguments, which never reach them: {clash}"
        raise ContractError(f"the backend of the {settings.format} format: {problem}", format=settings.format)
    try:
        made = backend(settings)
        problem = capabilities_problem(made.capabilities)
    except UnsupportedOptionError as error:
        _suggest(error, backend, settings)
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a constructor that calls sys.exit() is a fault of its package as any other
        known = as_lollms_error(error, settings.format)
        raise known from known.__cause__
    if not hasattr(made, "options"):  # set by `Backend.__init__` alone
        problem = "its __init__ does not call super().__init__(settings)"
    if problem:
        raise ContractError(f"the backend of the {settings.format} format: {problem}", format=settings.format)
    return made


@functools.cache
def _arguments() -> frozenset[str]:
    """The client's own arguments."""
    return frozenset(inspect.signature(ClientBase).parameters) - {"backend_options"}


def _suggest(error: UnsupportedOptionError, backend: type[Backend], settings: BackendSettings) -> None:
    """Say of an unknown option what was probably meant: an option of a call, or one of the client's own arguments."""
    theirs = [] if backend.Options is None else backend.Options.model_fields
    ours = sorted(_arguments())
    for name in settings.options:
        if name in theirs:
            continue
        if name in GenerateOptions.__annotations__:
            error.hint = f"It is an option of a call: client.generate(…, {name}=…)."
        elif close := [_ELSEWHERE[name]] if name in _ELSEWHERE else difflib.get_close_matches(name, ours, n=1):
            available = error.hint[error.hint.rfind("Available:") :] if "Available:" in error.hint else ""
            error.hint = f"Did you mean {close[0]!r}? {available}".strip()
        return


_ELSEWHERE = {
    "api_base": "host_address",
    "api_key": "service_key",
    "base_url": "host_address",
    "backend": "default_generation_mode",
    "format": "default_generation_mode",
    "provider": "default_generation_mode",
    "endpoint": "host_address",
    "host": "host_address",
    "max_tokens": "n_predict",
    "model": "model_name",
    "repetition_penalty": "repeat_penalty",
    "timeout": "timeouts",
    "url": "host_address",
}
"""What other libraries call the client's arguments."""


def _secret(key: str | SecretStr | None) -> SecretStr | None:
    if key is None or key == "":
        return None
    from pydantic import SecretStr

    if isinstance(key, SecretStr):
        return key if key.get_secret_value() else None
    if not isinstance(key, str):
        raise TypeError(f"service_key must be a str, not {type(key).__name__}")
    return SecretStr(key)


def as_text(completion: Completion | ErrorDict) -> str | ErrorDict:
    """The text of an answer; an error stays as it is. Warns where there is no text, and says why."""
    if not isinstance(completion, Completion):
        return completion
    if not completion.text and completion.finish_reason != "cancelled" and (why := _why_empty(completion)):
        warn_caller(why, EmptyAnswerWarning)
    return completion.text


def _why_empty(completion: Completion) -> str:
    if completion.tool_calls or completion.metadata.get("tool_calls"):
        return "The model called tools in place of an answer: see `tool_calls` of what `complete` returns."
    if completion.only_reasoning:
        return f"{ONLY_REASONING[0].upper()}{ONLY_REASONING[1:]}. {ONLY_REASONING_HINT}"
    return ""


def next_question(dialogue: Any, answer: Completion | LollmsError | None) -> Ask:
    """What a dialogue asks next. Raises `StopIteration` with its value, or what it raises.

    Nothing more is asked after an answer that somebody has stopped: a dialogue that goes on is told that it was
    cancelled, and may still return what it has.
    """
    if not isinstance(dialogue, Generator):
        raise TypeError(f"a dialogue is a generator that yields Ask, not {type(dialogue).__name__}")
    ask = dialogue.throw(answer) if isinstance(answer, LollmsError) else dialogue.send(answer)
    if isinstance(answer, Completion) and answer.finish_reason == "cancelled":
        stopped = CallCancelledError("the dialogue was cancelled", partial_text=answer.text)
        dialogue.throw(stopped)
        raise stopped
    if not isinstance(ask, Ask):
        dialogue.close()
        raise TypeError(f"a dialogue must yield Ask, not {type(ask).__name__}")
    if not isinstance(cast("Any", ask.options), Mapping):
        dialogue.close()
        raise TypeError(f"the options of an Ask are a mapping, not {type(ask.options).__name__}")
    return ask


def question_parts(
    ask: Ask, n_predict: int | None, options: GenerateOptions
) -> tuple[str | None, Iterable[Message | Mapping[str, Any]] | None, int | None, GenerateOptions]:
    """A question of a dialogue as a call has it: prompt, messages, limit, options."""
    own = dict(ask.options)
    limit = own.pop("n_predict", n_predict)
    return (*prompt_or_messages(ask.content), limit, cast("GenerateOptions", {**options, **own}))


@contextlib.contextmanager
def finishing(dialogue: Any) -> Iterator[None]:
    """End a dialogue when whoever runs it goes, also where a call was cancelled or a callback has failed."""
    try:
        yield
    finally:
        if (close := getattr(dialogue, "close", None)) is not None:
            close()


def prompt_or_messages(
    prompt: str | Iterable[Message | Mapping[str, Any]],
) -> tuple[str | None, Iterable[Message | Mapping[str, Any]] | None]:
    """Which of the two was given. Raises `TypeError` if neither."""
    if isinstance(prompt, str):
        return prompt, None
    given: Any = prompt
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise TypeError(f"prompt must be a str or a list of messages, not {type(given).__name__}")
    return None, prompt
