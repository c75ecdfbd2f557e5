import pytest
import torch

from src.nets.layers.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.99])
def test_kept_fraction_and_scale(p: float) -> None:
    torch.manual_seed(0)
    layer = Dropout(p).double()
    x = torch.ones(4, 1, 250, 401, dtype=torch.float64)
    out = layer(x)
    kept = out != 0
    deviation = (p * (1 - p) / x.numel()) ** 0.5
    assert float(kept.double().mean()) == pytest.approx(1 - p, abs=4 * deviation)
    torch.testing.assert_close(
        out[kept], torch.full((int(kept.sum()),), 1 / (1 - p), dtype=torch.float64), rtol=2e-3, atol=0
    )
    # The expectation is exact although p is rounded to 2^-16.
    assert float(out[kept][0]) == pytest.approx(65536 / (65536 - round(p * 65536)), rel=1e-12)
    # Each of the four 16-bit parts of a random word has the same probability; a constant sign bit would fail here.
    places = kept.flatten()[: kept.numel() // 4 * 4].reshape(-1, 4).double().mean(0)
    torch.testing.assert_close(places, torch.full_like(places, 1 - p), rtol=0, atol=8 * deviation)
    # Neighboring elements are uncorrelated.
    a, b = kept.flatten()[:-1].double(), kept.flatten()[1:].double()
    assert abs(float(((a - a.mean()) * (b - b.mean())).mean()) / (p * (1 - p))) < 4 / x.numel() ** 0.5


def test_gradient_is_the_mask() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 7, 2, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.3)(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(gradient * x, out, rtol=1e-12, atol=0)
    assert 0 < int((gradient == 0).sum()) < x.numel()


def test_mask_depends_on_the_generator_and_the_memory_order() -> None:
    layer = Dropout(0.4)
    x = torch.randn(2, 3, 5, 7)
    masks = []
    for image in (x, x, x.contiguous(memory_format=torch.channels_last)):
        torch.manual_seed(1)
        masks.append(layer(image) != 0)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0].flatten(), masks[2].permute(0, 2, 3, 1).flatten())
    assert not torch.equal(layer(x) != 0, layer(x) != 0)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_p_zero_p_one_and_eval_mode(p: float) -> None:
    x = torch.randn(2, 3)
    assert torch.equal(Dropout(p)(x), x * (1 - p))
    assert torch.equal(Dropout(0.5).eval()(x), x)


def test_backward_keeps_only_a_boolean_mask() -> None:
    kept: list[torch.Tensor] = []
    x = torch.randn(4, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        Dropout(0.5)(x)
    assert [t.dtype for t in kept] == [torch.bool]
