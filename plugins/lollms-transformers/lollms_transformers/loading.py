"""Loading a model: its configuration, weights, tokenizer and, where it sees images, its processor."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lollms_core import BackendError, LollmsError, ModelLoadError
from lollms_transformers.hardware import check_quantization, gguf_dtype, pick_device, pick_dtype
from lollms_transformers.sources import LOCAL_HINT, Source, find_source

if TYPE_CHECKING:
    import torch

    from lollms_transformers.options import TransformersOptions

__all__ = ["LoadedModel", "failure", "load_model"]

logger = logging.getLogger("lollms.transformers")

_END_OF_TURN = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<turn|>",
    "<|return|>",
)
"""Tokens that end an answer. Converted checkpoints often name only one of them as the end of sequence."""


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A model in memory, with what generation needs to know about it."""

    name: str
    model: Any
    tokenizer: Any
    processor: Any | None
    """`None` if the model sees no images."""
    device: torch.device
    dtype: torch.dtype
    window: int | None
    """Tokens that prompt and answer may have together; `None` if the model does not say."""
    end_tokens: frozenset[int]
    pad_token: int
    generates: bool
    """`False` for encoders, which can only embed."""
    parameters: int
    quantization: str | None = None
    tokenizer_lock: threading.Lock = field(default_factory=threading.Lock)
    """A fast tokenizer is not safe to share between threads while its settings change."""
    not_honoured: Callable[[set[str]], None] | None = None
    """Says that a chosen option has no effect on this model. Called in the engine's thread."""


def load_model(name: str, options: TransformersOptions, token: str | None, ctx_size: int | None) -> LoadedModel:
    """Load a model by name; converts a GGUF file first.

    Raises:
        ModelNotFoundError, ModelLoadError: it is not there, or something is missing or damaged.
        ConfigurationError, MissingDependencyError: the options ask for what this machine cannot do.
    """
    import torch

    source = find_source(name, options.folders)
    device = pick_device(options.device)
    check_quantization(options.quantization, device)
    place = _Place.of(source, options, token, device)
    try:
        config = place.load("AutoConfig")
        dtype = pick_dtype(options, device, config)
        model = _load_weights(place, config, dtype, device, options)
        tokenizer = place.load("AutoTokenizer")
        processor = _load_processor(place, config)
    except LollmsError:
        raise
    except torch.OutOfMemoryError as error:
        raise ModelLoadError(
            f"{name!r} does not fit into the memory of {device}",
            hint="Use quantization='4bit' or '8bit', a smaller model, or device='cpu'.",
        ) from error
    except Exception as error:
        raise _unloadable(name, error) from error
    return _described(source, model, tokenizer, processor, device, options, ctx_size)


@dataclass(slots=True)
class _Place:
    """What `from_pretrained` needs to find the files of one model."""

    where: str
    arguments: dict[str, Any]

    @classmethod
    def of(cls, source: Source, options: TransformersOptions, token: str | None, device: torch.device) -> _Place:
        if source.kind == "gguf" and source.path is not None:
            from lollms_transformers.gguf_cache import converted

            return cls(str(converted(source.path, gguf_dtype(options, device))), {"local_files_only": True})
        if source.path is not None:
            return cls(str(source.path), {"local_files_only": True, "trust_remote_code": options.trust_remote_code})
        from lollms_transformers.hub import available_offline

        arguments: dict[str, Any] = {
            "trust_remote_code": options.trust_remote_code,
            "revision": options.revision or "main",
        }
        if token is not None:
            arguments["token"] = token
        if available_offline(source.name, arguments["revision"], token):
            arguments["local_files_only"] = True
        return cls(source.name, arguments)

    def load(self, auto_class: str, **more: Any) -> Any:
        import transformers

        from lollms_transformers.quiet import quiet_transformers

        with quiet_transformers():
            return getattr(transformers, auto_class).from_pretrained(self.where, **self.arguments, **more)


def _unloadable(name: str, error: Exception) -> ModelLoadError:
    if "trust_remote_code" in str(error):  # transformers refuses with a ValueError like any other
        return ModelLoadError(
            f"{name!r} brings its own code, which is not run unless asked for",
            hint="Pass trust_remote_code=True if you have read that code and trust it.",
        )
    return ModelLoadError(f"{name!r} cannot be loaded: {_first_line(error)}", hint=LOCAL_HINT)


def _model_class(config: Any) -> str:
    """Which of transformers' auto classes fits: image-text, causal, or (for embedding only) the bare encoder."""
    from transformers.models.auto import modeling_auto as auto

    architectures = getattr(config, "architectures", None) or []
    image_text = auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    causal = auto.MODEL_FOR_CAUSAL_LM_MAPPING
    if type(config) in image_text:
        text_only = type(config) in causal and any("CausalLM" in name for name in architectures)
        return "AutoModelForCausalLM" if text_only else "AutoModelForImageTextToText"
    decoder = any(part in name for name in architectures for part in ("CausalLM", "LMHeadModel", "Generation"))
    encoder = type(config) in auto.MODEL_FOR_MASKED_LM_MAPPING
    if encoder and not decoder and (type(config) not in causal or config.model_type in _ENCODERS):
        return "AutoModel"
    if type(config) in causal:
        return "AutoModelForCausalLM"
    remote = getattr(config, "auto_map", None) or {}
    for auto_class in ("AutoModelForImageTextToText", "AutoModelForCausalLM"):
        if auto_class in remote:
            return auto_class
    raise ModelLoadError(
        f"the architecture {', '.join(architectures) or config.model_type!r} does not generate text",
        hint="Choose a causal or image-text model.",
    )


