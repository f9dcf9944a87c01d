"""Backends that each have one fault, and the behaviours that must catch it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import itertools
import queue
import random
import socket
import threading
import time
import warnings

from lollms_core import (
    Backend,
    Capabilities,
    Chunk,
    ModelInfo,
    Personality,
    PullProgress,
    TokenCount,
    UnsupportedOptionWarning,
    Usage,
    hookimpl,
)
from tests.parity.broken.table import broken

ALL_OPTIONS = (
    "n_predict", "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n", "seed", "n_threads",
    "stop", "system_prompt", "json_schema", "think", "personality", "ctx_size", "messages",
)  # fmt: skip


class Echo(Backend):
    """Says the prompt word by word, and keeps the contract."""

    contract_version = 1
    capabilities = Capabilities(local=True)

    def words(self, request):
        messages = request.as_messages()
        return [word + " " for message in messages for word in message.text.split(" ")]

    @hookimpl
    def generate(self, request):
        for word in self.words(request):
            yield Chunk(word)
        yield Chunk(finish_reason="stop")


# --- answers ------------------------------------------------------------------------------------------------------


@broken("test_answer_is_text", "test_conversation_is_answered")
class SaysNothing(Echo):
    def words(self, request):
        return []


@broken("test_answer_is_text", "test_pieces_are_whole_text")
class YieldsStrings(Echo):
    @hookimpl
    def generate(self, request):
        yield from self.words(request)


@broken("test_newlines_and_unicode_survive", expected_answer=lambda self, prompt: prompt + " ")
class LosesNewlines(Echo):
    def words(self, request):
        return [word + " " for word in request.prompt.split()]


@broken("test_pieces_are_whole_text", prompt="日本語 한국어 العربية 👩‍👩‍👧‍👦 🇫🇷")
class CutsCharacters(Echo):
    def words(self, request):
        data = request.prompt.encode()
        return [data[start : start + 4].decode(errors="replace") for start in range(0, len(data), 4)]


@broken("test_answer_comes_in_pieces")
class WaitsForTheEnd(Echo):
    def words(self, request):
        return ["".join(super().words(request))]


@broken("test_same_question_same_answer", "test_streamed_answer_equals_the_answer", "test_async_twin[generate]")
class ChangesItsMind(Echo):
    _numbers = itertools.count()

    def words(self, request):
        return [f"{next(self._numbers)} ", *super().words(request)]


@broken("test_finish_reason_says_why_the_answer_ended")
class EndsWithoutAWord(Echo):
    @hookimpl
    def generate(self, request):
        yield from map(Chunk, self.words(request))


@broken("test_usage_is_plausible")
class CountsWrongly(Echo):
    @hookimpl
    def generate(self, request):
        yield from map(Chunk, self.words(request))
        yield Chunk(finish_reason="stop", usage=Usage(prompt_tokens=7, completion_tokens=3))


@broken("test_usage_is_plausible")
class CountsBelowNothing(Echo):
    @hookimpl
    def generate(self, request):
        yield from map(Chunk, self.words(request))
        yield Chunk(finish_reason="stop", usage=Usage(completion_tokens=-1))


@broken("test_default_call_does_not_warn")
class WarnsOfDefaults(Echo):
    def words(self, request):
        warnings.warn("the format does not honour: top_k", UnsupportedOptionWarning, stacklevel=2)
        return super().words(request)


# --- limits and options -------------------------------------------------------------------------------------------


@broken(
    "test_n_predict_limits_the_answer",
    "test_cut_answer_says_length",
    "test_stop_sequence_ends_the_answer",
    "test_first_of_several_stop_sequences_counts",
    "test_earlier_messages_count",
    *(
        f"test_option_honesty[{o}]"
        for o in ALL_OPTIONS
        if o not in ("stop", "messages", "n_threads", "think", "personality")
    ),
)
class DeclaresEverything(Echo):
    capabilities = Capabilities(local=True, options=frozenset(ALL_OPTIONS))

    def words(self, request):
        text = request.messages[-1].text if request.messages else request.prompt
        return [word + " " for word in text.split(" ")]


@broken(
    "test_option_honesty[n_threads]",
    "test_option_honesty[think]",
    "test_newlines_and_unicode_survive",
    "test_conversation_is_answered",
    observe=lambda self: lambda: {"prompt": "always the same"},
)
class SendsNothingOfIt(DeclaresEverything):
    pass


@broken("test_option_honesty[temperature]", observe=lambda self: lambda: time.perf_counter_ns())
class ObservesTheClock(DeclaresEverything):
    pass


@broken("test_option_honesty[personality]")
class HasPersonalitiesInNameOnly(DeclaresEverything):
    @hookimpl
    def list_personalities(self, request):
        return [Personality(id=0, name="one"), Personality(id=1, name="two")]


@broken("test_option_honesty[top_k]", "test_option_honesty[top_p]", "test_option_honesty[min_p]")
class NarrowsToSomethingElse(Echo):
    capabilities = Capabilities(local=True, options=frozenset({"temperature", "top_k", "top_p", "min_p", "seed"}))

    def words(self, request):
        s = request.sampling
        return [f"{s.temperature} {s.top_k} {s.top_p} {s.min_p} {s.seed} ", *super().words(request)]


@broken("test_seed_repeats_the_answer")
class ForgetsSeedZero(Echo):
    capabilities = Capabilities(local=True, options=frozenset({"seed"}))

    def words(self, request):
        seed = request.sampling.seed or None  # the fault: 0 is a seed
        return [f"{random.Random(seed).random()} ", *super().words(request)]


@broken("test_first_of_several_stop_sequences_counts")
class StopsAtTheFirstGiven(Echo):
    capabilities = Capabilities(local=True, options=frozenset({"stop"}))

    def words(self, request):
        text = "".join(super().words(request))
        for stop in request.sampling.stop[:1]:
            text = text.partition(stop)[0]
        return [text[:4], text[4:]]


@broken("test_raw_prompt_honesty", expected_answer=lambda self, prompt: prompt + " ")
class TouchesTheRawPrompt(Echo):
    capabilities = Capabilities(local=True, raw_prompt=True)

    def words(self, request):
        return ["User: ", *super().words(request)]


@broken("test_raw_prompt_honesty")
class HasNoRawPrompt(Echo):
    capabilities = Capabilities(local=True, raw_prompt=True)


ALL_PARTS = ("reasoning", "tool_call", "tool_result", "provider")


@broken(*(f"test_part_honesty[{part}]" for part in ALL_PARTS), observe=lambda self: lambda: "always the same")
class SendsTextAlone(Echo):
    capabilities = Capabilities(local=True, options=frozenset({"messages"}), parts=frozenset(ALL_PARTS))


@broken("test_part_honesty[tool_call]", observe=lambda self: lambda: time.perf_counter_ns())
class ObservesTheClockForParts(SendsTextAlone):
    pass


@broken("test_unknown_backend_option_is_refused")
class TakesAnything(Echo):
    def __init__(self, settings):
        self.settings = settings
        self.options = None


# --- stopping -----------------------------------------------------------------------------------------------------


@broken(
    "test_callback_false_stops",
    "test_exception_of_the_callback_reaches_the_caller",
    "test_cancel_from_another_thread",
    "test_closing_the_iterator_stops",
    "test_abandoned_iterators_stop",
    "test_closing_the_async_iterator_stops",
    "test_cancelled_task_stops",
    grace=0.3,
)
class GoesOnForNobody(Echo):
    @hookimpl
    def generate(self, request):
        items: queue.Queue[str | None] = queue.Queue(maxsize=1)
        stopped = threading.Event()

        def work():
            for number, word in enumerate(self.words(request)):
                if number == 1:
                    stopped.wait(1)  # or a quick reader has had everything before the stop comes
                items.put(word)  # the fault: nobody takes it after a stop
            items.put(None)

        threading.Thread(target=work, daemon=True, name="goes-on").start()
        try:
            while (word := items.get()) is not None:
                yield Chunk(word)
            yield Chunk(finish_reason="stop")
        finally:
            stopped.set()


@broken("test_callback_false_stops", "test_closing_the_iterator_stops", "test_abandoned_iterators_stop")
class DoesNotRecover(Echo):
    ruined = False

    @hookimpl
    def generate(self, request):
        if self.ruined:
            raise RuntimeError("Already borrowed")
        self.ruined = True
        yield from map(Chunk, self.words(request))
        yield Chunk(finish_reason="stop")
        self.ruined = False


@broken(
    "test_cancel_ends_a_silent_wait",
    "test_close_ends_a_silent_wait",
    "test_cancelled_task_ends_a_silent_wait",
    patience=2.0,
    grace=0.3,
    silent_options={},
)
class WaitsDeafly(Echo):
    @hookimpl
    def generate(self, request):
        time.sleep(3600)
        yield Chunk("late")


@broken("test_cancel_ends_a_silent_question", patience=2.0, unreachable_options=lambda self: {})
class AsksDeafly(Echo):
    @hookimpl
    def list_models(self, request):
        time.sleep(3600)
        return []


@broken("test_cancelled_questions_leave_nothing")
class RuinedByCancelledQuestions(Echo):
    ruined = False

    @hookimpl
    async def list_models(self, request):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.ruined = True
            raise
        return []

    @hookimpl
    def generate(self, request):
        if not self.ruined:
            yield from map(Chunk, self.words(request))
        yield Chunk(finish_reason="stop")


# --- tokens, models, embeddings, personalities, images -------------------------------------------------------------


@broken("test_tokens_round_trip")
class LosesCase(Echo):
    @hookimpl
    def tokenize(self, request):
        return list(request.text.lower().encode())

    @hookimpl
    def detokenize(self, request):
        return bytes(request.tokens).decode()


@broken("test_count_agrees_with_tokenize")
class Guesses(Echo):
    capabilities = Capabilities(local=True, exact_tokens=True)

    @hookimpl
    def count_tokens(self, request):
        return TokenCount(len(request.text) // 4, exact=False)


@broken("test_no_tokens_is_no_error")
class AddsSpecialTokens(Echo):
    @hookimpl
    def tokenize(self, request):
        return [1, *request.text.encode()]

    @hookimpl
    def detokenize(self, request):
        return bytes(request.tokens[1:]).decode()


@broken(
    "test_declared_capability_has_its_hook[embeddings]",
    "test_declared_capability_has_its_hook[personalities]",
    "test_declared_capability_has_its_hook[exact_tokens]",
    "test_declared_capability_has_its_hook[pull]",
    "test_embeddings_or_an_error",
    "test_personalities_or_an_error",
    "test_images_or_an_error",
)
class PromisesEverything(Echo):
    capabilities = Capabilities(
        local=True, vision=True, embeddings=True, personalities=True, exact_tokens=True, pull=True
    )


@broken("test_embeddings_or_an_error", "test_personalities_or_an_error")
class HidesWhatItHas(Echo):
    @hookimpl
    def embed(self, request):
        return [[1.0, 2.0] for _ in request.texts]

    @hookimpl
    def list_personalities(self, request):
        return []


@broken("test_embeddings_or_an_error")
class EmbedsEverythingAlike(Echo):
    capabilities = Capabilities(local=True, embeddings=True)

    @hookimpl
    def embed(self, request):
        return [[1.0, 2.0] for _ in request.texts]


@broken("test_embeddings_or_an_error")
class EmbedsByTheBatch(Echo):
    capabilities = Capabilities(local=True, embeddings=True)

    @hookimpl
    def embed(self, request):
        return [[float(len(text)), float(len(request.texts))] for text in request.texts]


@broken("test_personalities_or_an_error")
class GivesOneIdTwice(Echo):
    capabilities = Capabilities(local=True, personalities=True)

    @hookimpl
    def list_personalities(self, request):
        return [Personality(id=0, name="one"), Personality(id=0, name="two")]


@broken("test_download_tells_its_progress", model_to_pull="small")
class DownloadsInWords(Echo):
    capabilities = Capabilities(local=True, pull=True)

    @hookimpl
    def pull_model(self, request):
        yield f"downloading {request.model}"


@broken("test_download_tells_its_progress", model_to_pull="small")
class DownloadsInSilence(DownloadsInWords):
    @hookimpl
    def pull_model(self, request):
        yield from ()


@broken("test_download_tells_its_progress", model_to_pull="small")
class DownloadsMoreThanThereIs(DownloadsInWords):
    @hookimpl
    def pull_model(self, request):
        yield PullProgress("downloading", 7, 3)


@broken("test_unknown_model_is_an_error")
class AnswersForAnyModel(Echo):
    @hookimpl
    def list_models(self, request):
        return [ModelInfo(name="one"), ModelInfo(name="two")]


@broken("test_unknown_model_is_an_error", "test_listed_model_can_be_used", "test_model_info_is_about_the_model")
class OffersWhatItHasNot(Echo):
    @hookimpl
    def list_models(self, request):
        return [ModelInfo(name="one")]

    @hookimpl
    def model_info(self, request):
        return ModelInfo(name="one", context_window=-1)

    @hookimpl
    def generate(self, request):
        if request.model is not None:
            raise ValueError(request.model)
        yield from map(Chunk, self.words(request))
        yield Chunk(finish_reason="stop")


@broken("test_missing_model_name_is_an_error")
class NeedsNoModelAfterAll(Echo):
    capabilities = Capabilities(local=True, needs_model=True)


# --- many at once -------------------------------------------------------------------------------------------------


@broken(
    "test_many_threads_do_not_mix",
    "test_many_tasks_do_not_mix",
    "test_two_streams_side_by_side",
)
class KeepsOneAnswerForAll(Echo):
    @hookimpl
    def generate(self, request):
        self.current = self.words(request)
        for position in range(len(self.current)):
            time.sleep(0.005)
            yield Chunk(self.current[position])
        yield Chunk(finish_reason="stop")


@broken("test_one_client_in_many_event_loops")
class LovesItsFirstLoop(Echo):
    loop = None

    @hookimpl
    async def generate(self, request):
        import asyncio

        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("Event loop is closed")
        for word in self.words(request):
            yield Chunk(word)
        yield Chunk(finish_reason="stop")


# --- life ---------------------------------------------------------------------------------------------------------


@broken("test_contract_version_is_stated")
class StatesNoVersion(Echo):
    contract_version = None  # type: ignore[assignment]


@broken("test_close_hook_does_not_fail")
class FailsToClose(Echo):
    @hookimpl
    def close(self, request):
        raise OSError("the disk is full")


@broken("test_no_thread_is_left_after_close", grace=0.3)
class LeavesAThread(Echo):
    def words(self, request):
        if not hasattr(self, "thread"):
            self.thread = threading.Thread(target=threading.Event().wait, daemon=True, name="left-behind")
            self.thread.start()
        return super().words(request)


@functools.cache
def _listener():
    listener = socket.create_server(("127.0.0.1", 0))
    atexit.register(listener.close)
    return listener


def _left_open():
    connection = socket.create_connection(_listener().getsockname())
    atexit.register(connection.close)
    return connection


@broken("test_no_connection_is_left_after_close", grace=0.3)
class LeavesAConnection(Echo):
    def words(self, request):
        _left_open()
        return super().words(request)


@broken("test_making_a_client_touches_nothing")
class StartsAThreadAtOnce(Echo):
    def __init__(self, settings):
        super().__init__(settings)
        self.event = threading.Event()
        self.thread = threading.Thread(target=self.event.wait, daemon=True, name="too-early")
        self.thread.start()

    @hookimpl
    def close(self, request):
        self.event.set()
        self.thread.join()


@broken("test_making_a_client_touches_nothing")
class ConnectsAtOnce(Echo):
    def __init__(self, settings):
        super().__init__(settings)
        with contextlib.suppress(OSError):
            socket.create_connection(_listener().getsockname()).close()


@broken("test_key_never_shows")
class ShowsItsKey(Echo):
    def __repr__(self):
        key = self.settings.api_key
        return f"ShowsItsKey({key.get_secret_value() if key else None})"


@broken(
    "test_unreachable_server_is_named",
    "test_key_never_shows",
    unreachable_options=lambda self: {"host_address": "http://127.0.0.1:9"},
)
class FailsWithItsKey(Echo):
    capabilities = Capabilities()

    @hookimpl
    def generate(self, request):
        if self.settings.host_address:
            key = self.settings.api_key
            raise OSError(f"connection refused (Authorization: Bearer {key.get_secret_value() if key else None})")
        yield from map(Chunk, self.words(request))


# The test that installs these puts `import_line` at the top of the module that provides them.


@broken("test_import_has_no_side_effects")
class HeavyToImport(Echo):
    import_line = "import tiktoken"


@broken("test_import_has_no_side_effects")
class BusyToImport(Echo):
    import_line = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"


@broken("test_import_has_no_side_effects")
class OnlineToImport(Echo):
    import_line = "import socket; socket.getaddrinfo('localhost', 80)"
