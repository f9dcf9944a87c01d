"""From a request to the tokens that the model is fed: chat template or raw text, images, and the window's limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    ContextWindowError,
    EmptyPromptError,
    GenerationRequest,
    ImageError,
    InvalidRequestError,
    Message,
    SamplingParams,
    UnsupportedOptionError,
)
from lollms_transformers.loading import LoadedModel

__all__ = ["Prompt", "build_prompt", "chat_template_of", "takes_think", "token_limit"]

TEMPLATE_ARGUMENTS = "chat_template_kwargs"
"""The one field of `GenerationRequest.extra` that this format knows: variables for the chat template."""


@dataclass(slots=True)
class Prompt:
    """What the model is fed."""

    tokens: list[int]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Tensors that the processor made of images, for the first pass through the model."""


def build_prompt(loaded: LoadedModel, request: GenerationRequest) -> Prompt:
    """The tokens of a request.

    Raises:
        ImageError: the model sees no images, or one is a URL, which is never fetched.
        InvalidRequestError: the chat template refuses the conversation.
        UnsupportedOptionError: `extra` has a field that means nothing here.
    """
    variables = _template_variables(request)
    template = chat_template_of(loaded)
    if request.think is not None and not takes_think(loaded) and loaded.not_honoured is not None:
        loaded.not_honoured({"think"})
    raw = request.completion_format is ELF_COMPLETION_FORMAT.Instruct or template is None
    if request.all_images:
        return _with_images(loaded, request, None if raw else variables)
    if raw:
        text, special = request.as_text(), True
    else:
        text, special = _rendered(loaded, request.as_messages(), variables), False  # the template writes its own
    with loaded.tokenizer_lock:
        tokens: list[int] = loaded.tokenizer(text, add_special_tokens=special)["input_ids"]
    if not tokens:
        raise EmptyPromptError("the prompt has no tokens")
    return Prompt(tokens)


def chat_template_of(loaded: LoadedModel) -> str | None:
    """The model's chat template, of its processor or its tokenizer; `None` if it has none."""
    for owner in (loaded.processor, loaded.tokenizer):
        template = getattr(owner, "chat_template", None)
        if isinstance(template, Mapping):
            template = template.get("default")
        if template:
            return str(template)
    return None


def takes_think(loaded: LoadedModel) -> bool:
    """Whether the chat template can be told to let the model reason, or not to."""
    return "enable_thinking" in (chat_template_of(loaded) or "")


def token_limit(prompt_tokens: int, window: int | None, sampling: SamplingParams) -> int:
    """How many tokens the answer may have.

    Raises:
        ContextWindowError: the prompt does not fit into the window, or a chosen `n_predict` does not fit beside it.
    """
    wanted = sampling.n_predict
    if window is None:
        return 4096 if wanted is None else wanted
    room = window - prompt_tokens
    if room < 1:
        raise ContextWindowError(
            f"the prompt has {prompt_tokens} tokens, but the window has {window}",
            hint="Shorten the prompt, raise ctx_size where the model's window is larger, or choose another model.",
        )
    if wanted is not None and wanted > room and "n_predict" in sampling.chosen:
        raise ContextWindowError(
            f"the prompt has {prompt_tokens} tokens, which leaves {room} of the model's window of {window}; "
            f"n_predict={wanted} does not fit"
        )
    return room if wanted is None else min(wanted, room)


def _template_variables(request: GenerationRequest) -> dict[str, Any]:
    unknown = [name for name in request.extra if name != TEMPLATE_ARGUMENTS]
    if unknown:
        raise UnsupportedOptionError(
            f"the transformers format knows no field {unknown[0]!r}", hint=f"It knows one: {TEMPLATE_ARGUMENTS!r}."
        )
    variables = dict(request.extra.get(TEMPLATE_ARGUMENTS, {}))
    if request.think is not None:
        variables.setdefault("enable_thinking", request.think is not False)
    return variables