_ENCODERS = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra", "ernie", "roformer", "rembert", "xlm"})
"""Encoders that transformers can also load as decoders, which they were not trained to be."""


def _load_weights(place: _Place, config: Any, dtype: Any, device: torch.device, options: TransformersOptions) -> Any:
    arguments: dict[str, Any] = {"dtype": dtype, "config": config}
    if options.attn_implementation is not None:
        arguments["attn_implementation"] = options.attn_implementation
    if options.quantization in ("8bit", "4bit"):
        # Not run by this project's tests, which have no CUDA device.
        from transformers import BitsAndBytesConfig

        wanted = options.quantization
        arguments["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_8bit=wanted == "8bit", load_in_4bit=wanted == "4bit", bnb_4bit_compute_dtype=dtype
        )
    if device.type != "cpu":
        arguments["device_map"] = {"": str(device)}
    model = place.load(_model_class(config), **arguments).eval()
    model._lollms_parameters = model.num_parameters()  # before layers are replaced by ones that torch does not count
    if options.quantization == "int8":
        from lollms_transformers.int8 import quantize

        quantize(model)
    return model


def _load_processor(place: _Place, config: Any) -> Any | None:
    from transformers.models.auto import modeling_auto as auto

    if type(config) not in auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return None
    try:
        processor = place.load("AutoProcessor")
    except Exception as error:
        logger.warning(
            "the model's image processor cannot be loaded, so it will not see images: %s", _first_line(error)
        )
        return None
    return processor if hasattr(processor, "image_processor") else None


def _described(
    source: Source,
    model: Any,
    tokenizer: Any,
    processor: Any | None,
    device: torch.device,
    options: TransformersOptions,
    ctx_size: int | None,
) -> LoadedModel:
    end_tokens = _end_tokens(model, tokenizer)
    pad = tokenizer.pad_token_id
    if pad is None:
        pad = min(end_tokens, default=0)
    generates = bool(model.can_generate())
    if generates:
        _neutral_generation_config(model, pad)
    loaded = LoadedModel(
        name=source.name,
        model=model,
        tokenizer=tokenizer,
        processor=processor,
        device=device,
        dtype=model.dtype,
        window=_window(model.config, tokenizer, ctx_size),
        end_tokens=end_tokens,
        pad_token=pad,
        generates=generates,
        parameters=model._lollms_parameters,
        quantization=options.quantization,
    )
    logger.info(
        "loaded %s on %s in %s%s, window %s",
        source.name,
        device,
        str(loaded.dtype).removeprefix("torch."),
        f" ({options.quantization})" if options.quantization else "",
        loaded.window,
    )
    return loaded


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found = set(configured if isinstance(configured, list | tuple) else [configured])
    found.add(tokenizer.eos_token_id)
    special = tokenizer.get_added_vocab()
    found.update(special[token] for token in _END_OF_TURN if token in special)
    return frozenset(token for token in found if token is not None)


def _neutral_generation_config(model: Any, pad: int) -> None:
    """Keep the checkpoint's sampling defaults where the rows can read them, and out of `generate`'s way.

    The rows of a batch sample for themselves; `generate` itself runs greedily and must not penalise or stop rows.
    """
    own = model.generation_config
    model._lollms_defaults = own.to_dict()
    for name, value in {
        "do_sample": False,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
    }.items():
        setattr(own, name, value)
    for name in ("min_p", "typical_p", "max_length", "max_new_tokens", "eos_token_id", "forced_eos_token_id"):
        setattr(own, name, None)
    own.pad_token_id = pad


def _window(config: Any, tokenizer: Any, ctx_size: int | None) -> int | None:
    text = config.get_text_config()
    own: int | None = None
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length"):
        value = getattr(text, name, None)
        if isinstance(value, int) and value > 0:
            own = value
            break
    if own is None and tokenizer.model_max_length < 1_000_000_000:
        own = int(tokenizer.model_max_length)
    if ctx_size is None or own is None:
        return own if ctx_size is None else ctx_size
    if ctx_size > own:
        logger.warning("ctx_size is %d, but the model's window has %d tokens; the model's is used", ctx_size, own)
    return min(own, ctx_size)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


def failure(error: Exception, doing: str) -> Exception:
    """What a caller gets for an exception of the library: ours as itself, memory with a hint, the rest wrapped.

    A warning that the caller's filters have made an error stays what it is.
    """
    if isinstance(error, LollmsError | Warning):
        return error
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        wrapped = BackendError(
            f"out of memory while {doing}",
            hint="Shorten the prompt, lower n_predict or max_batch_size, set quantization, or use a smaller model.",
            retryable=True,
        )
    else:
        wrapped = BackendError(f"{_first_line(error)} (while {doing})")
    wrapped.__cause__ = error
    return wrapped
