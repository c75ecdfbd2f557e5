"""Nets trained for one evaluation, on data whose flow map is known: a Gaussian and a mixture of two.

In one dimension the probability-flow ODE maps quantiles of p_T to quantiles of the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from src.nets.mlp import MLP
from src.noise import Address, AddressedNoise, normal, uniform
from src.sampling import Sampler
from src.sampling.solvers.consistency import Consistency
from src.sampling.solvers.mean_flow import EvenGrid, MeanFlowSampler
from src.sampling.solvers.schedule import KarrasGrid
from src.sde import EDMSDE, SDE, FlowSDE, ScoreModel
from src.sde.average_velocity import AverageVelocityModel
from src.sde.objectives import ConsistencyTuning, MeanFlow
from src.sde.objectives.base import Objective
from src.sde.parametrization import EDM
from src.sde.prediction import VelocityPrediction
from src.sde.time_samplers import LogNormalSigma


@dataclass(frozen=True)
class Data:
    """Two Gaussians of equal weight in one dimension, or one with equal centers."""

    centers: tuple[float, float]
    std: float

    def draw(self, step: int, position: Tensor) -> Tensor:
        """Samples (B, 1) at an optimizer step and positions (B,) of its batch."""
        side = (uniform(0, "side", step, position) < 0.5).long()
        return torch.tensor(self.centers)[side][:, None] + self.std * normal(
            0, "data", step, position, (1,), torch.float32
        )

    def flow_map(self, sde: SDE, x: Tensor) -> Tensor:
        """The data (N,) at the end of the ODE's paths from x (N,) at T."""
        alpha, sigma = float(sde.alpha(torch.tensor(sde.T))), float(sde.sigma(torch.tensor(sde.T)))
        share = self._share_below(x, alpha, sigma)
        low, high = torch.full_like(x, -4.0), torch.full_like(x, 4.0)
        for _ in range(40):
            middle = (low + high) / 2
            below = self._share_below(middle, 1.0, 0.0) < share
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return low

    def _share_below(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        spread = (alpha**2 * self.std**2 + sigma**2) ** 0.5
        return torch.special.ndtr((x[:, None] - alpha * torch.tensor(self.centers)) / spread).mean(1)


GAUSSIAN, MIXTURE = Data((0.25, 0.25), 0.5), Data((-0.6, 0.6), 0.2)


def error(model: ScoreModel, sampler: Sampler, data: Data) -> float:
    """Root mean square of one-evaluation samples minus the exact map, at quantiles of the prior."""
    x = model.sde.prior_sample(torch.special.ndtri(torch.linspace(0.01, 0.99, 99))[:, None])
    out = sampler(model, x, AddressedNoise(0, torch.arange(len(x))))
    assert out.nfe.tolist() == [1] * len(x)
    return float((out.samples[:, 0] - data.flow_map(model.sde, x[:, 0])).square().mean().sqrt())


def training(model: ScoreModel, objective: Objective, data: Data, steps: int, lr: float) -> Iterator[int]:
    """Train with a cosine schedule; yields the number of finished steps."""
    optimizer, position = torch.optim.Adam(model.parameters(), lr, fused=True), torch.arange(128)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        objective(model, data.draw(step, position), Address(0, step, position)).mean().backward()
        optimizer.step()
        schedule.step()
        yield step + 1


def mlp(**settings: float) -> MLP:
    torch.manual_seed(0)
    return MLP(dim=1, width=32, depth=2, fourier_features=8, fourier_log=False, **settings)  # type: ignore[arg-type]


def test_consistency_tuning_leads_to_the_flow_map() -> None:
    model, sampler, steps = ScoreModel(mlp(), EDMSDE(8.0), EDM(0.63), "centered"), Consistency(KarrasGrid(1)), 200
    untrained = error(model, sampler, MIXTURE)
    for _ in training(
        model, ConsistencyTuning(LogNormalSigma(-0.5, 1.4), doubling=steps // 5, huber=0.1), MIXTURE, steps, 1e-2
    ):
        pass
    # 0.58 before and 0.09 after; the posterior mean, which score matching learns, is 0 at T and so 0.63 away.
    assert error(model, sampler, MIXTURE) < 0.15 < 0.3 < untrained


def mean_flow_errors(data: Data, steps: int) -> list[float]:
    """Errors of one evaluation at a quarter and at the end of a MeanFlow training."""
    model = AverageVelocityModel(mlp(fourier_scale=0.3), FlowSDE(), VelocityPrediction(1.0), "centered")
    times = LogNormalSigma(0.0, 1.8)
    sampler = MeanFlowSampler(EvenGrid(1))
    return [
        error(model, sampler, data)
        for done in training(model, MeanFlow(times, times, different=0.5, c=0.1), data, steps, 1e-2)
        if done in (steps // 4, steps)
    ]


def test_mean_flow_leads_to_the_flow_map_of_a_gaussian() -> None:
    early, late = mean_flow_errors(GAUSSIAN, 240)
    # 0.29 and 0.07; flow matching learns the mean, 0.25, which is 0.48 away.
    assert late < 0.12 < 0.2 < early


@pytest.mark.slow
def test_mean_flow_leads_to_the_flow_map_of_a_mixture() -> None:
    early, late = mean_flow_errors(MIXTURE, 600)
    # 0.21 and 0.08
    assert late < 0.12 and late < 0.7 * early
