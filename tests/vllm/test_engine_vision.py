"""Images in vLLM's engine, with a tiny vision model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lollms_core import ELF_COMPLETION_FORMAT, ImageError, InvalidRequestError, LollmsClient
from lollms_core.testing._setting import png
from tests.support.results import result_of
from tests.vllm.test_engine import pytestmark as pytestmark
from tests.vllm.tiny_vision import IMAGE_TOKENS, make_tiny_vision_model

RED, BLUE = png(250, 10, 10), png(10, 10, 250)


@pytest.fixture(scope="module")
def client(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LollmsClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        with LollmsClient(
            model_name=str(make_tiny_vision_model(small_model, tmp_path_factory.mktemp("vision"))),
            default_generation_mode="vllm",
            raise_errors=True,
            dtype="float32",
            enforce_eager=True,
        ) as client:
            yield client


def test_images_reach_the_model(client: LollmsClient) -> None:
    def answer(*images: bytes) -> tuple[str, int | None]:
        completion = result_of(client.complete("What is this?", 6, temperature=0, images=images))
        return completion.text, completion.usage.prompt_tokens

    red, blue, none = answer(RED), answer(BLUE), answer()
    assert answer(RED) == red
    assert len({red[0], blue[0], none[0]}) == 3
    # The patches of each image stand in the prompt.
    assert red[1] == blue[1] == (none[1] or 0) + IMAGE_TOKENS


def test_what_the_model_can_do(client: LollmsClient) -> None:
    assert {"chat", "vision"} <= set(result_of(client.model_info()).capabilities)


def test_images_that_it_cannot_take(client: LollmsClient) -> None:
    with pytest.raises(ImageError, match="URL"):
        client.generate("What is this?", 2, images=["https://images.test/cat.png"])
    with pytest.raises(InvalidRequestError, match="At most 1 image"):
        client.generate("What is this?", 2, images=[RED, BLUE])
    with pytest.raises(ImageError, match="raw"):
        client.generate("<image>", 2, images=[RED], completion_format=ELF_COMPLETION_FORMAT.Instruct)
