"""Everything but generating: tokens, models, embeddings, personalities, images."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lollms_core import ImageError, InvalidRequestError, ModelInfo, TokenCount
from lollms_core.testing._answers import NASTY
from lollms_core.testing._requirements import behaviour, require
from lollms_core.testing._setting import Setting, png

__all__ = ["Queries"]


class Queries(Setting):
    """What a format has works, and what it has not says so."""

    @behaviour
    def test_tokens_round_trip(self) -> None:
        for text in ("Hello, world!", NASTY, " leading and trailing "):
            tokens = self.client.tokenize(text)
            require(
                isinstance(tokens, list) and tokens and all(type(token) is int for token in tokens),
                f"tokenize({text!r}) gave {tokens!r}, not a list of integers",
                "users count and cut prompts by tokens.",
            )
            assert isinstance(tokens, list)
            back = self.client.detokenize(tokens)
            require(
                back == text,
                f"detokenize(tokenize({text!r})) gave {back!r}",
                "a prompt that was cut to fit, token by token, would arrive changed. Add no special tokens in "
                "`tokenize`, clean up no spaces in `detokenize`.",
            )

    @behaviour
    def test_no_tokens_is_no_error(self) -> None:
        require(
            self.client.tokenize("") == [] and self.client.detokenize([]) == "",
            f"tokenize('') gave {self.client.tokenize('')!r}, detokenize([]) {self.client.detokenize([])!r}",
            "the empty end of a text that was split must be as good as any other part.",
        )

    @behaviour
    def test_count_agrees_with_tokenize(self) -> None:
        tokens, count = self.client.tokenize(NASTY), self.client.count_tokens(NASTY)
        why = "users trust an exact count to the last token, and leave room for an estimate."
        if not isinstance(count, TokenCount):
            raise AssertionError(f"count_tokens gave {count!r}, not a TokenCount\nWhy it matters: {why}")
        require(
            count.exact or not self.capabilities.exact_tokens,
            "Capabilities.exact_tokens is declared, and count_tokens says that its number is an estimate",
            why,
        )
        estimates = hasattr(self.client.backend, "count_tokens") and not count.exact
        require(
            count == len(tokens) or (estimates and count > 0),
            f"count_tokens gave {count!r} (exact: {count.exact}), tokenize {len(tokens)} tokens",
            why,
        )

    @behaviour
    def test_token_that_is_none_is_an_error(self) -> None:
        result = self.client.detokenize([-1])
        kind = self.error_of(result, "detokenize([-1])", "garbage would look like text.")
        require(
            kind == InvalidRequestError.__name__,
            f"detokenize([-1]) gave {kind}",
            "the caller is at fault and must see it.",
        )

    @behaviour
    def test_listed_model_can_be_used(self) -> None:
        names = self.client.list_models()
        if isinstance(names, dict):
            self._must_be_unsupported("list_models", names)
            return
        require(
            names and all(isinstance(name, str) and name for name in names),
            f"list_models() gave {names!r}, not names",
            "users choose from this list.",
        )
        own = self.client.model_name
        name = own if own in names else names[0]
        answer = self.client.generate(self.prompt, model_name=name, **self.settings())
        require(
            isinstance(answer, str) and answer,
            f"list_models() offers {name!r}, and generate(model_name={name!r}) gave {answer!r}",
            "what the list offers must work when it is chosen.",
        )

    @behaviour
    def test_model_info_is_about_the_model(self) -> None:
        info = self.client.model_info()
        if isinstance(info, dict):
            self._must_be_unsupported("model_info", info)
            return
        require(
            isinstance(info, ModelInfo)
            and info.name
            and all(
                value is None or (isinstance(value, int) and value > 0)
                for value in (info.context_window, info.parameters, info.size_bytes)
            ),
            f"model_info() gave {info!r}",
            "users plan for the window and the memory by it. Leave at None what is not known.",
        )

    @behaviour
    def test_embeddings_or_an_error(self) -> None:
        result = self.client.embed("The sea is blue.")
        if not self.capabilities.embeddings or (self.embeddings_depend and isinstance(result, dict)):
            self._must_be_unsupported("embed", result)
            return
        why = "vectors of any other shape cannot be stored or compared."
        require(_is_vector(result), f"embed(str) gave {result!r}, not a list of numbers", why)
        texts = ["The sea is blue.", "Completely different words about machines", "x"]
        alone: Any = result
        many: Any = self.client.embed(texts)
        require(
            isinstance(many, list)
            and len(many) == 3
            and all(map(_is_vector, many))
            and len({len(v) for v in many}) == 1,
            f"embed() of three texts gave {many!r}, not three vectors of one length",
            why,
        )
        require(
            all(math.isclose(a, b, rel_tol=1e-2, abs_tol=1e-3) for a, b in zip(alone, many[0], strict=True)),
            "one text has two different embeddings, alone and among others",
            "what is stored would not be found again. Mind the padding of batches.",
        )
        require(many[0] != many[1], "different texts have the same embedding", "every search would find everything.")

    @behaviour
    def test_personalities_or_an_error(self) -> None:
        names = self.client.listMountedPersonalities()
        if not self.capabilities.personalities:
            self._must_be_unsupported("listMountedPersonalities", names)
            return
        require(
            isinstance(names, list) and all(isinstance(name, str) and name for name in names),
            f"listMountedPersonalities() gave {names!r}, not names",
            "users choose from this list.",
        )
        details = self.client.list_personalities(details=True)
        require(
            not isinstance(details, dict)
            and [p.name for p in details] == names
            and len({p.id for p in details}) == len(names),
            f"the details {details!r} do not match the names {names!r}, or two have one id",
            "the id is what a request carries.",
        )

    # What an option does not do for images may be said here; it is not what is looked at.
    @pytest.mark.filterwarnings("ignore::lollms_core.UnsupportedOptionWarning")
    @behaviour
    def test_images_or_an_error(self) -> None:
        result = self.client.generate_with_images("Describe this image:", [png(255, 0, 0)], **self.settings())
        if not self.model_sees():
            why = "the model would describe an image that it never saw."
            kind = self.error_of(result, "an image for a model that does not see", why)
            require(
                kind == ImageError.__name__, f"an image for a model that does not see gave {kind}, not ImageError", why
            )
            return
        require(isinstance(result, str), f"generate_with_images gave {result!r}", "the format declares vision.")
        sent = self.observed()
        plain = self.client.generate("Describe this image:", **self.settings())
        require(
            (result, sent) != (plain, self.observed()),
            f"with and without the image the outcome is the same: {result!r}",
            "the image does not reach the model, which then invents one.",
        )

    @behaviour
    def test_what_is_no_image_is_an_error(self) -> None:
        result = self.client.generate_with_images("Describe this image:", [b"this is no image"], **self.settings())
        kind = self.error_of(result, "bytes that are no image", "servers fail on it in ways of their own.")
        require(
            kind == ImageError.__name__,
            f"bytes that are no image gave {kind}, not ImageError",
            "users need to see which file it is.",
        )

    @pytest.mark.parametrize(
        ("capability", "hooks"),
        [
            ("embeddings", ["embed"]),
            ("personalities", ["list_personalities"]),
            ("exact_tokens", ["tokenize", "detokenize"]),
            ("pull", ["pull_model"]),
        ],
        ids=["embeddings", "personalities", "exact_tokens", "pull"],
    )
    @behaviour
    def test_declared_capability_has_its_hook(self, capability: str, hooks: list[str]) -> None:
        missing = [hook for hook in hooks if not hasattr(self.client.backend, hook)]
        require(
            not (getattr(self.capabilities, capability) and missing),
            f"Capabilities.{capability} is declared, but these hooks are not implemented: {missing}",
            "the table of formats promises what does not work.",
        )

    def _must_be_unsupported(self, call: str, result: Any) -> None:
        __tracebackhide__ = True
        why = "users must be able to tell `there is none` from `something broke`."
        kind = self.error_of(result, f"{call}() of a backend that has no such thing", why)
        require(kind == "UnsupportedError", f"{call}() gave {kind}: {result!r}, UnsupportedError is due", why)


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(x, float) and math.isfinite(x) for x in value)
