"""What the real model answers, and that each option changes it as declared."""

from typing import Any

import pytest

from lollms_core import (
    ContextWindowError,
    GenerationRequest,
    Message,
    ReasoningPart,
    SamplingParams,
    TextPart,
    ToolCall,
    ToolResult,
    UnsupportedOptionError,
    UnsupportedOptionWarning,
)
from tests.support.results import known
from tests.transformers.conftest import FRANCE, answer, greedy, prompt_tokens, raw

pytestmark = pytest.mark.model


def test_a_question(backend):
    text, end = answer(backend, greedy(FRANCE))
    assert text == "The capital of France is Paris."
    assert end.finish_reason == "stop"
    assert known(end.usage).completion_tokens == 8  # seven words and marks, and the end of the turn
    assert prompt_tokens(end) > 20


def test_instruct_sends_the_prompt_untouched(backend, smol):
    text, end = answer(backend, raw("The capital of France is", 3))
    assert prompt_tokens(end) == len(smol.tokenizer("The capital of France is")["input_ids"])
    assert "Paris" in text


def test_a_conversation_goes_through_the_template(smol):
    from lollms_transformers.prompts import build_prompt

    messages = (Message("user", "My name is Zebulon."), Message("assistant", "Hello."), Message("user", "Who am I?"))
    prompt = build_prompt(smol, GenerationRequest(messages=messages, system_prompt="Be kind."))
    assert smol.tokenizer.decode(prompt.tokens) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nMy name is Zebulon.<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n"
        "<|im_start|>user\nWho am I?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_an_unfinished_assistant_message_is_continued(backend):
    messages = (Message("user", FRANCE), Message("assistant", "The capital of France is"))
    text, _ = answer(
        backend, GenerationRequest(messages=messages, sampling=SamplingParams(n_predict=4, temperature=0.0))
    )
    assert text.startswith(" Paris")


def test_the_system_prompt_reaches_the_model(backend):
    plain, first = answer(backend, greedy("Hello", 8))
    told, second = answer(
        backend, greedy("Hello", 8, system_prompt="You are a pirate captain. Always answer in pirate slang.")
    )
    assert told != plain
    assert prompt_tokens(second) != prompt_tokens(first)


def test_a_template_without_system_role_gets_it_in_the_first_message(smol):
    import dataclasses

    from lollms_transformers.prompts import _rendered

    refusing = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    silent = "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    conversation = (Message("system", "Be brief."), Message("user", "Hi"))
    import copy

    for template in (refusing, silent):
        tokenizer = copy.copy(smol.tokenizer)
        tokenizer.chat_template = template
        loaded = dataclasses.replace(smol, tokenizer=tokenizer)
        assert _rendered(loaded, conversation, {}) == "[user]Be brief.\n\nHi"


def test_a_template_gets_tools_and_reasoning(smol):
    import copy
    import dataclasses

    from lollms_transformers.prompts import _rendered

    tokenizer = copy.copy(smol.tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}"
        "{{ m.content }}{% for c in m.tool_calls or [] %}<{{ c.function.name }} {{ c.function.arguments.q }}>"
        "{% endfor %}{% if m.role == 'tool' %}={{ m.name }}{% endif %}{% endfor %}"
    )
    call = ToolCall.from_text("search", '{"q": "ships"}', "1")
    talk = (
        Message("user", "Any?"),
        Message("assistant", [ReasoningPart("hm"), TextPart("I look."), call]),
        Message("tool", [ToolResult(text="2", id="1", name="search")]),
    )
    loaded = dataclasses.replace(smol, tokenizer=tokenizer)
    assert _rendered(loaded, talk, {}) == "[user]Any?[assistant](hm)I look.<search ships>[tool]2=search"


def test_the_limit_ends_the_answer(backend):
    text, end = answer(backend, greedy("Count from one to one hundred.", 5))
    assert end.finish_reason == "length"
    assert known(end.usage).completion_tokens == 5
    assert text


def test_stop_sequences_are_exact_across_token_borders(backend):
    whole, _ = answer(backend, greedy(FRANCE))
    stop = "ance is Pa"  # begins and ends inside tokens
    text, end = answer(backend, greedy(FRANCE, sampling={"stop": (stop,)}))
    assert text == whole[: whole.index(stop)]
    assert end.finish_reason == "stop"


