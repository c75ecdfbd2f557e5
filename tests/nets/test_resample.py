import numpy as np
import pytest
import torch
from torch.nn import functional as F

from src.errors import UserError
from src.nets.resample import FIRConvDown, FIRConvUp, FIRDown, FIRUp, conv_down, plain_down, plain_up

KERNELS = [[1.0, 3.0, 3.0, 1.0], [1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 2.0, 5.0], [3.0, 1.0, 1.0, 2.0, 5.0, 4.0]]


def convolve(image: np.ndarray, taps: list[float], first: int, step: int, count: tuple[int, int]) -> np.ndarray:
    """out[m, n] = sum_ij k_i k_j image[step m + first - i, step n + first - j], zero outside the image."""
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
def test_convolutions_see_filtered_values_beyond_the_border(taps: list[float]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    down, up = FIRConvDown(3, 4, taps).double(), FIRConvUp(3, 4, taps).double()
    for layer in (down, up):
        torch.nn.init.normal_(layer.conv.bias)
    wide = torch.zeros(2, 3, 18, 18, dtype=torch.float64)
    wide[:, :, 6:12, 6:12] = x
    # On an image with a wide margin of zeros the border plays no part, so filter and convolution may be separated.
    k = torch.outer(*(torch.tensor(taps, dtype=torch.float64) / sum(taps),) * 2)[None, None]
    padded = F.pad(wide.flatten(0, 1)[:, None], (1, 2, 1, 2))
    filtered = F.conv2d(padded, k.flip(2, 3)).reshape(2, 3, 18, 18)
    convolved = F.conv2d(filtered, down.conv.weight, down.conv.bias, padding=1)
    torch.testing.assert_close(down(x), convolved[:, :, 6:12, 6:12][:, :, ::2, ::2], rtol=0, atol=1e-7)
    upsampled = F.conv2d(FIRUp(taps).double()(wide), up.conv.weight, up.conv.bias, padding=1)
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


def test_filter_survives_the_meta_device_and_stays_out_of_checkpoints() -> None:
    with torch.device("meta"):
        layer = FIRUp(KERNELS[0])
    layer = layer.to_empty(device="cpu")
    layer.reset_parameters()
    assert torch.equal(layer.weight, FIRUp(KERNELS[0]).weight)
    assert not layer.state_dict()


@pytest.mark.parametrize("taps", [[1.0], [], [1.0, -1.0]], ids=str)
def test_useless_kernels_are_refused(taps: list[float]) -> None:
    with pytest.raises(UserError, match="fir_kernel"):
        FIRDown(taps)
