"""Numbers for a picture of a score model of points in the plane, and of the exact model if it is known.

All values are in the scaled state y = x / alpha, whose noise level is l = sigma / alpha, so that all SDEs can be
compared: the score of y is alpha times that of x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..noise import normal
from ..sampling import Heun, Likelihood, LogSNRGrid
from ..sampling.mixture import GaussianMixture

REACH = 2.3
"""The plane is shown from -REACH to REACH in both directions: the data have unit variance."""

LEVELS = (0.2, 0.7)
"""Noise levels at which the score field is shown."""

FINEST = 0.01
"""Noise level down to which trajectories and likelihoods go."""

_ARROWS = 15
_PATHS = 80
_PATH_STEPS = 48
_SCORED = 500
_FINE = 200
# Beyond this many nats below the highest density there are no data, and nothing is learned.
_EMPTY = 12.0


@dataclass(frozen=True)
class ScoreField:
    """Scores at a noise level, times the level: about of unit length in the noise.

    Attributes:
        level: l.
        spacing: distance of neighbors.
        points: y, (A, 2).
        learned: (A, 2).
        exact: (A, 2), or None.
    """

    level: float
    spacing: float
    points: Tensor
    learned: Tensor
    exact: Tensor | None


@dataclass(frozen=True)
class ToyView:
    """All numbers of a picture, on the CPU.

    Attributes:
        data: (N, 2).
        samples: (M, 2).
        fields: the score at some noise levels.
        paths: (F, P, 2), trajectories of the probability-flow ODE from the prior to the data, divided by
            sqrt(1 + l^2) to fit into one picture.
        density: (G, G), learned ln p in nats; the first index is the second coordinate, from -REACH to REACH.
        exact_density: the exact one, likewise on a grid of its own, or None.
        log_p: (K,), learned ln p of evaluation data in nats.
        log_p_samples: (K',), learned ln p of samples in nats.
        exact_log_p: (K,), or None.
        score_error: E |s - s*|^2 / E |s*|^2 over data noised to levels from 0.05 to 5, or None.
    """

    data: Tensor
    samples: Tensor
    fields: list[ScoreField]
    paths: Tensor
    density: Tensor
    exact_density: Tensor | None
    log_p: Tensor
    log_p_samples: Tensor
    exact_log_p: Tensor | None
    score_error: float | None


def exact_model(model: Any, datamodule: Any) -> GaussianMixture | None:
    """Return the exact model of the data, if they are a Gaussian mixture."""
    try:
        weights, means, stds = datamodule.mixture
    except (AttributeError, ValueError):
        return None
    return GaussianMixture(model.sde, weights, means, stds)


@torch.no_grad()
def make_view(model: Any, exact: GaussianMixture | None, data: Tensor, samples: Tensor, resolution: int) -> ToyView:
    """Compute all numbers of a picture.

    Args:
        model: the score model, in evaluation mode.
        exact: the exact model, if it is known.
        data: (N, 2) evaluation points, on the device of the model.
        samples: (M, 2) samples of the model, likewise.
        resolution: G, points in a row of the density.
    """
    plane = _plane(resolution, data)
    eps = float(_time(model, FINEST))
    likelihood = Likelihood(rtol=1e-4, atol=1e-4, eps=eps, divergence="exact", data_range="continuous")

    def log_p(x: Tensor) -> Tensor:
        return likelihood(model, x).bits_per_dim.cpu() * (-x.shape[1] * math.log(2))

    def exact_log_p(x: Tensor) -> Tensor | None:
        return None if exact is None else exact.log_prob(x, torch.tensor(eps, dtype=torch.float64)).cpu()

    scored, drawn = data[:_SCORED], samples[:_SCORED]
    exact_density = exact_log_p(_plane(_FINE, data))
    return ToyView(
        data=data.cpu(),
        samples=samples.cpu(),
        fields=[_field(model, exact, level, data) for level in LEVELS],
        paths=_paths(model, eps, data),
        density=log_p(plane).reshape(resolution, resolution),
        exact_density=None if exact_density is None else exact_density.reshape(_FINE, _FINE),
        log_p=log_p(scored),
        log_p_samples=log_p(drawn),
        exact_log_p=exact_log_p(scored),
        score_error=None if exact is None else score_error(model, exact, data),
    )


@torch.no_grad()
def score_error(model: Any, exact: GaussianMixture, data: Tensor, levels: int = 16) -> float:
    """Relative squared error of the learned score, E |s - s*|^2 / E |s*|^2, averaged over noise levels.

    Args:
        model: the score model.
        exact: the exact one.
        data: (N, 2), noised to levels from 0.05 to 5, evenly spaced in their logarithm.
        levels: number of noise levels.
    """
    index = torch.arange(len(data), device=data.device)
    errors = []
    for k, level in enumerate(torch.linspace(math.log(0.05), math.log(5.0), levels).exp().tolist()):
        t = _time(model, level)
        mean, sigma = model.sde.marginal(data, t)
        x = (mean + sigma * normal(0, "score error", k, index, data.shape[1:])).to(data.dtype)
        s = exact(x, t)
        errors.append((model(x, t) - s).square().sum() / s.square().sum())
    return float(torch.stack(errors).mean())


def _time(model: Any, level: float) -> Tensor:
    """The time () at which sigma / alpha is ``level``, within the process and not zero."""
    t: Tensor = model.sde.time_of_log_snr(torch.tensor(-math.log(level), dtype=torch.float64))
    return t.clamp(min=1e-5 * model.sde.T)


def _plane(count: int, like: Tensor) -> Tensor:
    """Points (count^2, 2) of a square grid; the second coordinate changes slowly."""
    axis = torch.linspace(-REACH, REACH, count, device=like.device, dtype=like.dtype)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)


def _field(model: Any, exact: GaussianMixture | None, level: float, like: Tensor) -> ScoreField:
    t = _time(model, level)
    y = _plane(_ARROWS, like)
    spacing = 2 * REACH / (_ARROWS - 1)
    alpha = model.sde.alpha(t)
    x = (alpha * y).to(y.dtype)
    learned = (level * alpha * model(x, t)).cpu()
    if exact is None:
        return ScoreField(level, spacing, y.cpu(), learned, None)
    log_p = exact.log_prob(x, t)
    kept = (log_p > log_p.max() - _EMPTY).cpu()
    return ScoreField(level, spacing, y.cpu()[kept], learned[kept], (level * alpha * exact(x, t)).cpu()[kept])


def _paths(model: Any, eps: float, like: Tensor) -> Tensor:
    sampler = Heun(LogSNRGrid(_PATH_STEPS, eps), denoise=False, trajectory_frames=_PATH_STEPS)
    index = torch.arange(_PATHS, device=like.device)
    start = model.sde.prior_sample(normal(0, "paths", 0, index, like.shape[1:]))
    # Deterministic: there is no noise to draw.
    states = sampler(model, start, lambda purpose, step, x: torch.zeros_like(x)).trajectory
    assert states is not None
    times = sampler.grid(model.sde)
    scale = (model.sde.alpha(times).square() + model.sde.sigma(times).square()).sqrt()
    # The last state repeats: without denoising the sampler ends there.
    whole = torch.cat([start.cpu()[None], states[:-1]])
    scaled: Tensor = whole / scale[:, None, None].to(whole.dtype)
    return scaled
