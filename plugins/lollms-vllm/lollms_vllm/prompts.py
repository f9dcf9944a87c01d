"""From a request to what the engine takes: the rendered prompt and the sampling parameters.

The prompt is rendered by vLLM's own renderer, as its server does it: the model's chat template, its placeholders for
images, its special tokens. So the engine and the server give the same answer to the same request.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    ContextWindowError,
    GenerationRequest,
    ImageError,
    InvalidRequestError,
)
from lollms_core.protocols.openai import wire_messages
from lollms_vllm.arguments import near_misses

__all__ = ["Prepared", "prepare"]

_FIELDS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "seed": "seed",
}
_ONLY_CHOSEN = frozenset({"top_k", "min_p", "repeat_penalty"})
"""Their defaults are the model's own, as on a server."""


class Prepared(NamedTuple):
    """What `AsyncLLM.generate` is given."""

    prompt: Any
    sampling: Any
    prompt_tokens: int
    preface: str
    """A reasoning tag that the chat template has opened already, so that the answer lacks it."""


async def prepare(engine: Any, request: GenerationRequest) -> Prepared:
    """Render a request for a running engine.

    Raises:
        ImageError: images for a model that does not see, or with a raw prompt.
        InvalidRequestError: a conversation sent raw, or for a model without chat template; unknown sampling fields.
        ContextWindowError: the prompt, and the limit that was chosen, do not fit.
    """
    config = engine.model_config
    if request.all_images and not config.is_multimodal_model:
        raise ImageError(f"{config.model} does not see: it is not a multimodal model", hint="Choose a vision model.")
    if any(image.data is None for image in request.all_images):
        raise ImageError(
            "the engine in this process takes no image URLs",
            hint="Download it yourself and pass the file's path or its bytes; URLs are never fetched.",
        )
    if request.completion_format is ELF_COMPLETION_FORMAT.Chat:
        prompt, text = await _chat(engine, request)
    else:
        prompt, text = await _raw(engine, request)
    count = len(prompt["prompt_token_ids"])
    room = config.max_model_len - count
    limit = request.sampling.n_predict
    if room < 1 or (limit is not None and limit > room and "n_predict" in request.sampling.chosen):
        asked = f" and n_predict asks for {limit} more" if room >= 1 else ""
        raise ContextWindowError(
            f"the prompt has {count} tokens{asked}, but the window of {config.model} is {config.max_model_len}"
        )
    sampling = _sampling(request, config.get_diff_sampling_param(), room)
    preface = "<think>\n" if text.rstrip().endswith("<think>") else ""
    return Prepared(prompt, sampling, count, preface)


async def _chat(engine: Any, request: GenerationRequest) -> tuple[Any, str]:
    from vllm.renderers import ChatParams
    from vllm.renderers.chat_utils import ChatTemplateResolutionError

    arguments = {"add_generation_prompt": True, "continue_final_message": False, **_thinking(request.think)}
    if engine.renderer.tokenizer is not None and not hasattr(engine.renderer.tokenizer, "chat_template"):
        arguments["tokenize"] = True  # Mistral's own tokenizers render to tokens only
    params = ChatParams(chat_template_kwargs=arguments)
    tokens = dataclasses.replace(engine.renderer.default_chat_tok_params, max_total_tokens=None)
    try:
        _, (prompt,) = await engine.renderer.render_chat_async([wire_messages(request.as_messages())], params, tokens)
    except ChatTemplateResolutionError:
        if request.messages:
            raise InvalidRequestError(
                f"{engine.model_config.model} has no chat template, so it takes no conversations",
                hint="Give one prompt, or choose a model that was trained to chat.",
            ) from None
        return await _raw(engine, request)
    return prompt, prompt.get("prompt") or ""


def _thinking(think: bool | str | None) -> dict[str, Any]:
    if think is None:
        return {}
    if isinstance(think, str):
        return {"reasoning_effort": think, "enable_thinking": think != "none"}
    return {"enable_thinking": think}


async def _raw(engine: Any, request: GenerationRequest) -> tuple[Any, str]:
    from vllm.renderers.inputs.preprocess import parse_model_prompt

    if request.messages:
        raise InvalidRequestError(
            "a conversation cannot be sent raw", hint="Give one prompt, or leave out completion_format=Instruct."
        )
    if request.images:
        raise ImageError("a raw prompt (Instruct) cannot carry images", hint="Leave completion_format at Chat.")
    parsed = parse_model_prompt(engine.model_config, request.as_text())
    tokens = dataclasses.replace(engine.renderer.default_cmpl_tok_params, max_total_tokens=None)
    (prompt,) = await engine.renderer.render_cmpl_async([parsed], tokens)
    return prompt, ""


def _sampling(request: GenerationRequest, defaults: Mapping[str, Any], room: int) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    sampling = request.sampling
    values = dict(defaults)
    for name, field in _FIELDS.items():
        value = getattr(sampling, name)
        if value is not None and (name in sampling.chosen or name not in _ONLY_CHOSEN):
            values[field] = value
    values["max_tokens"] = min(room, sampling.n_predict if sampling.n_predict is not None else room)
    values["stop"] = list(sampling.stop)
    values["output_kind"] = RequestOutputKind.DELTA
    if request.json_schema is not None:
        values["structured_outputs"] = StructuredOutputsParams(json=dict(request.json_schema))
    for name in request.extra:
        if name not in SamplingParams.__annotations__ or name.startswith("_"):
            known = [field for field in SamplingParams.__annotations__ if not field.startswith("_")]
            raise InvalidRequestError(f"vLLM has no sampling parameter {name!r}", hint=near_misses(name, known))
    return SamplingParams(**{**values, **request.extra})
