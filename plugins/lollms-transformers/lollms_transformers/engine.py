"""The thread that computes: calls that are there at the same time run as one left-padded batch.

The batch is run by `model.generate` in segments. A segment ends when a row is done, when a call arrives that can join,
or when somebody wants the model for something else; then finished rows leave the batch, new ones are prefilled and put
beside the others, and the next segment goes on from the cache. Models whose cache cannot be cut (sliding windows,
recurrent states) and prompts with images run their batch to its end before the next one begins.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, TypeVar

from lollms_core import BackendError, ClientClosedError, MissingDependencyError
from lollms_core.mailbox import Mailbox
from lollms_transformers.advice import advice_withheld
from lollms_transformers.job import Job

if TYPE_CHECKING:
    from lollms_transformers.batch import Batch

__all__ = ["Engine"]

logger = logging.getLogger("lollms.transformers")

T = TypeVar("T")

_used_in: int | None = None
"""The process in which torch has computed. Its thread pools do not survive a fork: a child would hang in them."""


class Engine:
    """Owns one loaded model and the thread that uses it. Nothing is loaded before the first job.

    Args:
        load: loads the model; called in the engine's thread.
        options: the batch size and the memory of the prefix cache are read from it.
    """

    def __init__(self, load: Callable[[], Any], options: Any) -> None:
        self._load = load
        self._options = options
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._calls: deque[tuple[Callable[[Any], Any], Future[Any]]] = deque()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._closing = False
        self._open: list[Mailbox] = []
        self._pending_calls = 0
        self.loaded: Any = None
        """The `LoadedModel`, once there is one."""

    @property
    def idle(self) -> bool:
        """Nobody waits for anything more from this engine."""
        with self._changed:
            self._open = [mailbox for mailbox in self._open if not mailbox.over]
            return not (self._open or self._pending_calls)

    def submit(self, job: Job) -> Callable[[], bool]:
        """Queue a generation. Returns a function that says whether the thread that will serve it is alive."""
        with self._changed:
            self._start()
            self._jobs.append(job)
            self._open = [mailbox for mailbox in self._open if not mailbox.over] + [job.mailbox]
            self._changed.notify()
        return self.alive

    def start_call(self, function: Callable[[Any], T]) -> Future[T]:
        """Have `function` run with the loaded model in the engine's thread, between two tokens of what else is running.

        Cancelling the future keeps the function from beginning.
        """
        future: Future[T] = Future()
        with self._changed:
            self._start()
            self._calls.append((function, future))
            self._pending_calls += 1
            self._changed.notify()
        future.add_done_callback(self._call_done)
        return future

    def call(self, function: Callable[[Any], T]) -> T:
        """The result of `start_call`."""
        return self.start_call(function).result()

    def _call_done(self, _: Future[Any]) -> None:
        with self._changed:
            self._pending_calls -= 1

    def alive(self) -> bool:
        return self._process == os.getpid() and self._thread is not None and self._thread.is_alive()

    def close(self) -> None:
        """End what is running, stop the thread, free the model. May be called more than once."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        thread = self._thread
        # The garbage collector may run this in the engine's own thread, or in a forked child that has no such thread.
        if thread is not None and thread is not threading.current_thread() and self._process == os.getpid():
            thread.join()

    def _start(self) -> None:
        global _used_in
        if self._closing:
            raise ClientClosedError("the model was closed")
        if _used_in not in (None, os.getpid()) or self._process != os.getpid():
            raise BackendError(
                "this process was forked from one that had already used a model, and torch does not survive that",
                hint="Start processes with multiprocessing's 'spawn' method, or use the model only after forking.",
            )
        if self._thread is None:
            _used_in = os.getpid()
            self._thread = threading.Thread(target=self._work, name="lollms-transformers", daemon=True)
            _close_at_exit(self)
            self._thread.start()

    # --- the engine's thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        batch: Batch | None = None
        try:
            while self._wait(batch):
                with advice_withheld():
                    if batch is None:
                        batch = self._new_batch()
                        if batch is None:
                            continue
                    self._serve_calls()
                    batch.admit(self._jobs)
                    batch.advance(self._interrupts)
        except ModuleNotFoundError as error:
            self._fail_all(_missing(error), batch)
        except BaseException as error:  # must not leave consumers waiting
            logger.exception("the engine's thread failed")
            self._fail_all(BackendError(f"the engine failed: {type(error).__name__}: {error}"), batch)
            if not isinstance(error, Exception):
                raise
        finally:
            self._fail_all(ClientClosedError("the client was closed while this was running"), batch)
            self._closing = True
            self.loaded = batch = None
            _release_memory()

    def _wait(self, batch: Any) -> bool:
        """Until there is something to do. `False`: the end."""
        with self._changed:
            while not (self._closing or self._jobs or self._calls or (batch is not None and batch.rows)):
                self._changed.wait()
            return not self._closing

    def _new_batch(self) -> Batch | None:
        """Load the model. If that fails, those who wait get the error, and the next job tries again."""
        from lollms_transformers.batch import Batch
        from lollms_transformers.loading import failure

        try:
            self.loaded = self._load()
            return Batch(self.loaded, self._options)
        except Exception as error:
            self._fail_all(failure(error, "loading the model"), None)
            return None

    def _serve_calls(self) -> None:
        while self._calls:
            function, future = self._calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                outcome, error = function(self.loaded), None
            except Exception as caught:
                from lollms_transformers.loading import failure

                outcome, error = None, failure(caught, "using the model")
            _settle(future, outcome, error)

    def _interrupts(self, pausable: bool, has_room: bool) -> bool:
        """Asked once a token: whether the running segment should end, to be gone on with if it is pausable."""
        if self._closing or not pausable:
            return self._closing
        return bool(self._calls) or (has_room and bool(self._jobs) and not self._jobs[0].request.all_images)

    def _fail_all(self, error: Exception, batch: Any) -> None:
        with self._changed:
            jobs, calls = list(self._jobs), list(self._calls)
            self._jobs.clear()
            self._calls.clear()
        for job in jobs:
            job.mailbox.put(_own_copy(error))
        for _, future in calls:
            _settle(future, None, _own_copy(error))
        if batch is not None:
            batch.fail(error)


def _settle(future: Future[Any], outcome: Any, error: Exception | None) -> None:
    """Give a call its result, if somebody still waits for it."""
    with contextlib.suppress(InvalidStateError):  # it was cancelled while it ran
        if error is None:
            future.set_result(outcome)
        else:
            future.set_exception(error)


def _own_copy(error: Exception) -> Exception:
    """One instance for each consumer: a raised exception collects the traceback of whoever raises it."""
    import copy

    duplicate = copy.copy(error)
    duplicate.__cause__ = error.__cause__
    return duplicate


def _missing(error: ModuleNotFoundError) -> MissingDependencyError:
    return MissingDependencyError(
        f"the package {error.name} is not installed, without which no model runs here",
        hint="pip install --upgrade lollms-transformers brings all that it needs; torch comes in many builds.",
    )


def _release_memory() -> None:
    import gc
    import sys

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _close_at_exit(engine: Engine) -> None:
    """A daemon thread inside torch while the interpreter is torn down can crash it, so it is stopped before."""
    reference = weakref.ref(engine)

    def close() -> None:
        engine = reference()
        if engine is not None:
            engine.close()

    atexit.register(close)
    weakref.finalize(engine, atexit.unregister, close)
