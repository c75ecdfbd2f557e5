"""Consistency tuning on a mixture of two Gaussians, whose flow map is known.

In one dimension the probability-flow ODE maps quantiles of p_T to quantiles of the data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from src.nets.mlp import MLP
from src.noise import Address, AddressedNoise, normal, uniform
from src.sampling import Sampler
from src.sampling.solvers.consistency import Consistency
from src.sampling.solvers.schedule import KarrasGrid
from src.sde import EDMSDE, SDE, ScoreModel
from src.sde.objectives import ConsistencyTuning
from src.sde.parametrization import EDM
from src.sde.time_samplers import LogNormalSigma

CENTERS, STD, STEPS, BATCH = torch.tensor([-0.6, 0.6]), 0.2, 200, 128


def flow_map(sde: SDE, x: Tensor) -> Tensor:
    """Return the ODE's end points (N,) for start points x (N,) at T, by bisection."""
    alpha, sigma = float(sde.alpha(torch.tensor(sde.T))), float(sde.sigma(torch.tensor(sde.T)))

    def share_below(x: Tensor, alpha: float, sigma: float) -> Tensor:
        spread = (alpha**2 * STD**2 + sigma**2) ** 0.5
        return torch.special.ndtr((x[:, None] - alpha * CENTERS) / spread).mean(1)

    share = share_below(x, alpha, sigma)
    low, high = torch.full_like(x, -4.0), torch.full_like(x, 4.0)
    for _ in range(40):
        middle = (low + high) / 2
        below = share_below(middle, 1.0, 0.0) < share
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


def error(model: ScoreModel, sampler: Sampler) -> float:
    """Return the RMS difference between one-evaluation samples and the exact map, at quantiles of the prior."""
    x = model.sde.prior_sample(torch.special.ndtri(torch.linspace(0.01, 0.99, 99))[:, None])
    out = sampler(model, x, AddressedNoise(0, torch.arange(len(x))))
    assert out.nfe.tolist() == [1] * len(x)
    return float((out.samples[:, 0] - flow_map(model.sde, x[:, 0])).square().mean().sqrt())


def test_consistency_tuning_learns_the_flow_map() -> None:
    torch.manual_seed(0)
    net = MLP(dim=1, width=32, depth=2, fourier_features=8, fourier_log=False)
    model = ScoreModel(net, EDMSDE(8.0), EDM(0.63), "centered")
    objective = ConsistencyTuning(LogNormalSigma(-0.5, 1.4), doubling=STEPS // 5, huber=0.1)
    untrained, position = error(model, Consistency(KarrasGrid(1))), torch.arange(BATCH)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        side = (uniform(0, "side", step, position) < 0.5).long()
        x0 = CENTERS[side][:, None] + STD * normal(0, "data", step, position, (1,), torch.float32)
        optimizer.zero_grad()
        objective(model, x0, Address(0, step, position)).mean().backward()
        optimizer.step()
        schedule.step()
    # 0.58 before and 0.09 after; the posterior mean, which score matching learns, is 0 at T: an error of 0.63.
    assert error(model, Consistency(KarrasGrid(1))) < 0.15 < 0.3 < untrained
