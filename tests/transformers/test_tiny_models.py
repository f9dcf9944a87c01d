"""Other architectures, as tiny models with random weights: images, caches that cannot be cut, encoders."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lollms_core import (
    CloseRequest,
    EmbedRequest,
    Image,
    ImageError,
    Message,
    ModelInfoRequest,
    UnsupportedError,
)
from tests.support.results import known
from tests.transformers.conftest import FRANCE, answer, at_once, greedy, make, prompt_tokens, raw, value

pytestmark = pytest.mark.model

SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def picture(colour: tuple[int, int, int]) -> Image:
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.new("RGB", (40, 30), colour).save(buffer, "PNG")
    return Image(buffer.getvalue(), "image/png")


RED, BLUE = (250, 10, 10), (10, 10, 250)


@pytest.fixture(scope="module")
def llava(smol, tmp_path_factory):
    """A two-layer CLIP tower and a two-layer Llama, with SmolLM2's tokenizer and an <image> token."""
    import copy

    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    tokenizer = copy.deepcopy(smol.tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SIZES, image_size=28, patch_size=14, projection_dim=32),
        text_config=LlamaConfig(**SIZES, vocab_size=image_token + 8, max_position_embeddings=256),
        image_token_index=image_token,
        vision_feature_layer=-1,
    )
    model = LlavaForConditionalGeneration(config)
    for parameter in model.parameters():  # larger than usual, so that an image outweighs the text
        parameter.data.normal_(0, 0.3)
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=28),
        tokenizer,
        patch_size=14,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
        chat_template=(
            "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
            "{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
            "{% endfor %}{% endif %}\n{% endfor %}assistant:"
        ),
    )
    folder = tmp_path_factory.mktemp("llava")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    backend = make(folder)
    yield backend
    backend.close(CloseRequest())


def test_images_reach_the_model(llava):
    red = answer(llava, greedy("What is this?", 6, images=(picture(RED),)))
    blue = answer(llava, greedy("What is this?", 6, images=(picture(BLUE),)))
    again = answer(llava, greedy("What is this?", 6, images=(picture(RED),)))
    none = answer(llava, greedy("What is this?", 6))
    assert red[0] == again[0]
    assert len({red[0], blue[0], none[0]}) == 3
    both = answer(llava, greedy("What is this?", 6, images=(picture(RED), picture(BLUE))))
    # Four patches of 14 by 14 pixels in 28 by 28.
    assert prompt_tokens(both[1]) == prompt_tokens(red[1]) + 4


def test_two_images_in_a_conversation_and_a_raw_prompt(llava):
    from lollms_core import GenerationRequest, SamplingParams

    messages = (Message("user", "Compare.", (picture(RED), picture(BLUE))),)
    _, end = answer(llava, GenerationRequest(messages=messages, sampling=SamplingParams(n_predict=2, temperature=0.0)))
    assert known(end.usage).completion_tokens == 2
    _, raw_end = answer(llava, raw("<image> and <image>", 2, images=(picture(RED), picture(BLUE))))
    _, in_front = answer(llava, raw(" and ", 2, images=(picture(RED), picture(BLUE))))
    assert prompt_tokens(raw_end) > 8
    assert prompt_tokens(in_front) > 8


def test_images_and_text_at_the_same_time(llava):
    requests = [greedy("What is this?", 6, images=(picture(RED),)), greedy(FRANCE, 6), greedy("Hi", 6)]
    alone = [answer(llava, request)[0] for request in requests]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda request: answer(llava, request)[0], requests)) == alone


def test_what_a_vision_model_says_of_itself(llava):
    assert "vision" in value(llava.model_info(ModelInfoRequest())).capabilities
    assert len(value(llava.embed(EmbedRequest(texts=("text alone",))))[0]) == 32


def test_bytes_that_are_no_image(llava):
    with pytest.raises(ImageError, match="cannot be read"):
        answer(llava, greedy("?", 2, images=(Image(b"not an image", "image/png"),)))


def test_a_url_is_never_fetched(llava):
    with pytest.raises(ImageError, match="takes no image URLs"):
        answer(llava, greedy("?", 2, images=(Image(None, None, "http://127.0.0.1:9/cat.png"),)))


def test_an_image_for_a_model_without_vision(backend):
    with pytest.raises(ImageError, match="sees no images"):
        answer(backend, greedy("?", 2, images=(picture(RED),)))


def models():
    import torch
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        MambaConfig,
        MambaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    torch.manual_seed(0)
    vocabulary: dict[str, Any] = {"vocab_size": 49152}
    grouped = {**SIZES, **vocabulary, "num_key_value_heads": 2}
    return {
        "grouped-query": (lambda: Qwen2ForCausalLM(Qwen2Config(**grouped)), True),
        "absolute positions": (lambda: GPT2LMHeadModel(GPT2Config(**vocabulary, n_embd=32, n_layer=2, n_head=4)), True),
        "sliding window": (lambda: MistralForCausalLM(MistralConfig(**grouped, sliding_window=8)), False),
        "recurrent": (lambda: MambaForCausalLM(MambaConfig(**vocabulary, hidden_size=32, num_hidden_layers=2)), False),
    }


@pytest.mark.parametrize("kind", ["grouped-query", "absolute positions", "sliding window", "recurrent"])
def test_batches_of_other_architectures_give_the_same_answers(tiny, kind):
    build, flexible = models()[kind]
    model = build()
    for parameter in model.parameters():
        parameter.data.mul_(3)  # sharper choices: random weights give nearly equal scores
    backend = make(tiny(kind.replace(" ", "-"), model))
    requests = [raw("The sea", 6), raw("Once upon a time there was a king", 3), raw("One two three four five six", 9)]
    try:
        alone = [answer(backend, request) for request in requests]
        assert [text for text, _ in at_once(backend, requests)] == [text for text, _ in alone]
        from lollms_transformers.kv import supports_surgery

        assert backend._engine(None).call(lambda loaded: supports_surgery(loaded.model)) is flexible
    finally:
        backend.close(CloseRequest())


def test_an_encoder_embeds_and_does_not_generate(tiny):
    from transformers import BertConfig, BertModel

    backend = make(tiny("bert", BertModel(BertConfig(vocab_size=49152, **SIZES))))
    try:
        assert len(value(backend.embed(EmbedRequest(texts=("a text", "and another, longer one"))))[1]) == 32
        assert value(backend.model_info(ModelInfoRequest())).capabilities == ("embedding",)
        with pytest.raises(UnsupportedError, match="can embed, not generate"):
            answer(backend, greedy(FRANCE))
    finally:
        backend.close(CloseRequest())
