"""Winograd's convolution: the same sum as the direct one, derivatives included, and rounding of like size."""

import itertools
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from src.nets import NCSNpp
from src.nets import layers as layers_module
from src.nets.winograd import suits, winograd_conv2d


def tensors(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """x (B, C, H, W), weight (O, C, 3, 3) and bias for shape (B, C, H, W, O)."""
    batch, channels, height, width, out = shape
    generator = torch.Generator().manual_seed(0)
    draw = [(batch, channels, height, width), (out, channels, 3, 3), (out,)]
    x, weight, bias = (torch.randn(size, generator=generator, dtype=torch.float64).to(dtype) for size in draw)
    return x, weight, bias


@pytest.mark.parametrize("shape", [(1, 1, 4, 4, 1), (2, 5, 8, 12, 7), (3, 4, 16, 4, 2)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_is_the_convolution(shape: tuple[int, ...], memory_format: torch.memory_format) -> None:
    x, weight, bias = tensors(*shape)
    x = x.contiguous(memory_format=memory_format)
    out = winograd_conv2d(x, weight, bias)
    assert out.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(out, F.conv2d(x, weight, bias, padding=1), rtol=0, atol=1e-12)
    torch.testing.assert_close(winograd_conv2d(x, weight), F.conv2d(x, weight, padding=1), rtol=0, atol=1e-12)


def test_derivatives_of_first_and_second_order() -> None:
    inputs = [tensor.requires_grad_() for tensor in tensors(1, 2, 4, 8, 2)]
    assert torch.autograd.gradcheck(winograd_conv2d, inputs)
    assert torch.autograd.gradgradcheck(winograd_conv2d, inputs)


def test_function_transforms_pass_through() -> None:
    x, weight, bias = tensors(2, 3, 4, 4, 2)

    def one(image: Tensor) -> Tensor:
        return winograd_conv2d(image[None], weight, bias)[0]

    expected = torch.func.vmap(torch.func.jacrev(lambda image: F.conv2d(image, weight, bias, padding=1)))(x)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(one))(x), expected, rtol=0, atol=1e-12)


def test_vmap_and_forward_derivatives() -> None:
    x, weight, bias = tensors(2, 3, 8, 4, 2)
    tangents = tuple(torch.randn_like(tensor) for tensor in (x, weight, bias))

    def direct(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias, padding=1)

    many = [torch.stack([tensor, 2 * tensor]) for tensor in (x, weight, bias)]
    for in_dims in ((0, 0, 0), (0, None, None), (None, 0, None)):
        inputs = [m if d == 0 else m[0] for m, d in zip(many, in_dims, strict=True)]
        out, expected = (torch.func.vmap(f, in_dims)(*inputs) for f in (winograd_conv2d, direct))
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-11)
    for used in ([0, 1, 2], [0], [1], [2]):
        inputs = [(x, weight, bias)[i] for i in used]

        def some(f: Callable[..., Tensor], *values: Tensor, used: list[int] = used) -> Tensor:
            return f(*(values[used.index(i)] if i in used else (x, weight, bias)[i] for i in range(3)))

        results = (
            torch.func.jvp(partial(some, f), tuple(inputs), tuple(tangents[i] for i in used))
            for f in (winograd_conv2d, direct)
        )
        (out, derivative), (expected, expected_derivative) = results
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-11)
        torch.testing.assert_close(derivative, expected_derivative, rtol=0, atol=1e-11)


def test_rounds_at_most_three_times_as_much() -> None:
    x, weight, bias = tensors(2, 256, 16, 16, 96, dtype=torch.float32)
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    direct = (F.conv2d(x, weight, bias, padding=1) - exact).std()
    assert (winograd_conv2d(x, weight, bias) - exact).std() < 3 * direct


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of the inputs that Winograd's algorithm gets."""
    shapes: list[torch.Size] = []

    def watched(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        shapes.append(x.shape)
        return winograd_conv2d(x, weight, bias)

    monkeypatch.setattr(layers_module, "winograd_conv2d", watched)
    return shapes


def net(**settings: bool) -> NCSNpp:
    torch.manual_seed(0)
    made = NCSNpp(
        image_size=16,
        in_channels=3,
        nf=96,
        ch_mult=[1, 1],
        num_res_blocks=1,
        attn_resolutions=[],
        dropout=0.0,
        **settings,
    )
    with torch.no_grad():
        for parameter in made.parameters():
            # Layers that start at zero would hide what comes before them.
            parameter.add_(0.02 * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("checkpoint_activations", [False, True])
def test_a_net_is_the_same_with_it(calls: list[torch.Size], channels_last: bool, checkpoint_activations: bool) -> None:
    x, level = torch.randn(4, 3, 16, 16), torch.tensor([0.1, 1.0, 3.0, 20.0])
    results = []
    for winograd in (False, True):
        model = net(winograd=winograd, channels_last=channels_last, checkpoint_activations=checkpoint_activations)
        out = model(x, level)
        out.square().mean().backward()
        results.append({"out": out, **{name: p.grad for name, p in model.named_parameters()}})
        assert bool(calls) == winograd
    # 16 x 16 pixels; at 8 x 8 there are only 16 tiles, and the first and the last layer have 3 channels.
    assert {tuple(shape) for shape in calls} == {(4, 96, 16, 16), (4, 192, 16, 16)}
    for name, value in results[0].items():
        if name.endswith("key.bias"):
            continue  # softmax does not notice it: its gradient is rounding
        torch.testing.assert_close(
            results[1][name], value, rtol=1e-4, atol=1e-4 * float(value.detach().abs().max()), msg=name
        )


def test_where_it_does_not_apply(calls: list[torch.Size]) -> None:
    x, weight, _ = tensors(4, 96, 16, 16, 96, dtype=torch.float32)
    assert suits(x, weight)
    assert not suits(x.bfloat16(), weight)
    assert not suits(x[:3, :, :, :14], weight)
    assert not suits(x[:1], weight)
    assert not suits(x, weight[:3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not suits(x, weight)
    kernels, strides, paddings = (1, 3), (1, 2), (0, 1)
    for kernel, stride, padding in itertools.product(kernels, strides, paddings):
        conv = layers_module.Conv2d(96, 96, kernel, stride=stride, padding=padding)
        conv.winograd = True
        before = len(calls)
        torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias, stride, padding), rtol=1e-5, atol=1e-4)
        assert len(calls) - before == (kernel == 3 and stride == 1 and padding == 1)
