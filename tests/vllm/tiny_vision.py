"""A vision model of a few layers with random weights, made in seconds: enough to see that images reach a model.

BLIP-2, because vLLM's code for it does without torchvision, which does not fit the CPU build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["IMAGE_TOKENS", "make_tiny_vision_model"]

# Heads of 32 numbers are the smallest that vLLM's attention on a CPU takes.
SIZES: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}

IMAGE_TOKENS = 4
"""The tokens of one image in the prompt: the queries of the Q-Former."""

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}\n"
    "{% endfor %}assistant:"
)


def make_tiny_vision_model(tokenizer_folder: Path, folder: Path) -> Path:
    """Write a model with the tokenizer of another one into `folder`."""
    import torch
    from transformers import (
        AutoTokenizer,
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        BlipImageProcessorPil,
        LlamaConfig,
    )

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    image_token: Any = tokenizer.convert_tokens_to_ids("<image>")
    text = LlamaConfig(**SIZES, vocab_size=image_token + 8, max_position_embeddings=512)
    text.architectures = ["LlamaForCausalLM"]
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**SIZES, image_size=28, patch_size=14),
        qformer_config=Blip2QFormerConfig(**SIZES, encoder_hidden_size=64),
        text_config=text,
        num_query_tokens=IMAGE_TOKENS,
        image_token_index=image_token,
    )
    model = Blip2ForConditionalGeneration(config)
    for parameter in model.parameters():  # larger than usual, so that an image outweighs the text
        parameter.data.normal_(0, 0.3)
    processor = Blip2Processor(
        BlipImageProcessorPil(size={"height": 28, "width": 28}), tokenizer, num_query_tokens=IMAGE_TOKENS
    )
    processor.chat_template = TEMPLATE
    tokenizer.chat_template = TEMPLATE
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
