"""Operations on latents of the probability-flow ODE (Song et al. 2021, appendix D.2): interpolation and temperature."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..sde import SDE


def slerp(
    sde: SDE, z_a: Float[Tensor, "b *d"], z_b: Float[Tensor, "b *d"], weights: Float[Tensor, " f"]
) -> Float[Tensor, "f b *d"]:
    """Spherical interpolation of latents, along the great circle around the mean of the prior.

    A straight line would pass near the center of the sphere, where a Gaussian in many dimensions has almost no mass.
    With a and b relative to the mean and omega the angle between them:

        (sin((1 - w) omega) a + sin(w omega) b) / sin(omega).

    Args:
        sde: the SDE whose prior the latents follow.
        z_a: (B, *d), the latents of weight 0.
        z_b: (B, *d), the latents of weight 1.
        weights: w, (F,), usually in [0, 1].

    Returns:
        (F, B, *d).
    """
    mean = sde.prior_mean_like(z_a)
    a, b = (z_a - mean).flatten(1), (z_b - mean).flatten(1)
    # From the half-chord, which is accurate for small angles, where the cosine rounds to 1.
    unit_a, unit_b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    omega = 2 * torch.atan2((unit_a - unit_b).norm(dim=1), (unit_a + unit_b).norm(dim=1))
    w = weights[:, None]
    # sin(w omega) / sin(omega) is w in the limit of equal directions.
    sine = torch.where(omega > 1e-6, omega.sin(), 1.0)
    share_a = torch.where(omega > 1e-6, ((1 - w) * omega).sin() / sine, 1 - w)
    share_b = torch.where(omega > 1e-6, (w * omega).sin() / sine, w)
    mixed = share_a[..., None] * a + share_b[..., None] * b
    return mixed.reshape(len(weights), *z_a.shape) + mean


def temper(sde: SDE, z: Float[Tensor, "b *d"], temperature: float) -> Float[Tensor, "b *d"]:
    """Latents (B, *d) with their distance from the mean of the prior multiplied by ``temperature``.

    Below 1, samples lie nearer to the center of the data and vary less (appendix D.2, after Kingma and Dhariwal 2018).
    Only temperature 1 samples the model.
    """
    mean = sde.prior_mean_like(z)
    return mean + temperature * (z - mean)
