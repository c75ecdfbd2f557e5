"""GroupNorm in half precision and in both memory formats, and the casts a net makes under autocast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from src.nets import NCSNpp
from src.nets.layers.basic import GroupNorm, group_norm_strided
from tests.support.fake_gpu import needs_fake_gpu

BATCH = 5
HALF = 2**-8
"""Largest relative error of rounding to bfloat16."""


def layer(channels: int = 8) -> GroupNorm:
    torch.manual_seed(0)
    norm = GroupNorm(2, channels)
    nn.init.normal_(norm.weight, 1.0, 0.2)
    nn.init.normal_(norm.bias)
    return norm


def image(offset: float = 0.0, dtype: torch.dtype = torch.float32) -> Tensor:
    values = torch.randn(BATCH, 8, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return (values + offset).to(dtype)


def with_gradients(function: Any, x: Tensor, *parameters: Tensor) -> list[Tensor]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = function(x)
    probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out.dtype)
    return [out, *torch.autograd.grad(out, [x, *parameters], probe)]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_float32_equals_torch(memory_format: torch.memory_format) -> None:
    norm, x = layer(), image().to(memory_format=memory_format)
    parameters = norm.weight, norm.bias
    ours = with_gradients(norm, x, *parameters)
    theirs = with_gradients(lambda x: F.group_norm(x, 2, *parameters, norm.eps), x, *parameters)
    # Bitwise, but for channels last with old versions of torch.
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_autocast_input_and_output_are_half_precision() -> None:
    norm, x = layer(), image(offset=1.0, dtype=torch.bfloat16)
    parameters = norm.weight, norm.bias
    expected = with_gradients(norm, x.float(), *parameters)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        # A float32 input is cast first.
        assert norm(x.float()).dtype == torch.bfloat16
        found = with_gradients(norm, x, *parameters)
    assert found[0].dtype == found[1].dtype == torch.bfloat16
    assert all(gradient.dtype == torch.float32 for gradient in found[2:])
    for a, b in zip(found, expected, strict=True):
        # Mean, standard deviation, weight, bias and output are each rounded once.
        assert (a.float() - b).abs().max() <= 4 * HALF * b.abs().max()


def test_statistics_are_not_summed_in_half_precision() -> None:
    # 24,576 values: a sum in bfloat16 stops growing at 256.
    norm, x = GroupNorm(1, 6), torch.ones(1, 6, 64, 64, dtype=torch.bfloat16)
    x[..., ::2] = 3.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = norm(x)
    assert out.float().abs().sub(1).abs().max() <= HALF


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
class TestStrided:
    """The strided implementation, used for channels-last images on a GPU."""

    def test_values_gradients_and_format(self, memory_format: torch.memory_format) -> None:
        norm, x = layer().double(), image(offset=3.0, dtype=torch.float64).to(memory_format=memory_format)
        parameters = norm.weight, norm.bias
        ours = with_gradients(lambda x: group_norm_strided(x, 2, *parameters, norm.eps), x, *parameters)
        theirs = with_gradients(lambda x: F.group_norm(x, 2, *parameters, norm.eps), x, *parameters)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
        assert ours[0].is_contiguous(memory_format=memory_format)

    def test_half_precision_is_rounded_once(self, memory_format: torch.memory_format) -> None:
        norm, x = layer(), image(offset=10.0, dtype=torch.bfloat16).to(memory_format=memory_format)
        parameters = norm.weight.detach().bfloat16(), norm.bias.detach().bfloat16()
        out = group_norm_strided(x, 2, *parameters, norm.eps)
        exact = F.group_norm(x.double(), 2, *(parameter.double() for parameter in parameters), norm.eps)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.double(), exact, rtol=HALF, atol=1e-5)


class Operations(TorchDispatchMode):
    """Record casts and operations."""

    def __init__(self) -> None:
        super().__init__()
        self.casts: list[tuple[int, ...]] = []
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.names.add(str(func))
        if func is torch.ops.aten._to_copy.default and args[0].dtype != out.dtype:
            self.casts.append(tuple(out.shape))
        return out


@contextmanager
def autocast_on_a_gpu(dtype: torch.dtype) -> Iterator[None]:
    """Enable CUDA autocast without a GPU; ``torch.autocast("cuda")`` does nothing there."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])
        torch.clear_autocast_cache()


OPTIONS: list[dict[str, Any]] = [
    {},
    {"resblock_type": "ddpm", "progressive": "residual"},
    {"progressive": "output_skip", "progressive_input": "input_skip"},
    {"fir": False, "progressive_input": "none"},
]


@needs_fake_gpu
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_under_autocast_no_feature_map_is_cast(options: dict[str, Any]) -> None:
    with FakeTensorMode(), torch.device("cuda"):
        net = NCSNpp(image_size=16, in_channels=3, nf=8, ch_mult=(1, 2, 2), num_res_blocks=2, **options)
        with autocast_on_a_gpu(torch.bfloat16), Operations() as seen:
            out = net(torch.empty(BATCH, 3, 16, 16), torch.empty(BATCH))
    assert out.dtype == torch.bfloat16
    # Images (3 channels) are cast; attention without a fused kernel casts tensors with one head.
    maps = [shape for shape in seen.casts if len(shape) == 4 and shape[0] == BATCH and shape[1] not in (1, 3)]
    assert maps == []
    images = [shape for shape in seen.casts if shape[:2] == (BATCH, 3)]
    assert 1 <= len(images) <= 3
    # Each weight is cast once per forward pass.
    weights = [tuple(parameter.shape) for parameter in net.parameters()]
    assert len([shape for shape in seen.casts if shape in weights]) <= len(weights)


@needs_fake_gpu
def test_channels_last_on_a_gpu_is_not_transposed_by_the_norm() -> None:
    with FakeTensorMode(), torch.device("cuda"):
        norm, x = GroupNorm(2, 8), torch.empty(BATCH, 8, 4, 4).to(memory_format=torch.channels_last)
        with Operations() as seen:
            out = norm(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert not any("native_group_norm" in name or "clone" in name for name in seen.names)


def test_channels_last_is_kept_through_the_net() -> None:
    torch.manual_seed(0)
    net = NCSNpp(image_size=8, nf=8, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), channels_last=True)
    formats: dict[str, bool] = {}

    def look(name: str) -> Any:
        return lambda _module, args, out: formats.update(
            {name: all(x.is_contiguous(memory_format=torch.channels_last) for x in (args[0], out))}
        )

    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.GroupNorm):
            module.register_forward_hook(look(name))
    net(torch.randn(2, 3, 8, 8), torch.ones(2))
    assert formats and all(formats.values()), [name for name, kept in formats.items() if not kept]
