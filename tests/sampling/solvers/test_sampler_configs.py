"""Every sampler in conf/sampler, with the exact score, samples Gaussian data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from src.noise import AddressedNoise, normal
from src.sampling.solvers.loop import GridSampler
from src.sde import EDMSDE, SDE, VESDE, VPSDE, FlowSDE
from tests.support.configs import build, names, read
from tests.support.gaussian import GaussianAverageVelocity, GaussianFlowMap, GaussianScore

SUITED: dict[str, SDE] = {
    "pc_vp": VPSDE(),
    "euler_maruyama": VPSDE(),
    "ancestral": VPSDE(),
    "heun": EDMSDE(),
    "consistency": EDMSDE(),
    "meanflow": FlowSDE(),
}
# Corrector-only sampling has no predictor and needs all its steps.
UNSHORTENED = ("corrector_only",)
STEPS = 250


@dataclass(frozen=True)
class CountingScore(GaussianScore):
    """The exact score; records for every call whether it received labels."""

    conditions: list[bool] = field(default_factory=list)

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        self.conditions.append(cond is not None and "labels" in cond)
        return super().__call__(x, t)


@dataclass(frozen=True)
class CountingMap(GaussianFlowMap):
    """The exact flow map; records the same."""

    conditions: list[bool] = field(default_factory=list)

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        self.conditions.append(cond is not None and "labels" in cond)
        return super().__call__(x, t)


@dataclass(frozen=True)
class CountingAverageVelocity(GaussianAverageVelocity):
    """The exact average velocity; records the same."""

    conditions: list[bool] = field(default_factory=list)

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        self.conditions.append(cond is not None and "labels" in cond)
        return super().__call__(x, t, cond)


# Samplers for nets that predict the end of the ODE path or its average velocity.
MAPS = {"consistency": CountingMap, "meanflow": CountingAverageVelocity}


@pytest.mark.parametrize("name", names("sampler"))
def test_samples_have_mean_and_std_of_the_data(name: str) -> None:
    sde, index = SUITED.get(name, VESDE()), torch.arange(128)
    steps = read("sampler", name).get("grid", {}).get("steps", 0)
    sampler = build("sampler", name, {"grid.steps": STEPS} if steps > STEPS and name not in UNSHORTENED else {})
    model, cond = MAPS.get(name, CountingScore)(sde), {"labels": index}
    x_init = sde.prior_sample(normal(0, "prior", 0, index, (48,)))
    out = sampler(model, x_init, AddressedNoise(0, index), cond=cond)
    # 6,144 values: a standard error of 0.006. The rest is discretization: few steps, and Langevin's finite steps of
    # varying size (for snr r in d dimensions about r^2 / 2 + 2 / d of the standard deviation, 5 % here).
    assert float(out.samples.mean()) == pytest.approx(0.25, abs=0.03)
    assert float(out.samples.std()) == pytest.approx(0.5, abs=0.05)
    assert out.samples.dtype == torch.float32
    assert all(model.conditions)
    assert int(out.nfe.max()) <= len(model.conditions)
    if isinstance(sampler, GridSampler):
        assert int(out.nfe.min()) == len(model.conditions)


@pytest.mark.parametrize("name", names("sampler"))
def test_nested_settings_reach_the_objects(name: str) -> None:
    cfg = read("sampler", name)
    if "grid" not in cfg:
        return
    assert build("sampler", name, {"grid.steps": 7}).grid.steps == 7
    if "snr" in cfg.get("corrector", {}):
        assert build("sampler", name, {"corrector.snr": 0.1}).corrector.snr == 0.1
