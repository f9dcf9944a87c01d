"""Faults of the client itself, for behaviours that the core keeps for every backend. Each takes a `MonkeyPatch`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

from lollms_core import BackendError, Chunk, ClientClosedError, LollmsClient, LollmsError
from tests.parity.broken.table import broken

_complete, _acomplete, _stream, _close = (
    LollmsClient.complete,
    LollmsClient.acomplete,
    LollmsClient.stream,
    LollmsClient.close,
)


@broken("test_only_false_stops")
def any_falsy_value_stops(patch):
    def complete(self, prompt, n_predict=None, *, streaming_callback=None, **options):
        callback = streaming_callback and (lambda *piece: bool(streaming_callback(*piece)))
        return _complete(self, prompt, n_predict, streaming_callback=callback, **options)

    patch.setattr(LollmsClient, "complete", complete)


@broken("test_callback_gets_the_whole_answer", "test_callback_false_stops")
def callback_is_forgotten(patch):
    def complete(self, prompt, n_predict=None, *, streaming_callback=None, **options):
        return _complete(self, prompt, n_predict, **options)

    patch.setattr(LollmsClient, "complete", complete)


@broken("test_exception_of_the_callback_reaches_the_caller")
def exceptions_of_callbacks_are_wrapped(patch):
    def complete(self, prompt, n_predict=None, *, streaming_callback=None, **options):
        try:
            return _complete(self, prompt, n_predict, streaming_callback=streaming_callback, **options)
        except LollmsError:
            raise
        except Exception as error:
            raise BackendError(str(error)) from error

    patch.setattr(LollmsClient, "complete", complete)


@broken("test_callback_false_stops", "test_cancel_from_another_thread")
def cancelled_text_is_lost(patch):
    def complete(self, prompt, n_predict=None, *, streaming_callback=None, **options):
        completion: Any = _complete(self, prompt, n_predict, streaming_callback=streaming_callback, **options)
        return None if completion.finish_reason == "cancelled" else completion

    patch.setattr(LollmsClient, "complete", complete)


@broken(
    "test_cancel_from_another_thread", "test_cancel_ends_a_silent_wait", silent_options={"delay": 3600.0}, patience=2.0
)
def cancel_does_nothing(patch):
    patch.setattr(LollmsClient, "cancel", lambda self: None)


@broken("test_async_callback")
def async_callbacks_are_not_awaited(patch):
    async def acomplete(self, prompt, n_predict=None, *, streaming_callback=None, **options):
        def callback(*piece):
            streaming_callback(*piece).close()

        return await _acomplete(self, prompt, n_predict, streaming_callback=callback, **options)

    patch.setattr(LollmsClient, "acomplete", acomplete)


@broken("test_cancelled_task_ends_a_silent_question", patience=5.0, unreachable_options=lambda self: {})
def cancelled_questions_end_as_if_nothing_happened(patch):
    async def alist_models(self, *, details=False):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return []

    patch.setattr(LollmsClient, "alist_models", alist_models)


@broken(
    "test_cancelled_task_stops",
    "test_cancelled_task_ends_a_silent_wait",
    silent_options={"delay": 3600.0},
    patience=5.0,
)
def cancelled_tasks_end_as_if_nothing_happened(patch):
    async def acomplete(self, prompt, n_predict=None, *, streaming_callback=None, **options):
        try:
            return await _acomplete(self, prompt, n_predict, streaming_callback=streaming_callback, **options)
        except asyncio.CancelledError:
            return BackendError("cancelled").to_dict()

    patch.setattr(LollmsClient, "acomplete", acomplete)


@broken("test_closing_record_is_last_and_the_only_one")
def every_chunk_closes(patch):
    def stream(self, prompt, n_predict=None, **options):
        for chunk in _stream(self, prompt, n_predict, **options):
            yield chunk._replace(finish_reason="stop")

    patch.setattr(LollmsClient, "stream", stream)


@broken("test_iterator_that_was_never_started_does_nothing")
def streams_begin_too_early(patch):
    def stream(self, prompt, n_predict=None, **options):
        threading.Thread(target=threading.Event().wait, daemon=True, name="early").start()
        return _stream(self, prompt, n_predict, **options)

    patch.setattr(LollmsClient, "stream", stream)


@broken("test_streamed_answer_equals_the_answer", "test_async_twin[stream]")
def the_stream_loses_its_first_piece(patch):
    def stream(self, prompt, n_predict=None, **options):
        chunks = _stream(self, prompt, n_predict, **options)
        next(chunks)
        yield from chunks

    patch.setattr(LollmsClient, "stream", stream)


@broken(
    "test_empty_prompt_is_an_error",
    "test_text_that_cannot_be_sent_is_an_error[surrogate]",
    "test_text_that_cannot_be_sent_is_an_error[nul]",
    "test_value_out_of_range_is_an_error[n_predict-0]",
    "test_value_out_of_range_is_an_error[n_predict--5]",
    "test_value_out_of_range_is_an_error[temperature--0.5]",
    "test_value_out_of_range_is_an_error[top_p-1.5]",
    "test_value_out_of_range_is_an_error[top_k--1]",
    "test_option_honesty[temperature]",
    "test_raw_prompt_honesty",
)
def streams_check_nothing(patch):
    def stream(self, prompt, n_predict=None, **options):
        yield Chunk("whatever ")
        yield Chunk("this is", finish_reason="stop")

    patch.setattr(LollmsClient, "stream", stream)


@broken("test_stop_needs_no_declaration")
def stop_warns(patch):
    import warnings

    from lollms_core import UnsupportedOptionWarning

    def stream(self, prompt, n_predict=None, **options):
        if "stop" in options:
            warnings.warn("the format does not honour: stop", UnsupportedOptionWarning, stacklevel=2)
        return _stream(self, prompt, n_predict, **options)

    patch.setattr(LollmsClient, "stream", stream)


@broken("test_unknown_option_is_refused", "test_wrong_type_is_a_type_error", "test_what_is_no_image_is_an_error")
def generate_takes_anything(patch):
    patch.setattr(LollmsClient, "generate", lambda self, prompt, *args, **options: str(prompt))


@broken("test_error_is_a_dictionary_by_default", "test_error_is_raised_on_request")
def errors_are_none(patch):
    patch.setattr(LollmsClient, "_error", lambda self, error: None)


@broken("test_token_that_is_none_is_an_error")
def any_token_will_do(patch):
    patch.setattr(LollmsClient, "detokenize", lambda self, tokens: "?")


@broken("test_tokens_round_trip", "test_no_tokens_is_no_error")
def tokens_are_a_text(patch):
    patch.setattr(LollmsClient, "tokenize", lambda self, text: text)


@broken("test_closed_client_says_so")
def closed_clients_work_on(patch):
    patch.setattr(LollmsClient, "_check_open", lambda self: None)


@broken("test_closing_twice_is_no_error")
def closing_twice_is_an_error(patch):
    def close(self):
        if self._asked.closed:
            raise ClientClosedError("closed already")
        _close(self)

    patch.setattr(LollmsClient, "close", close)


@broken("test_a_client_that_answered_ends")
def closing_is_an_error(patch):
    def close(self):
        _close(self)
        raise BackendError("a connection was still in use")

    patch.setattr(LollmsClient, "close", close)


@broken("test_an_async_call_answers")
def async_calls_answer_nothing(patch):
    async def agenerate(self, prompt, n_predict=None, **options):
        return ""

    patch.setattr(LollmsClient, "agenerate", agenerate)


_TWINS = ("chat", "complete", "tokenize", "detokenize", "count_tokens", "embed", "list_models", "list_personalities")


@broken(*(f"test_async_twin[{name}]" for name in (*_TWINS, "model_info")))
def async_twins_do_something_else(patch):
    async def something_else(self, *args, **options):
        return BackendError("not as the sync call").to_dict()

    for name in (*_TWINS, "model_info"):
        patch.setattr(LollmsClient, f"a{name}", something_else)
