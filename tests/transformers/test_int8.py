"""Eight-bit weights on a CPU: nearly the same results, a quarter of the bytes."""

import pytest
import torch
from lollms_transformers.int8 import Int8Linear, quantize

from lollms_core import CloseRequest, ConfigurationError, EmbedRequest, ModelInfoRequest
from tests.transformers.conftest import FRANCE, MODEL, answer, greedy, make, value

# torch deprecates every way to make a quantized tensor, and the first one made says so.
pytestmark = pytest.mark.usefixtures("as_for_users")


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_gives_nearly_what_the_original_gives(bias):
    torch.manual_seed(0)
    linear = torch.nn.Linear(96, 40, bias=bias)
    x = torch.randn(2, 5, 96)
    with torch.inference_mode():
        exact, close = linear(x), Int8Linear(linear)(x)
    assert close.shape == exact.shape
    assert (close - exact).abs().max() < 0.05 * exact.abs().max()


def test_it_computes_in_float32_only():
    class Half(torch.nn.Linear):
        dtype = torch.bfloat16

    with pytest.raises(ConfigurationError, match="float32"):
        quantize(Half(2, 2))


@pytest.mark.model
def test_the_real_model_still_knows_the_answer():
    backend = make(MODEL, quantization="int8")
    try:
        text, _ = answer(backend, greedy(FRANCE, 12))
        info = value(backend.model_info(ModelInfoRequest()))
        vector = value(backend.embed(EmbedRequest(texts=("text",))))[0]
    finally:
        backend.close(CloseRequest())
    assert text.startswith("The capital of France is Paris.")
    assert (info.dtype, info.parameters) == ("int8", 134515008)
    assert len(vector) == 576