def test_text_that_only_began_like_a_stop_sequence_is_not_lost(backend):
    text, _ = answer(backend, greedy(FRANCE, sampling={"stop": ("is Paris!", "Paris.\n")}))
    assert text == "The capital of France is Paris."


def test_the_same_seed_gives_the_same_answer(backend):
    def sampled(seed):
        request = greedy("Tell me a story.", 12, sampling={"temperature": 1.5, "seed": seed, "top_k": 0})
        return answer(backend, request)[0]

    assert sampled(0) == sampled(0)
    assert len({sampled(seed) for seed in range(3)}) > 1


def test_top_k_of_one_is_greedy_at_any_temperature(backend):
    text, _ = answer(backend, greedy(FRANCE, sampling={"temperature": 2.0, "top_k": 1}))
    assert text == "The capital of France is Paris."


def test_a_repeat_penalty_changes_a_repetitive_answer(backend):
    prompt = "la la la la la la la la la la la la"
    plain, _ = answer(backend, raw(prompt, 8))
    punished, _ = answer(backend, raw(prompt, 8, sampling={"repeat_penalty": 2.0, "repeat_last_n": -1}))
    untouched, _ = answer(backend, raw(prompt, 8, sampling={"repeat_penalty": 2.0, "repeat_last_n": 0}))
    assert plain == untouched
    assert punished != plain


def test_n_threads_is_set_for_the_call_that_chooses_it(backend):
    import torch

    seen = []
    before = torch.get_num_threads()
    engine = backend._engine(None)
    answer(backend, greedy("Hi", 1, sampling={"n_threads": 1, "chosen": frozenset({"n_threads"})}))
    engine.call(lambda loaded: seen.append(torch.get_num_threads()))
    answer(backend, greedy("Hi", 1, sampling={"n_threads": 1}))
    engine.call(lambda loaded: seen.append(torch.get_num_threads()))
    assert seen == [1, before]


def test_a_default_n_predict_is_clamped_to_the_window_and_a_chosen_one_refused():
    from lollms_transformers.prompts import token_limit

    assert token_limit(90, 100, SamplingParams(n_predict=4096)) == 10
    assert token_limit(90, 100, SamplingParams()) == 10
    assert token_limit(90, None, SamplingParams(n_predict=7)) == 7
    with pytest.raises(ContextWindowError, match=r"90 tokens, which leaves 10 .* window of 100.*n_predict=11"):
        token_limit(90, 100, SamplingParams(n_predict=11, chosen=frozenset({"n_predict"})))
    with pytest.raises(ContextWindowError, match=r"100 tokens.*100"):
        token_limit(100, 100, SamplingParams())


def test_a_prompt_longer_than_the_window(backend, smol):
    with pytest.raises(ContextWindowError, match="8192"):
        answer(backend, raw("word " * (smol.window + 1)))


def test_a_field_of_extra_that_means_nothing_is_refused(backend):
    with pytest.raises(UnsupportedOptionError, match="num_ctx"):
        answer(backend, greedy("Hi", 1, extra={"num_ctx": 5}))


def test_variables_reach_the_chat_template(smol):
    import copy
    import dataclasses

    from lollms_transformers.prompts import build_prompt

    tokenizer = copy.copy(smol.tokenizer)
    tokenizer.chat_template = "{{ style }}{{ enable_thinking }}{{ messages[0].content }}"
    loaded = dataclasses.replace(smol, tokenizer=tokenizer)
    request = greedy("Hi", extra={"chat_template_kwargs": {"style": "calm "}}, think=False)
    assert tokenizer.decode(build_prompt(loaded, request).tokens) == "calm FalseHi"


def test_think_without_effect_on_this_model_is_said(smol):
    import dataclasses

    from lollms_transformers.prompts import build_prompt

    said: list[Any] = []
    loaded = dataclasses.replace(smol, not_honoured=said.append)
    build_prompt(loaded, greedy("Hi"))
    assert said == []
    build_prompt(loaded, greedy("Hi", think=True))
    assert said == [{"think"}]


def test_think_without_effect_is_a_warning(backend):
    with pytest.warns(UnsupportedOptionWarning, match="does not honour: think"):
        answer(backend, greedy("Hi", 1, think=True))
