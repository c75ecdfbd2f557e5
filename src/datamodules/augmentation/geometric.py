"""Augmentation that does not leak into the samples (Karras et al. 2020; Karras et al. 2022, appendix F.2).

Every training image may be flipped, scaled, rotated, stretched and shifted. The net receives nine numbers that describe
the transformation and are zero for an unchanged image. In sampling it receives zeros.

| transformation | happens with probability | parameter | label |
|---|---|---|---|
| flip in x | 1/2 | | 1 |
| flip in y | p/2 | | 1 |
| scale by 2^(0.2 a) | p | a normal | a |
| rotate by theta | p | uniform on the circle | cos theta - 1, sin theta |
| stretch by 2^(0.2 b) along phi, shrink across | p | b normal, phi uniform on the circle | b cos phi, b sin phi |
| shift by 1/8 of the size, times (c, d) | p | c and d normal | c, d |

The paper resamples with wavelet filters; here it is cubic interpolation with reflected borders.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ...errors import UserError
from ...noise import Address

LABELS = 9
"""Length of the label, in the order of the table."""

_STRENGTH = 0.2 * math.log(2)
_SHIFT = 0.125


class GeometricAugmentation:
    """The transformations of EDM's CIFAR-10 runs.

    Args:
        p: probability of each transformation, in [0, 1]; 0.12 for CIFAR-10.
        flip: whether images are mirrored in x with probability 1/2; it replaces ``random_flip`` of a datamodule.

    Raises:
        UserError: p is out of range.
    """

    def __init__(self, p: float = 0.12, flip: bool = True) -> None:
        if not 0 <= p <= 1:
            raise UserError(
                f"datamodule.augmentation.p is {p}: give a probability between 0 and 1 (the paper uses 0.12)"
            )
        self.p = p
        self.flip = flip

    def __call__(self, x: Float[Tensor, "b c h w"], address: Address) -> tuple[Tensor, Float[Tensor, "b 9"]]:
        """Transform images (B, C, H, W), each in its own way drawn at ``address``; return them with labels (B, 9)."""
        labels = self.draw(address)
        return transformed(x, labels), labels

    def draw(self, address: Address) -> Float[Tensor, "b 9"]:
        """Return labels (B, 9) float32."""
        u = address.uniform("augmentation", (9,))
        a, b, c, d = address.normal("augmentation", u[:, :4]).unbind(1)
        mirrored = (u[:, 0] < 0.5) & self.flip
        flipped = u[:, 1] < self.p / 2
        scaled, turned, stretched, shifted = (u[:, 2:6] < self.p).unbind(1)
        theta, phi = (2 * math.pi * u[:, 6:8]).unbind(1)
        columns = [
            *(mirrored, flipped, scaled * a),
            *(turned * (theta.cos() - 1), turned * theta.sin()),
            *(stretched * b * phi.cos(), stretched * b * phi.sin()),
            *(shifted * c, shifted * d),
        ]
        return torch.stack([column.to(u.dtype) for column in columns], 1)


def transformed(x: Float[Tensor, "b c h w"], labels: Float[Tensor, "b 9"]) -> Float[Tensor, "b c h w"]:
    """Transform images (B, C, H, W) by their labels; images with at most flips keep their pixels bit for bit."""
    mirrored, flipped = (labels[:, i].bool()[:, None, None, None] for i in (0, 1))
    x = torch.where(mirrored, x.flip(3), x)
    x = torch.where(flipped, x.flip(2), x)
    moved = functional.grid_sample(
        x, _sources(labels, *x.shape[2:]).to(x.dtype), "bicubic", "reflection", align_corners=False
    )
    # Resample all images: selecting those that need it would make the host wait for the labels.
    return torch.where(labels[:, 2:].any(1)[:, None, None, None], moved, x)


def _sources(labels: Tensor, height: int, width: int) -> Tensor:
    """Return the source of each pixel of the result: (B, H, W, 2) as (x, y) from -1 to 1 over the image."""
    # Elementwise, not as a matrix product, which TF32 would round to a hundredth of a pixel.
    a, b, c, d, x0, y0 = (value[:, None, None] for value in _inverse(labels))
    y, x = (
        ((2 * torch.arange(n, device=labels.device) + 1) / n - 1).to(labels.dtype).reshape(shape)
        for n, shape in ((height, (1, -1, 1)), (width, (1, 1, -1)))
    )
    return torch.stack([a * x + b * y + x0, c * x + d * y + y0], -1)


def _inverse(labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the matrix ((a, b), (c, d)) and the shift (x0, y0) from a pixel of the result to its source, (B,) each.

    The forward transformation scales, rotates, stretches, then shifts.
    """
    _, _, a, cos_less_one, sin, b_cos, b_sin, c, d = labels.unbind(1)
    scale = torch.exp(_STRENGTH * a)
    # exp of the symmetric matrix with eigenvalues s along phi and -s across.
    b = torch.hypot(b_cos, b_sin)
    phi_cos, phi_sin = (
        torch.where(b > 0, part / b.clamp(min=1e-12), start) for part, start in ((b_cos, 1.0), (b_sin, 0.0))
    )
    s = _STRENGTH * b
    double_cos, double_sin = phi_cos.square() - phi_sin.square(), 2 * phi_cos * phi_sin
    cosh, sinh = s.cosh(), s.sinh()
    # The inverse of scale, rotation R and stretch S (symmetric, of determinant 1) is R^T S^-1 / scale.
    cos, p, q, r = cos_less_one + 1, cosh - sinh * double_cos, -sinh * double_sin, cosh + sinh * double_cos
    matrix = (cos * p + sin * q, cos * q + sin * r, cos * q - sin * p, cos * r - sin * q)
    m00, m01, m10, m11 = (entry / scale for entry in matrix)
    # The whole image is 2 wide.
    x, y = 2 * _SHIFT * c, 2 * _SHIFT * d
    return m00, m01, m10, m11, -(m00 * x + m01 * y), -(m10 * x + m11 * y)
