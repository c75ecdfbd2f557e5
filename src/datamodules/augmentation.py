"""Augmentation that does not leak into the samples (Karras et al. 2020; Karras et al. 2022, appendix F.2).

Every training image may be flipped, scaled, rotated, stretched and shifted, and the net is told how, by nine numbers
that are zero for an untouched image. In sampling it is told zeros.

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

from ..errors import UserError
from ..noise import Address

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
        """Images (B, C, H, W), each with its own transformation, and labels (B, 9), drawn at ``address``."""
        labels = self.draw(address)
        return transformed(x, labels), labels

    def draw(self, address: Address) -> Float[Tensor, "b 9"]:
        """Labels (B, 9) float32."""
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
    """Images (B, C, H, W) as labels (B, 9) say; pixels are only resampled where more than flips is asked for."""
    mirrored, flipped = (labels[:, i].bool()[:, None, None, None] for i in (0, 1))
    x = torch.where(mirrored, x.flip(3), x)
    x = torch.where(flipped, x.flip(2), x)
    (rows,) = labels[:, 2:].any(1).nonzero(as_tuple=True)
    if len(rows) == 0:
        return x
    grid = functional.affine_grid(_inverse(labels[rows]).to(x.dtype), [len(rows), *x.shape[1:]], align_corners=False)
    moved = functional.grid_sample(x[rows], grid, "bicubic", "reflection", align_corners=False)
    return x.index_copy(0, rows, moved)


def _inverse(labels: Tensor) -> Tensor:
    """Where a pixel of the result comes from: (B, 2, 3), in coordinates that run from -1 to 1 over the image.

    Forwards the image is scaled, rotated, stretched, then shifted.
    """
    _, _, a, cos_less_one, sin, b_cos, b_sin, c, d = labels.unbind(1)
    scale = torch.exp(_STRENGTH * a)
    rotate = _matrix(cos_less_one + 1, -sin, sin, cos_less_one + 1)
    # exp of the symmetric matrix with eigenvalues s along phi and -s across.
    b = torch.hypot(b_cos, b_sin)
    phi_cos, phi_sin = (
        torch.where(b > 0, part / b.clamp(min=1e-12), start) for part, start in ((b_cos, 1.0), (b_sin, 0.0))
    )
    s = _STRENGTH * b
    double_cos, double_sin = phi_cos.square() - phi_sin.square(), 2 * phi_cos * phi_sin
    cosh, sinh = s.cosh(), s.sinh()
    stretch = _matrix(cosh + sinh * double_cos, sinh * double_sin, sinh * double_sin, cosh - sinh * double_cos)
    inverse = torch.linalg.inv(stretch @ rotate * scale[:, None, None])
    # The whole image is 2 wide.
    shift = 2 * _SHIFT * torch.stack([c, d], 1)[..., None]
    return torch.cat([inverse, -inverse @ shift], 2)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([torch.stack([a, b], 1), torch.stack([c, d], 1)], 1)
