"""Samplers on a grid never make the host wait for the GPU."""

from __future__ import annotations

import pytest
import torch

from src.noise import AddressedNoise
from src.sde import VESDE
from tests.sampling.solvers.test_sampler_configs import SUITED
from tests.support.configs import build, names, read
from tests.support.gaussian import GaussianScore
from tests.support.host_reads import CARD, NoHostWait

# Adaptive solvers read the error on the host to choose the next step.
ADAPTIVE = {"ode"}


@pytest.mark.parametrize("name", [name for name in names("sampler") if name not in ADAPTIVE])
def test_steps_do_not_wait_for_the_gpu(name: str) -> None:
    sde = SUITED.get(name, VESDE())
    sampler = build("sampler", name, {"grid.steps": 4} if "steps" in read("sampler", name).get("grid", {}) else {})
    index, x_init = torch.arange(3, device=CARD), torch.empty(3, 2, 4, 4, device=CARD)
    with torch.no_grad(), NoHostWait() as seen:
        output = sampler(GaussianScore(sde), x_init, AddressedNoise(0, index))
    assert output.samples.device == CARD and seen.on_card > 20


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: bool(x.any()),
        lambda x: x + torch.ones(3).to(CARD),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: x + torch.tensor([1.0, 2.0, 3.0], device=CARD),
    ],
)
def test_every_kind_of_wait_is_detected(wait: object) -> None:
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)), NoHostWait():
        wait(torch.empty(3, device=CARD))  # type: ignore[operator]
