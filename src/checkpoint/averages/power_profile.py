"""Power-function averages of weights (Karras et al. 2024, arXiv 2312.02696, section 3).

After t updates the average contains the weights of update tau with density

    f(tau) = (gamma + 1) tau^gamma / t^(gamma + 1),    0 <= tau <= t,

whose standard deviation is sigma_rel t, the same share of the training at any t. Averages of two lengths, stored at
several times, span a space of profiles. Any other length is approximated by the nearest profile in this space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError

LONGEST = 1 / math.sqrt(12)
"""sigma_rel of gamma = 0, the plain mean of all updates."""

_NOISE = 1e-12


def gamma_of(sigma_rel: float) -> float:
    """The exponent of a profile: sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)) (section 3.1).

    Args:
        sigma_rel: standard deviation of the profile as a share of the training so far, in (0, 0.2887).

    Raises:
        UserError: ``sigma_rel`` is out of range.
    """
    if not 0 < sigma_rel <= LONGEST:
        raise UserError(
            f"an average's sigma_rel is {sigma_rel}: it must lie in (0, {LONGEST:.4f}], for example 0.05 or 0.1"
        )
    t = sigma_rel**-2
    # The cubic has one root that is not negative.
    return max(0.0, float(np.roots([1, 7, 16 - t, 12 - t]).real.max()))


def inner_product(gamma_a: Tensor, t_a: Tensor, gamma_b: Tensor, t_b: Tensor) -> Tensor:
    """Integral of the product of two profiles (appendix C), elementwise over broadcast float64 tensors."""
    shorter = torch.minimum(t_a, t_b)
    # Use powers of ratios below one: powers of the times themselves would overflow.
    overlap = (shorter / t_a) ** (gamma_a + 1) * (shorter / t_b) ** (gamma_b + 1) / shorter
    return (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1) * overlap


def fit_profile(
    gammas: Sequence[float], times: Sequence[float], gamma: float, time: float
) -> tuple[list[float], float]:
    """Return weights of given profiles whose sum is nearest to another profile, in the least-squares sense.

    Args:
        gammas: exponents of the n given profiles.
        times: their numbers of updates, at least 1.
        gamma: exponent of the wanted profile.
        time: its number of updates.

    Returns:
        n weights, and the distance that is left, relative to the size of the wanted profile: 0 is exact.
    """
    g, t = (torch.tensor(values, dtype=torch.float64) for values in (gammas, times))
    wanted = torch.tensor(gamma, dtype=torch.float64), torch.tensor(time, dtype=torch.float64)
    # Profiles of unit size: the cutoff below then means the same for all of them.
    size = inner_product(g, t, g, t).sqrt()
    wanted_size = inner_product(*wanted, *wanted).sqrt()
    gram = inner_product(g[:, None], t[:, None], g, t) / (size[:, None] * size)
    projection = inner_product(g, t, *wanted) / (size * wanted_size)
    solution = torch.linalg.pinv(gram, rtol=_NOISE, hermitian=True) @ projection
    left = 1 - 2 * solution @ projection + solution @ gram @ solution
    return (solution * wanted_size / size).tolist(), math.sqrt(max(0.0, float(left)))
