"""A new SDE needs one class only: training, both kinds of samplers and likelihoods then work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from src.cli.instantiate import instantiate
from src.cli.run_dir import register_resolvers
from src.noise import AddressedNoise, normal
from src.sampling import Likelihood, ProbabilityFlowODE
from src.sampling.solvers.correctors import Langevin
from src.sampling.solvers.pc import PredictorCorrector
from src.sampling.solvers.predictors import ReverseDiffusion
from src.sampling.solvers.schedule import LogSNRGrid
from src.sde import SDE
from tests.support.configs import CONF
from tests.support.gaussian import GaussianScore

EPS = 0.01


@dataclass(frozen=True)
class Cubic(SDE):
    """alpha = exp(-5 t^3), sigma^2 = 1 - alpha^2; not in conf/sde."""

    T: float = 1.0

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-5 * t**3)

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(-10 * t**3)).sqrt()


def test_samples_and_likelihood_with_the_exact_score() -> None:
    model = GaussianScore(Cubic())
    index = torch.arange(200)
    x_init = model.sde.prior_sample(normal(0, "prior", 0, index, (48,)))
    pc = PredictorCorrector(LogSNRGrid(150, EPS), ReverseDiffusion(), Langevin(snr=0.1))
    for sampler in (pc, ProbabilityFlowODE(eps=EPS)):
        samples = sampler(model, x_init, AddressedNoise(0, index)).samples
        assert float(samples.mean()) == pytest.approx(0.25, abs=0.03)
        assert float(samples.std()) == pytest.approx(0.5, abs=0.03)

    x = 0.25 + 0.5 * normal(0, "data", 0, torch.arange(4), (6,), torch.float64)
    bits = Likelihood(eps=EPS, divergence="exact", data_range="continuous")(model, x).bits_per_dim
    nats = 0.5 * ((x - 0.25) / 0.5).square().mean(1) + math.log(0.5) + 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(bits, nats / math.log(2), atol=2e-3, rtol=0)


def test_training_needs_only_the_class_name(tmp_path: Path) -> None:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "train",
            [
                "experiment=toy2d",
                f"sde._target_={__name__}.{Cubic.__name__}",
                "~sde.beta_min",
                "~sde.beta_max",
                "sde=vp",
                "trainer.max_steps=500",
                "datamodule.global_batch_size=256",
                "scheduler.steps=50",
                "++trainer.limit_val_batches=0",
                "++trainer.logger=false",
                f"paths.run_dir={tmp_path}",
            ],
        )
    datamodule, module = instantiate(cfg.datamodule), instantiate(cfg.module)
    assert type(module.model.sde) is Cubic
    torch.manual_seed(0)
    trainer = instantiate(cfg.trainer, enable_checkpointing=False)
    before = _nats(module.model, datamodule)
    trainer.fit(module, datamodule)
    model = module.model.eval()
    weights, means, stds = datamodule.mixture
    points = datamodule.sample(150).double()
    squares = (points[:, None] - means).square().sum(-1) / (2 * stds.square())
    exact = float(-torch.logsumexp(weights.log() - (2 * math.pi * stds.square()).log() - squares, dim=1).mean())
    assert -0.1 < _nats(model, datamodule) - exact < 0.4 < 1 < before - exact

    # Samples lie near the modes.
    index = torch.arange(200)
    x_init = model.sde.prior_sample(normal(0, "prior", 0, index, (2,)))
    for sampler in (
        PredictorCorrector(LogSNRGrid(50, 0.04), ReverseDiffusion(), Langevin(snr=0.1)),
        ProbabilityFlowODE(rtol=1e-3, atol=1e-3, eps=0.04),
    ):
        samples = sampler(model, x_init, AddressedNoise(0, index)).samples.double()
        away = torch.cdist(samples, means).amin(dim=1)
        assert float(away.median()) < 3 * float(stds[0])


def _nats(model: torch.nn.Module, datamodule: object) -> float:
    """Return the mean negative log-likelihood of 150 points, in nats."""
    x = datamodule.sample(150)  # type: ignore[attr-defined]
    likelihood = Likelihood(1e-3, 1e-3, eps=0.04, divergence="exact", data_range="continuous")
    return float(likelihood(model, x).bits_per_dim.mean()) * 2 * math.log(2)
