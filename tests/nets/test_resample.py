from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.func import jvp, vmap
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from src.errors import UserError
from src.nets.layers.resample import (
    FIRConvDown,
    FIRConvUp,
    FIRDown,
    FIRFilter,
    FIRUp,
    conv_down,
    double_by_slices,
    filter_by_slices,
    plain_down,
    plain_up,
)
from tests.support.fake_gpu import needs_fake_gpu

Layer = Callable[[Tensor], Tensor]

KERNELS = [[1.0, 3.0, 3.0, 1.0], [1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 2.0, 5.0], [3.0, 1.0, 1.0, 2.0, 5.0, 4.0]]


def convolve(image: np.ndarray, taps: list[float], first: int, step: int, count: tuple[int, int]) -> np.ndarray:
    """Compute out[m, n] = sum_ij k_i k_j image[step m + first - i, step n + first - j]; zero outside the image."""
    k = np.asarray(taps) / np.sum(taps)
    out = np.zeros(count)
    for m, n in np.ndindex(*count):
        for i, j in np.ndindex(len(k), len(k)):
            row, column = step * m + first - i, step * n + first - j
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                out[m, n] += k[i] * k[j] * image[row, column]
    return out


def stuff(image: np.ndarray) -> np.ndarray:
    out = np.zeros((2 * image.shape[0], 2 * image.shape[1]))
    out[::2, ::2] = image
    return out


@pytest.mark.parametrize("taps", KERNELS, ids=str)
def test_fir_is_the_sum_over_taps(taps: list[float]) -> None:
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    half = (len(taps) - 2) // 2
    down = FIRDown(taps).double()(x)
    up = FIRUp(taps).double()(x)
    for b, c in np.ndindex(2, 3):
        image = x[b, c].numpy()
        np.testing.assert_allclose(down[b, c], convolve(image, taps, half + 1, 2, (3, 4)), rtol=0, atol=1e-7)
        np.testing.assert_allclose(up[b, c], 4 * convolve(stuff(image), taps, half, 1, (12, 16)), rtol=0, atol=1e-7)


def test_default_kernel_keeps_constants_inside_and_fades_at_the_border() -> None:
    flat = torch.ones(1, 1, 8, 8)
    for out in (FIRDown(KERNELS[0])(flat), FIRUp(KERNELS[0])(flat)):
        torch.testing.assert_close(out[..., 1:-1, 1:-1], torch.ones_like(out[..., 1:-1, 1:-1]))
        assert (out[..., 0, :] < 1).all()


