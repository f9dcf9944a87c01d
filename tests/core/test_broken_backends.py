"""What breaks the contract is told as that: which hook, what was due, and whose fault it is."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from lollms_core import MSG_TYPE, BackendError, ContractError, LollmsClient
from tests.support.waiting import PATIENCE

HEAD = """
import functools
from pydantic import BaseModel, Field
from lollms_core import *

class B(Backend):
    contract_version = 1
"""
GENERATE = """
    @hookimpl
    def generate(self, request):
        yield Chunk("text", finish_reason="stop")
"""


def hook(name: str, body: str) -> str:
    return f"{GENERATE}\n    @hookimpl\n    def {name}(self, request):\n        {body}\n"


MADE = {
    "a contract version that is a text": ("    contract_version = '1'" + GENERATE, "contract_version that is a str"),
    "capabilities that are a dictionary": ("    capabilities = {'vision': True}" + GENERATE, "capabilities are a dict"),
    "an option that there is not": (
        "    capabilities = Capabilities(options=frozenset({'n_predikt'}))" + GENERATE,
        "'n_predikt' that does not exist. Did you mean 'n_predict'",
    ),
    "a part that there is not": (
        "    capabilities = Capabilities(parts=frozenset({'tool_cal'}))" + GENERATE,
        "'tool_cal' that does not exist. Did you mean 'tool_call'",
    ),
    "options that are one text": ("    capabilities = Capabilities(options='stop')" + GENERATE, "options are a str"),
    "capabilities that go wrong later": (
        GENERATE
        + "    def __init__(self, settings):\n        super().__init__(settings)\n        self.capabilities = None\n",
        "capabilities are a NoneType",
    ),
    "no call of super": (
        GENERATE + "    def __init__(self, settings):\n        self.mine = settings\n",
        r"does not call super\(\).__init__",
    ),
    "a misspelt hook": (hook("list_modles", "return []"), "no hook 'list_modles'"),
    "a misspelt generate": (GENERATE.replace("generate", "genrate"), "no hook 'genrate'"),
    "a hook without its mark": (GENERATE.replace("@hookimpl", ""), "lacks @hookimpl"),
    "a capability that is a text": (
        "    capabilities = Capabilities(vision='no')" + GENERATE,
        "its capabilities' vision is a str, not True or False",
    ),
    "a neutral value that is a text": (
        "    neutral = {'temperature': 'hot'}" + GENERATE,
        "its neutral has a str for 'temperature', not a number",
    ),
    "a hook that is no method": (
        "    def __init__(self, settings):\n        super().__init__(settings)\n        self.embed = lambda request: []"
        + GENERATE,
        "its 'embed' is no method of its class, and would never be called",
    ),
    "a misspelt nonblocking": (
        "    non_blocking = frozenset({'generate'})" + GENERATE,
        "has 'non_blocking', which nothing reads. Did you mean 'nonblocking'",
    ),
    "a close that is a generator": (hook("close", "yield"), "its method 'close' is a generator, .* would never run"),
    "a close that is an async generator": (
        hook("close", "yield").replace("def close", "async def close"),
        "its method 'close' is a generator, .* would never run",
    ),
    "a nonblocking that names no hook": ("    nonblocking = {'embd'}" + GENERATE, "nonblocking is not a set"),
    "a neutral value of what is no parameter": (
        "    neutral = {'top_kk': 0}" + GENERATE,
        "'top_kk', which is no parameter",
    ),
    "an option by another name": (
        "    class Options(BaseModel):\n        max_words: int = Field(99, alias='maxWords')\n" + GENERATE,
        "give 'max_words' an alias",
    ),
    "a hook in a cache": (
        GENERATE + "    @functools.cache\n    @hookimpl\n    def list_models(self, request):\n        return []\n",
        "its 'list_models' is .* and not a function",
    ),
    "a cache in a hook's mark": (
        GENERATE + "    @hookimpl\n    @functools.cache\n    def list_models(self, request):\n        return []\n",
        "its 'list_models' is .* and not a function",
    ),
    "options of another kind": ("    Options = dict" + GENERATE, "Options is not a pydantic model"),
    "a wrong signature": (GENERATE.replace("request)", "prompt)"), "generate"),
}
ASKED = {
    "models that are texts": (
        "list_models",
        "return ['a']",
        lambda c: c.list_models(),
        "list of str where a list of ModelInfo",
    ),
    "models that are one": ("list_models", "return ModelInfo(name='a')", lambda c: c.list_models(), "gave a ModelInfo"),
    "tokens that are a text": ("tokenize", "return 'ab'", lambda c: c.tokenize("a"), "gave a str where a list of int"),
    "tokens that are texts": (
        "tokenize",
        "return ['a']",
        lambda c: c.count_tokens("a"),
        "list of str where a list of int",
    ),
    "a text that is bytes": ("detokenize", "return b'a'", lambda c: c.detokenize([1]), "gave a bytes where a str"),
    "a count that is a float": (
        "count_tokens",
        "return 1.5",
        lambda c: c.count_tokens("a"),
        "gave a float where a TokenCount",
    ),
    "vectors that are numbers": (
        "embed",
        "return [1.0]",
        lambda c: c.embed("a"),
        "list of float where a list of lists",
    ),
    "vectors of texts": ("embed", "return [['a']]", lambda c: c.embed("a"), "list of str where a list of numbers"),
    "too many vectors": ("embed", "return [[1.0], [2.0]]", lambda c: c.embed("a"), "gave 2 embeddings for 1 texts"),
    "a model that is a dictionary": (
        "model_info",
        "return {}",
        lambda c: c.model_info(),
        "gave a dict where a ModelInfo",
    ),
    "personalities that are texts": (
        "list_personalities",
        "return ['a']",
        lambda c: c.list_personalities(),
        "where a list of Personality",
    ),
    "no models at all": ("list_models", "request", lambda c: c.list_models(), "`list_models` .* gave nothing"),
    "models and other things": (
        "list_models",
        "return [ModelInfo(name='a'), 'b']",
        lambda c: c.list_models(),
        "gave a list of ModelInfo, str where a list of ModelInfo",
    ),
    "vectors of different lengths": (
        "embed",
        "return [[1.0], [1.0, 2.0]]",
        lambda c: c.embed(["a", "b"]),
        "gave embeddings of different lengths: 1, 2",
    ),
    "a vector that is none": (
        "embed",
        "return [[1.0, float('nan')]]",
        lambda c: c.embed("a"),
        "gave an embedding in which a number is infinite or NaN",
    ),
    "vectors without numbers": (
        "embed",
        "return [[]]",
        lambda c: c.embed("a"),
        "gave embeddings without numbers",
    ),
    "a window that is a text": (
        "model_info",
        "return ModelInfo(name='a', context_window='4096')",
        lambda c: c.model_info(),
        "gave a ModelInfo whose context_window is a str, not int or None",
    ),
    "a model without a name": (
        "list_models",
        "return [ModelInfo(name='a'), ModelInfo(name=None)]",
        lambda c: c.list_models(),
        "gave a ModelInfo whose name is a NoneType, not str",
    ),
    "a personality whose category is a list": (
        "list_personalities",
        "return [Personality(id=1, name='a', category=['b'])]",
        lambda c: c.list_personalities(),
        "gave a Personality whose category is a list, not str or None",
    ),
    "a step of a text of bytes": (
        "pull_model",
        "yield PullProgress('a', '1 MB')",
        lambda c: list(c.pull_model("a")),
        "gave a PullProgress whose completed is a str, not int or None",
    ),
    "work that is not begun": (
        "embed",
        "return FuturePending([[1.0]], request.cancel)",
        lambda c: c.embed("a"),
        "was given a list where a function that begins the work is due",
    ),
    "work without a token": (
        "embed",
        "return FuturePending(lambda: None, None)",
        lambda c: c.embed("a"),
        "was given a NoneType where the request's `cancel` is due",
    ),
    "work without a future": (
        "embed",
        "return FuturePending(lambda: [[1.0]], request.cancel)",
        lambda c: c.embed("a"),
        "began a list, not a concurrent.futures.Future",
    ),
    "a download that is a number": (
        "pull_model",
        "return 5",
        lambda c: list(c.pull_model("a")),
        "`pull_model` of the bad format returned an int, which is not a stream: yield steps",
    ),
    "steps that are texts": (
        "pull_model",
        "yield 'half of it'",
        lambda c: list(c.pull_model("a")),
        "gave a str where a PullProgress",
    ),
}
STREAMED = {
    "text after the end": (
        "yield Chunk('a', finish_reason='stop'); yield Chunk('b')",
        "text after the chunk that ended",
    ),
    "a reason that is none": ("yield Chunk('a', finish_reason='done')", "finish reason 'done'"),
    "no chunk": ("yield 'a'", "yielded a str where a Chunk is due"),
    "a text that is none": ("yield Chunk(None)", "text is a NoneType"),
    "a usage in words": (
        "yield Chunk('a', finish_reason='stop', usage=Usage(prompt_tokens='few'))",
        "`generate` of the bad format gave a Usage whose prompt_tokens is a str, not int or None",
    ),
    "an answer that a generator returns": (
        "if 0:\n            yield Chunk('a')\n        return [Chunk('b', finish_reason='stop')]",
        "`generate` of the bad format returns a list from a function with a `yield`",
    ),
    "no stream": ("return 5", "returned an int"),
}


@pytest.mark.parametrize(("source", "said"), MADE.values(), ids=MADE)
def test_made(strangers, source, said):
    strangers.install(HEAD + source, bad="B")
    with pytest.raises(ContractError, match=said) as caught:
        LollmsClient(default_generation_mode="bad")
    assert caught.value.hint


@pytest.mark.parametrize(("name", "body", "ask", "said"), ASKED.values(), ids=ASKED)
def test_asked(strangers, name, body, ask, said):
    strangers.install(HEAD + hook(name, body), bad="B")
    with LollmsClient(default_generation_mode="bad", raise_errors=True) as client:
        with pytest.raises(ContractError, match=said) as caught:
            ask(client)
    assert "author" in caught.value.hint


def test_a_server_that_is_asked_without_the_hooks_request(strangers):
    source = "from lollms_core.http import HTTPBackend\n" + HEAD.replace("(Backend)", "(HTTPBackend)")
    strangers.install(source + hook("list_models", "return self.ask((each for each in ()), self)"), bad="B")
    with LollmsClient(default_generation_mode="bad", raise_errors=True) as client:
        said = "`ask` of the bad format was given a B where the request of the hook is due"
        with pytest.raises(ContractError, match=said):
            client.list_models()
        with pytest.raises(ContractError, match=said):
            asyncio.run(client.alist_models())


@pytest.mark.parametrize(("body", "said"), STREAMED.values(), ids=STREAMED)
def test_streamed(strangers, body, said):
    strangers.install(HEAD + f"    @hookimpl\n    def generate(self, request):\n        {body}\n", bad="B")

    async def awaited():
        async with LollmsClient(default_generation_mode="bad", raise_errors=True) as client:
            return await client.agenerate("hi")

    with LollmsClient(default_generation_mode="bad", raise_errors=True) as client:
        with pytest.raises(ContractError, match=said):
            client.generate("hi")
    with pytest.raises(ContractError, match=said):
        asyncio.run(awaited())


@pytest.mark.parametrize("body", ["return iter([Chunk('a'), Chunk('b')])", "return [Chunk('a'), Chunk('b')]"])
def test_a_coroutine_may_give_an_iterator(strangers, body):
    strangers.install(HEAD + f"    @hookimpl\n    async def generate(self, request):\n        {body}\n", good="B")
    with LollmsClient(default_generation_mode="good", raise_errors=True) as client:
        assert client.generate("hi") == "ab"
        assert asyncio.run(client.agenerate("hi")) == "ab"


def test_a_number_for_the_type_of_a_text(strangers):
    body = f"yield Chunk('hm', {int(MSG_TYPE.MSG_TYPE_REASONING)}); yield Chunk('a')"
    strangers.install(HEAD + f"    @hookimpl\n    def generate(self, request):\n        {body}\n", good="B")
    with LollmsClient(default_generation_mode="good") as client:
        assert "".join(chunk.text for chunk in client.stream("hi") if chunk.is_answer) == "a"


def test_a_program_that_a_coroutine_wants_to_end(strangers):
    """The loop thread serves other calls, too: those go on."""
    source = """
    @hookimpl
    async def generate(self, request):
        if request.prompt == "exit":
            raise SystemExit("no key")
        yield Chunk("begin ")
        await asyncio.sleep(0.3)
        yield Chunk("end")

    @hookimpl
    async def embed(self, request):
        raise SystemExit("no key")
