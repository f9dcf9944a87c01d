"""Extensions that each have one fault, and the behaviours that must catch it."""

from __future__ import annotations

import asyncio
import threading

from lollms_core import BackendError, Chunk, Extension, LollmsError, ModelInfo, hookimpl
from tests.parity.broken.table import broken

# --- basics -----------------------------------------------------------------------------------------------------------


@broken("test_a_question_is_answered", says="the second call of complete")
class AnswersOnce(Extension):
    def start(self):
        self.asked = 0

    @hookimpl
    def generate(self, request, proceed):
        self.asked += 1
        return proceed(request) if self.asked == 1 else [Chunk(finish_reason="stop")]


@broken("test_a_question_is_answered", says=r"in generate \(.*extensions\.py, line \d+\)", patience=1.0)
class TakesALockForGood(Extension):
    def start(self):
        self.lock = threading.Lock()

    @hookimpl
    def generate(self, request, proceed):
        self.lock.acquire()
        yield from proceed(request)


@broken("test_an_async_question_is_answered", says=r"in generate \(.*extensions\.py, line \d+\)", patience=1.0)
class HangsInAnotherThread(Extension):
    @hookimpl
    def generate(self, request, proceed):
        if threading.current_thread().name != "conformance":
            threading.Event().wait()
        return proceed(request)


@broken("test_an_answer_is_streamed", says=r"stream\(\) gave \['TWO '")
class ForgetsTheFirstPiece(Extension):
    @hookimpl
    def generate(self, request, proceed):
        for chunk in proceed(request):
            if chunk.text != "one ":
                yield chunk._replace(text=chunk.text.upper())


@broken("test_a_question_is_answered", says="FailsAtTheEnd.*failed at the end of an answer.*ZeroDivisionError")
class FailsAtTheEnd(Extension):
    @hookimpl
    def generate(self, request, proceed):
        return proceed(request).at_end(lambda end: 1 / 0)


# --- answers ----------------------------------------------------------------------------------------------------------


@broken("test_answers[Sync]", "test_streams[Async]", says="transparent = False")
class Changes(Extension):
    @hookimpl
    def generate(self, request, proceed):
        return proceed(request).through(lambda chunk: chunk._replace(text=chunk.text.upper()))


@broken("test_many_calls_at_once_do_not_mix[Sync]")
class Mixes(Extension):
    """Keeps in itself what belongs to a call."""

    @hookimpl
    def generate(self, request, proceed):
        self.chunks: list[Chunk] = []
        for chunk in proceed(request):
            self.chunks.append(chunk)
            threading.Event().wait(0.001)
        yield from self.chunks


class Keeping(Extension):
    """A cache; what it takes for the same question, and what it keeps, is its own."""

    def start(self):
        self.kept = {}

    def key(self, request):
        return request.fingerprint()

    def whole(self, said):
        return [Chunk(said.text), Chunk(finish_reason=said.finish_reason, usage=said.usage, metadata=said.metadata)]

    @hookimpl
    def generate(self, request, proceed):
        key = self.key(request)
        if key in self.kept:
            return self.kept[key]

        def keep(end):
            self.kept[key] = self.whole(end.completion)

        return proceed(request).at_end(keep)


@broken("test_whatever_is_asked_makes_a_difference")
class KeepsByThePromptAlone(Keeping):
    def key(self, request):
        return request.prompt


@broken("test_whatever_is_asked_makes_a_difference")
class KeepsWithoutLookingAtImages(Keeping):
    def key(self, request):
        return (request.fingerprint() if not request.images else request.prompt,)


@broken(
    "test_nothing_of_an_answer_is_lost[RichSync]",
    "test_nothing_of_an_answer_is_lost[RichAsync]",
    "test_nothing_of_an_answer_is_lost[RichCoroutine]",
    "test_nothing_of_an_answer_is_lost[RichWhole]",
    says="gave the reasoning ''",
)
class KeepsTheTextAlone(Keeping):
    pass


class Losing(Extension):
    """Passes on less than it gets."""

    def less(self, chunk):
        raise NotImplementedError

    @hookimpl
    def generate(self, request, proceed):
        return proceed(request).through(self.less)


@broken("test_nothing_of_an_answer_is_lost[RichSync]", says=r"gave the tool_calls \(\)")
class LosesParts(Losing):
    def less(self, chunk):
        return None if chunk.part is not None else chunk


@broken("test_nothing_of_an_answer_is_lost[RichAsync]", says="gave the usage Usage")
class LosesUsage(Losing):
    def less(self, chunk):
        return chunk._replace(usage=None)


