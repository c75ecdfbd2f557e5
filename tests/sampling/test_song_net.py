"""All deterministic samplers reach the end of the same probability-flow ODE, on a net from an original checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from src.checkpoint import restore_model
from src.interop.checkpoints import open_checkpoint
from src.noise import AddressedNoise
from src.sampling import ProbabilityFlowODE
from src.sde import ScoreModel
from tests.interop import originals
from tests.support.configs import build, names, read

EPS = 1e-2
INDEX = torch.arange(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ScoreModel:
    path = originals.write(tmp_path_factory.mktemp("song"), "song")
    config = originals.config()
    config["model"]["sde"]["prior_mean"] = 0.4
    return restore_model(open_checkpoint(path, config=config)).eval()


@pytest.fixture(scope="module")
def prior(model: ScoreModel) -> Tensor:
    noise = AddressedNoise(0, INDEX)
    return model.sde.prior_sample(noise("prior", 0, torch.empty(1, 3, 16, 16)))


@pytest.fixture(scope="module")
def end(model: ScoreModel, prior: Tensor) -> Tensor:
    """End point of the ODE that starts at ``prior``."""
    exact = ProbabilityFlowODE(rtol=1e-5, atol=1e-5, eps=EPS, denoise=False)
    with torch.no_grad():
        return exact(model, prior, AddressedNoise(0, INDEX)).samples


# Grids without `eps` end at another time.
@pytest.mark.parametrize("name", [name for name in names("sampler") if "eps" in read("sampler", name).get("grid", {})])
def test_deterministic_samplers_converge_to_the_ode(name: str, model: ScoreModel, prior: Tensor, end: Tensor) -> None:
    def run(steps: int, seed: int = 0) -> Tensor:
        sampler = build("sampler", name, {"grid.steps": steps, "grid.eps": EPS, "denoise": False})
        with torch.no_grad():
            return sampler(model, prior, AddressedNoise(seed, INDEX)).samples

    few = run(9)
    assert few.isfinite().all()
    if not torch.equal(few, run(9, seed=1)):
        return  # stochastic samplers are tested on Gaussian data
    # First-order solvers need more steps to show their order.
    steps = 120 if build("sampler", name).convergence_order == 1 else 20
    coarse, fine = ((run(n) - end).norm() / (end - prior).norm() for n in (steps, 2 * steps))
    assert fine < 0.7 * coarse
    assert fine < 0.03