"""
    strangers.install("import asyncio\n" + HEAD + source, bad="B")
    with LollmsClient(default_generation_mode="bad", raise_errors=True) as client:
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(client.generate, "hi")
            with pytest.raises(SystemExit, match="no key"):
                client.generate("exit")
            with pytest.raises(SystemExit, match="no key"):
                client.embed("a")
            assert other.result(PATIENCE) == "begin end"


def test_options_with_names_of_the_clients_own_arguments(strangers):
    source = f"{HEAD}    class Options(BaseModel):\n        strict: bool = False\n{GENERATE}"
    strangers.install("from pydantic import BaseModel\n" + source, bad="B")
    with pytest.raises(ContractError, match=r"names of LollmsClient's own arguments.*: strict"):
        LollmsClient(default_generation_mode="bad")


def test_a_constructor_that_wants_to_end_the_program(strangers):
    strangers.install(
        HEAD + "    def __init__(self, settings):\n        raise SystemExit('no key')\n" + GENERATE, bad="B"
    )
    with pytest.raises(BackendError, match="no key"):
        LollmsClient(default_generation_mode="bad")


def test_what_had_arrived_is_kept(strangers):
    body = "yield Chunk('so far', finish_reason='stop'); yield Chunk('more')"
    strangers.install(HEAD + f"    @hookimpl\n    def generate(self, request):\n        {body}\n", bad="B")
    with LollmsClient(default_generation_mode="bad", raise_errors=True) as client:
        with pytest.raises(ContractError) as caught:
            client.generate("hi")
    assert caught.value.partial_text == "so far"


@pytest.mark.parametrize(
    ("learned", "said"),
    [
        ("{'vision': True}", "capabilities are a dict"),
        ("None", "capabilities are a NoneType"),
        ("Capabilities(options=['stop'])", "options are a list"),
        ("Capabilities(options=frozenset({'max_tokens'}))", "'max_tokens' that does not exist"),
    ],
)
def test_capabilities_that_are_learned_late(strangers, learned, said):
    strangers.install(HEAD + hook("list_models", f"self.capabilities = {learned}; return []"), bad="B")
    with LollmsClient(default_generation_mode="bad", raise_errors=True) as client:
        assert client.generate("hi") == "text"
        client.list_models()
        with pytest.raises(ContractError, match=f"the bad format is not a usable backend: .*{said}"):
            client.generate("hi")
        with pytest.raises(ContractError, match=said):
            asyncio.run(client.agenerate("hi"))


@pytest.mark.parametrize("own", [True, False], ids=["its own promise", "its base's promise"])
def test_a_promise_is_of_the_hooks_that_a_class_has(strangers, own):
    """A hook that a subclass overrides may block, whatever its base has promised of its own."""
    source = f"""
    nonblocking = frozenset({{"list_models"}})
{hook("list_models", "return []")}
class C(B):
    {"nonblocking = B.nonblocking" if own else ""}
    @hookimpl
    def list_models(self, request):
        return [ModelInfo(name=threading.current_thread().name)]
"""
    strangers.install("import threading\n" + HEAD + source, good="C")
    with LollmsClient(default_generation_mode="good", raise_errors=True) as client:
        (name,) = asyncio.run(client.alist_models())
    assert (name == "MainThread") == own


def test_a_part_that_cannot_be_is_an_error_of_the_format(strangers):
    body = "yield Chunk('a'); yield Chunk(part=ToolCall(name=None))"
    strangers.install(HEAD + f"    @hookimpl\n    def generate(self, request):\n        {body}\n", bad="B")
    with LollmsClient(default_generation_mode="bad", raise_errors=True) as client:
        with pytest.raises(
            BackendError, match=r"the bad format failed: .*the name of a tool call must be a str"
        ) as caught:
            client.generate("hi")
    assert caught.value.partial_text == "a"
