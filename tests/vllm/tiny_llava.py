"""A vision model of a few layers with random weights, made in seconds: enough to see that images reach a model."""

from __future__ import annotations

from pathlib import Path

__all__ = ["make_tiny_llava"]

# Heads of 32 numbers are the smallest that vLLM's attention on a CPU takes.
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}\n{% endfor %}assistant:"
)


def make_tiny_llava(tokenizer_folder: Path, folder: Path) -> Path:
    """Write a LLaVA model with the tokenizer of another model into `folder`."""
    import torch
    from transformers import (
        AutoTokenizer,
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SIZES, image_size=28, patch_size=14, projection_dim=64),
        text_config=LlamaConfig(**SIZES, vocab_size=image_token + 8, max_position_embeddings=512),
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
        chat_template=TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
