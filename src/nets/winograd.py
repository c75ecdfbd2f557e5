"""3 x 3 convolution with a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3) (Lavin & Gray 2016, sec. 4.1).

An output tile of 4 x 4 is A^T [(G w G^T) * (B^T d B)] A of the 6 x 6 tile d of the input under it: 36 products for each
pair of channels where the sum has 144, and over channels and tiles they are 36 matrix products. oneDNN sums directly
on CPUs with AVX2; cuDNN chooses this algorithm by itself where it is faster.

The sum is the same and the rounding is not. It depends on the interpolation points: with (0, +-1, +-2, inf) of the
paper it is four times that of the direct sum, with (0, +-5/8, +-3/2, inf) twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_TILE, _KERNEL = 4, 3
_PATCH = _TILE + _KERNEL - 1
_POINTS = (0.0, 0.625, -0.625, 1.5, -1.5)
# Below these the transforms cost more than they save: measured on two cores of an AVX2 machine.
_MIN_TILES = 64
_MIN_CHANNELS = 96
# Of the images that are transformed at a time: enough for the matrix products, few enough for the caches.
_TILES_AT_A_TIME = 128


def _cook_toom() -> tuple[Tensor, Tensor, Tensor]:
    """A^T (4, 6), G (6, 3) and B^T (6, 6) of the points, float64.

    Polynomials through points (Blahut 2010, sec. 5.2). The three factors of a point are scaled to like size, by powers
    of two.
    """
    a = np.array(_POINTS)
    others = [np.delete(a, i) for i in range(len(a))]
    output, kernel, data = np.zeros((_TILE, _PATCH)), np.zeros((_PATCH, _KERNEL)), np.zeros((_PATCH, _PATCH))
    for i, (point, rest) in enumerate(zip(a, others, strict=True)):
        output[:, i] = point ** np.arange(_TILE)
        kernel[i] = point ** np.arange(_KERNEL) / np.prod(point - rest)
        data[i, : _PATCH - 1] = np.poly(rest)[::-1]
    output[-1, -1] = kernel[-1, -1] = 1.0  # the point at infinity
    data[-1] = np.poly(a)[::-1]
    sizes = np.stack([np.linalg.norm(output, axis=0), np.linalg.norm(kernel, axis=1), np.linalg.norm(data, axis=1)])
    common = np.cbrt(sizes.prod(0))
    scale_output, scale_kernel = 2.0 ** np.round(np.log2(common / sizes[:2]))
    return (
        torch.from_numpy(output * scale_output),
        torch.from_numpy(kernel * scale_kernel[:, None]),
        torch.from_numpy(data / (scale_output * scale_kernel)[:, None]),
    )


_A, _G, _B = _cook_toom()
_CONSTANTS = {dtype: (_A.to(dtype), _G.to(dtype), _B.to(dtype)) for dtype in (torch.float32, torch.float64)}


def suits(x: Tensor, weight: Tensor) -> bool:
    """Whether ``winograd_conv2d`` is worth it: on a CPU, for whole tiles, enough of them and of channels."""
    batch, _, height, width = x.shape
    return (
        x.device.type == "cpu"
        and x.dtype in _CONSTANTS
        and not torch.is_autocast_enabled("cpu")
        and height % _TILE == width % _TILE == 0
        and batch * height * width >= _MIN_TILES * _TILE**2
        and min(weight.shape[:2]) >= _MIN_CHANNELS
    )


def winograd_conv2d(
    x: Float[Tensor, "b c h w"], weight: Float[Tensor, "o c 3 3"], bias: Float[Tensor, " o"] | None = None
) -> Float[Tensor, "b o h w"]:
    """``conv2d(x, weight, bias, padding=1)``, with channels last where those of ``x`` are, which is faster.

    Args:
        x: (B, C, H, W), H and W multiples of 4.
        weight: (O, C, 3, 3).
        bias: (O,).
    """
    y: Tensor = _Convolution.apply(x, weight, bias)
    return y


class _Convolution(torch.autograd.Function):
    """Keeps the input and the weights for the backward pass, and transforms them again: transformed they are larger."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        a, _, _ = _CONSTANTS[x.dtype]
        kernels = _kernels(weight).mT
        for images in _few(x):
            products = torch.bmm(_patches(x[images]), kernels).view(_PATCH, _PATCH, -1)
            if images.start == 0:
                # Made from products, which vmap has batched where it has either factor.
                y = products.new_empty(x.shape[0], *x.shape[2:], len(weight))
            tiles = _as_tiles(y[images])
            tiles.copy_(_both_sides(a, products).view(tiles.shape))
        y = (y if bias is None else y.add_(bias)).permute(0, 3, 1, 2)
        # Function transforms know strides, but no memory formats.
        return y if x.stride(1) == 1 else y.contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])

    @staticmethod
    def jvp(ctx: Any, of_x: Tensor | None, of_weight: Tensor | None, of_bias: Tensor | None) -> Tensor:
        x, weight = ctx.saved_tensors
        # Linear in the bias, and in the input and in the weights.
        parts = [] if of_x is None else [winograd_conv2d(of_x, weight)]
        parts += [] if of_weight is None else [winograd_conv2d(x, of_weight)]
        parts += [] if of_bias is None else [of_bias[:, None, None]]
        return sum(parts[1:], start=parts[0]).expand(len(x), len(weight), *x.shape[2:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        batch, channels, height, width = x.shape
        kernels = _kernels(weight)
        grad_x = grad.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
        grad_kernels = grad.new_zeros(kernels.shape)
        for images in _few(x):
            tiles = _tiles(grad[images])
            if of_x:
                grad_x[images] = _join_patches(torch.bmm(tiles, kernels), x[images])
            if of_weight:
                grad_kernels.baddbmm_(tiles.mT, _patches(x[images]))
        return (
            grad_x if of_x else None,
            _adjoint_kernels(grad_kernels) if of_weight else None,
            grad.sum((0, 2, 3)) if of_bias else None,
        )


def _few(x: Tensor) -> Iterator[slice]:
    """Consecutive images with about ``_TILES_AT_A_TIME`` tiles."""
    batch, _, height, width = x.shape
    count = max(1, _TILES_AT_A_TIME * _TILE**2 // (height * width))
    return (slice(first, first + count) for first in range(0, max(batch, 1), count))


def _both_sides(m: Tensor, x: Tensor) -> Tensor:
    """m x m^T for each of the N matrices of x (k, k, N); m is (j, k)."""
    j, k = m.shape
    return torch.matmul(m, (m @ x.reshape(k, -1)).view(j, k, -1))


def _kernels(weight: Tensor) -> Tensor:
    """G w G^T: (36, O, C)."""
    _, g, _ = _CONSTANTS[weight.dtype]
    return _both_sides(g, weight.permute(2, 3, 0, 1)).view(_PATCH**2, *weight.shape[:2])


def _adjoint_kernels(kernels: Tensor) -> Tensor:
    """The adjoint of ``_kernels``: (O, C, 3, 3)."""
    _, g, _ = _CONSTANTS[kernels.dtype]
    weight = _both_sides(g.T, kernels.view(_PATCH, _PATCH, -1))
    return weight.view(_KERNEL, _KERNEL, *kernels.shape[1:]).permute(2, 3, 0, 1)


def _patches(x: Tensor) -> Tensor:
    """B^T d B of the patches, which overlap by two pixels: (36, B H W / 16, C)."""
    _, _, b = _CONSTANTS[x.dtype]
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    # Down the columns first, while those are not repeated yet.
    rows = padded.unfold(1, _PATCH, _TILE).permute(4, 0, 1, 2, 3)
    rows = (b @ rows.reshape(_PATCH, -1)).view(rows.shape)
    patches = rows.unfold(3, _PATCH, _TILE).permute(0, 5, 1, 2, 3, 4).reshape(_PATCH, _PATCH, -1)
    return torch.matmul(b, patches).view(_PATCH**2, -1, x.shape[1])


def _tiles(grad: Tensor) -> Tensor:
    """A d A^T of the gradient's tiles: (36, B H W / 16, O)."""
    a, _, _ = _CONSTANTS[grad.dtype]
    tiles = _as_tiles(grad.permute(0, 2, 3, 1).contiguous()).reshape(_TILE, _TILE, -1)
    return _both_sides(a.T, tiles).view(_PATCH**2, -1, grad.shape[1])


def _as_tiles(images: Tensor) -> Tensor:
    """A view (4, 4, B, H / 4, W / 4, O) of (B, H, W, O)."""
    batch, height, width, channels = images.shape
    tiled = images.view(batch, height // _TILE, _TILE, width // _TILE, _TILE, channels)
    return tiled.permute(2, 4, 0, 1, 3, 5)


def _join_patches(patches: Tensor, x: Tensor) -> Tensor:
    """The adjoint of ``_patches``: (B, C, H, W), channels last."""
    _, _, b = _CONSTANTS[x.dtype]
    batch, channels, height, width = x.shape
    columns = torch.matmul(b.T, patches.view(_PATCH, _PATCH, -1))
    columns = columns.view(_PATCH, _PATCH, batch, height // _TILE, width // _TILE, channels)
    rows = _overlap(columns.transpose(0, 1), 3)
    rows = (b.T @ rows.view(_PATCH, -1)).view(rows.shape)
    return _overlap(rows, 1)[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


def _overlap(parts: Tensor, dim: int) -> Tensor:
    """Patches (6, *d) in one direction, the n along ``dim`` of d, to the 4 n + 2 pixels on which they lie."""
    _, *shape = parts.shape
    n = shape[dim]
    shape[dim] = n * _TILE + _PATCH - _TILE
    total = parts.new_zeros(shape)
    for i, part in enumerate(parts):
        pixels = total[(slice(None),) * dim + (slice(i, i + (n - 1) * _TILE + 1, _TILE),)]
        if i < _TILE:
            pixels.copy_(part)
        else:
            pixels.add_(part)
    return total