@broken("test_nothing_of_an_answer_is_lost[RichWhole]", says="gave the metadata {}")
class LosesMetadata(Losing):
    def less(self, chunk):
        return chunk._replace(metadata=None)


@broken("test_nothing_of_an_answer_is_lost[RichSync]", says="'BreaksOverParts'.*beside a text", transparent=False)
class BreaksOverParts(Losing):
    def less(self, chunk):
        return chunk._replace(text=chunk.text + "!")


# --- values -----------------------------------------------------------------------------------------------------------


@broken(
    "test_values[embed-Sync]",
    "test_values[tokenize-Async]",
    "test_values[detokenize-Coroutine]",
    "test_values[count_tokens-Whole]",
    "test_values[list_models-Sync]",
    "test_values[model_info-Async]",
    "test_values[list_personalities-Whole]",
    says="ContractError.*'ForgetsToReturn'|'ForgetsToReturn'",
)
class ForgetsToReturn(Extension):
    @hookimpl
    def embed(self, request, proceed):
        proceed(request)

    tokenize = detokenize = count_tokens = list_models = model_info = list_personalities = embed


@broken("test_values[embed-Sync]", says="where the backend gave")
class EmbedsOnce(Extension):
    def start(self):
        self.kept = {}

    @hookimpl
    async def embed(self, request, proceed):
        if len(request.texts) not in self.kept:
            self.kept[len(request.texts)] = await proceed(request)
        return self.kept[len(request.texts)]


@broken("test_values[embed-Whole]", says=r"in embed \(.*extensions\.py, line \d+\)", patience=1.0)
class AwaitsForever(Extension):
    @hookimpl
    async def embed(self, request, proceed):
        await asyncio.Event().wait()


@broken(
    "test_what_the_backend_lacks[embed-Bare]",
    "test_what_the_backend_lacks[embed-BareAsync]",
    says="without that hook, failed: .*'NoneType' object is not iterable",
)
class TakesNothingForVectors(Extension):
    @hookimpl
    def embed(self, request, proceed):
        return [[round(number, 1) for number in vector] for vector in proceed(request).wait()]


@broken(
    "test_what_the_backend_lacks[list_models-Bare]",
    says=r"gave \[ModelInfo\(name='invented'.* where it gives UnsupportedError",
)
class InventsModels(Extension):
    @hookimpl
    async def list_models(self, request, proceed):
        return await proceed(request) or [ModelInfo(name="invented")]


@broken("test_errors_of_the_backend_pass_for_values[list_models-FailingSync]", says=r"became \[\]")
class HidesErrorsOfValues(Extension):
    @hookimpl
    def list_models(self, request, proceed):
        try:
            return proceed(request).wait()
        except LollmsError:
            return []


# --- ends -------------------------------------------------------------------------------------------------------------


@broken("test_stopping_reaches_the_backend[close-EndlessSync]", patience=4.0)
class HoldsOn(Extension):
    """Leaves open what it no longer reads."""

    def start(self):
        self.held = []

    @hookimpl
    def generate(self, request, proceed):
        self.held.append(iter(proceed(request)))
        for chunk in self.held[-1]:  # noqa: UP028  # `yield from` would close it
            yield chunk


@broken("test_errors_of_the_backend_stay_its_own[FailingSync]")
class Hides(Extension):
    """Makes an answer of an error."""

    @hookimpl
    def generate(self, request, proceed):
        try:
            yield from proceed(request)
        except LollmsError:
            yield Chunk(finish_reason="stop")


@broken("test_errors_of_the_backend_stay_its_own[FailingAsync]")
class Renames(Extension):
    """Takes an error for its own."""

    @hookimpl
    def generate(self, request, proceed):
        try:
            yield from proceed(request)
        except LollmsError as error:
            raise BackendError("something went wrong") from error


# --- life -------------------------------------------------------------------------------------------------------------


@broken("test_one_object_for_two_clients")
class SharesWhatItHasHeard(Extension):
    def __init__(self, **options):
        super().__init__(**options)
        self.heard: list[Chunk] = []

    @hookimpl
    def generate(self, request, proceed):
        if not self.heard:
            self.heard.extend(proceed(request))
        yield from self.heard


@broken("test_closes_and_leaves_nothing", says="threads were left behind", patience=4.0)
class LeavesAThread(Extension):
    def start(self):
        threading.Thread(target=threading.Event().wait, args=(30,), daemon=True).start()


@broken("test_closes_and_leaves_nothing", says="logged a failure: .*the disk is full")
class FailsToEnd(Extension):
    def close(self):
        raise OSError("the disk is full")


@broken("test_goes_with_every_installed_format[echo]")
class DislikesEcho(Extension):
    def start(self):
        if self.client.format == "echo":
            raise OSError("no echo here")
