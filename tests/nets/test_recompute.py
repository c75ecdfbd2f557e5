from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src.nets.layers.dropout import Dropout
from src.nets.layers.recompute import norm_act_conv
from tests.support.pairwise import pairwise


def layers(act: nn.Module, p: float) -> dict[str, Any]:
    torch.manual_seed(0)
    norm = nn.GroupNorm(2, 4).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return {"norm": norm, "act": act, "conv": nn.Conv2d(4, 3, 3, padding=1).double(), "dropout": Dropout(p)}


def image() -> Tensor:
    return torch.randn(2, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def gradients(x: Tensor, parts: dict[str, Any], recompute: bool) -> list[Tensor]:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    torch.manual_seed(2)
    out = norm_act_conv(x, **parts, recompute=recompute)
    parameters = [*parts["norm"].parameters(), *parts["conv"].parameters()]
    return [out, *torch.autograd.grad(out.square().sum(), [x, *parameters])]


@pytest.mark.parametrize(
    ("act", "p", "memory_format"),
    pairwise(
        [nn.SiLU(), nn.ELU(), nn.ReLU(), nn.LeakyReLU(0.2)],
        [0.0, 0.3, 1.0],
        [torch.contiguous_format, torch.channels_last],
    ),
    ids=str,
)
def test_gradients_equal_those_of_the_plain_operations(
    act: nn.Module, p: float, memory_format: torch.memory_format
) -> None:
    x, parts = image().contiguous(memory_format=memory_format), layers(act, p)
    recomputed, plain = gradients(x, parts, True), gradients(x, parts, False)
    for a, b in zip(recomputed, plain, strict=True):
        assert torch.equal(a, b)


def test_second_derivatives() -> None:
    parts = layers(nn.SiLU(), 0.0)
    x = image()[:1, :, :2, :3].requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: norm_act_conv(x, **parts), (x,))


def test_second_backward_after_a_parameter_was_replaced() -> None:
    parts = layers(nn.SiLU(), 0.3)
    x = image().requires_grad_()
    torch.manual_seed(2)
    out = norm_act_conv(x, **parts).square().sum()
    (expected,) = torch.autograd.grad(out, x, retain_graph=True)
    parts["norm"].weight = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    (again,) = torch.autograd.grad(out, x)
    assert torch.equal(again, expected)


def test_only_the_input_and_the_mask_are_saved() -> None:
    parts = layers(nn.SiLU(), 0.3)
    x = image().requires_grad_()

    def kept(recompute: bool) -> int:
        tensors: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: tensors.append(t) or t, lambda t: t):
            norm_act_conv(x, **parts, recompute=recompute)
        return sum(t.shape == x.shape and t.is_floating_point() for t in tensors)

    assert (kept(recompute=False), kept(recompute=True)) == (3, 1)