@pytest.mark.parametrize("taps", [[1.0, 3.0, 3.0, 1.0], [1.0, 2.0, 4.0, 1.0]], ids=str)
def test_convolutions_use_filtered_values_outside_the_border(taps: list[float]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    down, up = FIRConvDown(3, 4, taps).double(), FIRConvUp(3, 4, taps).double()
    for layer in (down, up):
        torch.nn.init.normal_(layer.conv.bias)
    widest_float = torch.zeros(2, 3, 18, 18, dtype=torch.float64)
    widest_float[:, :, 6:12, 6:12] = x
    # With a wide margin of zeros the border has no effect, so filter and convolution can be applied one by one.
    k = torch.outer(*(torch.tensor(taps, dtype=torch.float64) / sum(taps),) * 2)[None, None]
    padded = F.pad(widest_float.flatten(0, 1)[:, None], (1, 2, 1, 2))
    filtered = F.conv2d(padded, k.flip(2, 3)).reshape(2, 3, 18, 18)
    convolved = F.conv2d(filtered, down.conv.weight, down.conv.bias, padding=1)
    torch.testing.assert_close(down(x), convolved[:, :, 6:12, 6:12][:, :, ::2, ::2], rtol=0, atol=1e-7)
    upsampled = F.conv2d(FIRUp(taps).double()(widest_float), up.conv.weight, up.conv.bias, padding=1)
    torch.testing.assert_close(up(x), upsampled[:, :, 12:24, 12:24], rtol=0, atol=1e-7)


def test_plain_resampling_without_fir() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert plain_down(None)(x).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert torch.equal(plain_down(None)(plain_up(None)(x)), x)


def test_strided_convolution_pads_at_the_lower_right() -> None:
    layer = conv_down(1, 1, None)
    torch.nn.init.constant_(layer.weight, 1.0)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert layer(x).flatten().tolist() == [45.0, 39.0, 66.0, 50.0]


def test_filters_add_nothing_to_the_state_dict() -> None:
    with torch.device("meta"):
        layer = FIRUp(KERNELS[0])
    assert not layer.state_dict() and layer.taps == FIRUp(KERNELS[0]).taps


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("taps", [*KERNELS, [1.0, 2.0, 3.0, 4.0, 5.0], [3.0, 1.0]], ids=str)
class TestSlicesAreTheConvolution:
    """The GPU form (slices) compared with the CPU form (grouped convolutions), which ``test_fir_is_the_sum_over_taps``
    tests.
    """

    def pairs(self, taps: list[float], memory_format: torch.memory_format) -> Iterator[tuple[Tensor, Layer, Layer]]:
        x = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0)).to(memory_format=memory_format)
        down, up = FIRDown(taps), FIRUp(taps)
        yield x, down, lambda x: filter_by_slices(x, down.taps, 2, (len(taps) - 1) // 2)
        yield x, up, lambda x: double_by_slices(x, up.taps)
        plain = FIRFilter(taps)
        for padding in (0, len(taps)):
            yield (
                x,
                partial(plain.filter, stride=1, padding=padding),
                partial(filter_by_slices, taps=plain.taps, stride=1, padding=padding),
            )

    def test_values_gradients_and_format(self, taps: list[float], memory_format: torch.memory_format) -> None:
        for x, convolution, slices in self.pairs(taps, memory_format):
            ours, theirs = (x.clone().requires_grad_() for _ in range(2))
            out, expected = slices(ours), convolution(theirs)
            torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
            assert out.is_contiguous(memory_format=memory_format)
            probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
            out.backward(probe)
            expected.backward(probe)
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-6)

    def test_transforms(self, taps: list[float], memory_format: torch.memory_format) -> None:
        for x, convolution, slices in self.pairs(taps, memory_format):
            tangent = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(memory_format=memory_format)
            # The filter is linear.
            torch.testing.assert_close(jvp(slices, (x,), (tangent,))[1], convolution(tangent), rtol=0, atol=1e-6)
            together = vmap(slices)(torch.stack([x, tangent]))
            torch.testing.assert_close(together[1], convolution(tangent), rtol=0, atol=1e-6)

    def test_half_precision(self, taps: list[float], memory_format: torch.memory_format) -> None:
        for x, convolution, slices in self.pairs(taps, memory_format):
            out = slices(x.bfloat16())
            assert out.dtype == torch.bfloat16
            # Partial sums are rounded in each of the two directions.
            bound = 2 * len(taps) * 2**-9 * float(convolution(x.abs()).max())
            torch.testing.assert_close(out.float(), convolution(x.bfloat16().float()), rtol=0, atol=bound)


@needs_fake_gpu
def test_no_grouped_convolution_on_a_gpu() -> None:
    operations: set[str] = set()

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            operations.add(str(func))
            return func(*args, **(kwargs or {}))

    with FakeTensorMode(), torch.device("cuda"):
        x = torch.empty(2, 4, 8, 8)
        layers = [FIRDown(KERNELS[0]), FIRUp(KERNELS[0])]
        with Record():
            shapes = [tuple(layer(x).shape) for layer in layers]
    assert shapes == [(2, 4, 4, 4), (2, 4, 16, 16)]
    assert operations and not any("convolution" in name for name in operations)


@pytest.mark.parametrize("taps", [[1.0], [], [1.0, -1.0]], ids=str)
def test_invalid_kernels_are_refused(taps: list[float]) -> None:
    with pytest.raises(UserError, match="fir_kernel"):
        FIRDown(taps)