def _rendered(loaded: LoadedModel, messages: tuple[Message, ...], variables: Mapping[str, Any]) -> str:
    """The conversation through the chat template. Without a system role, it goes into the first user message."""
    import jinja2

    conversation = [form for message in messages for form in _template_forms(message, message.text)]
    system = messages[0].text if messages[0].role == "system" else ""
    try:
        text = _apply(loaded, conversation, variables)
        if not system or system.strip() in text:
            return text
    except jinja2.TemplateError as error:
        if not system:
            raise _refused(error) from error
    try:
        return _apply(loaded, _system_in_user(conversation), variables)
    except jinja2.TemplateError as error:
        raise _refused(error) from error


def _template_forms(message: Message, content: Any) -> Iterator[dict[str, Any]]:
    """A message as chat templates know it (transformers, "Tool use": the arguments are an object there)."""
    for result in message.tool_results:
        yield {"role": "tool", "name": result.name, "tool_call_id": result.id, "content": result.text}
    form: dict[str, Any] = {"role": message.role, "content": content}
    if message.reasoning:
        form["reasoning_content"] = message.reasoning
    if message.tool_calls:
        form["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": dict(call.arguments or {})},
            }
            for call in message.tool_calls
        ]
    if len(form) > 2 or message.text or message.images or not message.tool_results:
        yield form


def _refused(error: Exception) -> InvalidRequestError:
    return InvalidRequestError(
        f"the model's chat template refuses this conversation: {error}",
        hint="Most templates want user and assistant to take turns, beginning with user; Instruct sends text as it is.",
    )


def _system_in_user(conversation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    system, *rest = conversation
    for index, message in enumerate(rest):
        if message["role"] == "user":
            content = f"{system['content']}\n\n{message['content']}"
            return [*rest[:index], {"role": "user", "content": content}, *rest[index + 1 :]]
    return [{"role": "user", "content": system["content"]}, *rest]


def _apply(loaded: LoadedModel, conversation: list[dict[str, Any]], variables: Mapping[str, Any]) -> str:
    with_template: Any = loaded.processor if getattr(loaded.processor, "chat_template", None) else loaded.tokenizer
    unfinished = conversation[-1]["role"] == "assistant"
    text: str = with_template.apply_chat_template(
        conversation,
        tokenize=False,
        add_generation_prompt=not unfinished,
        continue_final_message=unfinished,
        **variables,
    )
    return text


def _with_images(loaded: LoadedModel, request: GenerationRequest, variables: Mapping[str, Any] | None) -> Prompt:
    """`variables` are those of the template; `None` sends raw text, with the images in front of it."""
    if loaded.processor is None:
        raise ImageError(f"the model {loaded.name} sees no images", hint="Choose an image-text model.")
    images = [_opened(image) for image in request.all_images]
    if variables is None:
        mark = getattr(loaded.processor, "image_token", "<image>")
        text = request.prompt if mark in request.prompt else mark * len(images) + "\n" + request.as_text()
    else:
        conversation = [
            form
            for message in request.as_messages()
            for form in _template_forms(
                message, [{"type": "image"}] * len(message.images) + [{"type": "text", "text": message.text}]
            )
        ]
        text = _apply(loaded, conversation, variables)
    with loaded.tokenizer_lock:
        inputs = loaded.processor(text=[text], images=images, return_tensors="pt", add_special_tokens=variables is None)
    tokens = inputs.pop("input_ids")[0].tolist()
    inputs.pop("attention_mask", None)
    return Prompt(tokens, {name: _placed(value, loaded) for name, value in inputs.items()})


def _placed(value: Any, loaded: LoadedModel) -> Any:
    if not hasattr(value, "to"):
        return value
    return value.to(loaded.device, loaded.dtype) if value.is_floating_point() else value.to(loaded.device)


def _opened(image: Any) -> Any:
    if image.data is None:
        raise ImageError(
            f"a model in this process takes no image URLs: {image.place}", hint="Download the image and pass its path."
        )
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(image.data)).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"an image cannot be read: {error}") from error
