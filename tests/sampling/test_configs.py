"""Build and use every file in conf/control, guidance, operator, classifier and likelihood."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import open_dict

from src.noise import Address, AddressedNoise
from src.sampling import LinearGrid, NoCorrector, PredictorCorrector, ReverseDiffusion
from src.sde import VESDE
from src.sde.objectives.classification import NoisyClassification
from src.sde.time_samplers import UniformTime
from tests.support.configs import CONF, names
from tests.support.gaussian import GaussianScore


def build(group: str, name: str) -> Any:
    """Build conf/<group>/<name>.yaml with an SDE and 8 x 8 RGB data of ten classes."""
    with initialize_config_dir(str(CONF), version_base=None):
        overrides = [
            f"+{group}={name}",
            "+sde=ve",
            "sde.prior_mean=0.25",
            "+datamodule=digits",
            "datamodule.channels=3",
            *(["+operator=super_resolution"] if group == "guidance" else []),
        ]
        cfg = compose(overrides=overrides)
    with open_dict(cfg):
        # The command reads these keys; they are no arguments of the class.
        for key in ("classifier_path", "path", "interval"):
            cfg[group].pop(key, None)
    return instantiate(cfg[group], _convert_="all")


IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
SDE = VESDE()


@pytest.mark.parametrize("name", names("control"))
def test_controls_keep_the_known_part(name: str) -> None:
    control = build("control", name)(IMAGES, sde=SDE)
    noise = AddressedNoise(0, torch.arange(2))
    sampler = PredictorCorrector(LinearGrid(20), ReverseDiffusion(), NoCorrector())
    samples = sampler(GaussianScore(SDE), 50 * noise("prior", 0, IMAGES), noise, control=control).samples
    torch.testing.assert_close(control.replace(samples, IMAGES), samples)
    assert not torch.allclose(samples, IMAGES, atol=0.1)


@pytest.mark.parametrize("name", names("guidance"))
def test_guidance_changes_the_score(name: str) -> None:
    extra = {"classifier": build("classifier", "conv")} if name == "classifier" else {}
    extra |= {"guide": GaussianScore(SDE, std=0.7)} if name == "autoguidance" else {}
    guided = build("guidance", name)(_ByLabel(), **extra)
    t = torch.tensor(0.5, dtype=torch.float64)
    cond = {"labels": torch.tensor([3, 4])}
    if guided.operator is not None:
        cond["measurement"] = guided.operator.forward(IMAGES)
    # Some denoised values are then out of range.
    x = 4 * IMAGES
    score = guided(x, t, cond)
    assert score.isfinite().all() and not torch.equal(score, _ByLabel()(x, t, cond))


class _ByLabel(GaussianScore):
    """Score that depends on the label."""

    def __init__(self) -> None:
        super().__init__(SDE)

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Any:
        shift = 0.0 if cond is None or "labels" not in cond else 0.1 * cond["labels"][:, None, None, None]
        return super().__call__(x - shift, t)


@pytest.mark.parametrize("name", names("operator"))
def test_operators_match_their_transpose(name: str) -> None:
    operator = build("operator", name)
    y = operator.forward(IMAGES.double())
    w = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((y * w).sum(), (IMAGES.double() * operator.transpose(w)).sum())
    assert y.shape[1:].numel() <= IMAGES[0].numel()


@pytest.mark.parametrize("name", names("classifier"))
def test_classifiers_train(name: str) -> None:
    torch.manual_seed(0)
    model = build("classifier", name)
    objective = NoisyClassification(UniformTime())
    cond = {"labels": torch.tensor([1, 8])}

    def loss() -> torch.Tensor:
        return objective(model, IMAGES, Address(0, 0, torch.arange(2)), cond).mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = loss().item()
    for _ in range(5):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < before - 0.1


@pytest.mark.parametrize("name", names("likelihood"))
def test_bits_per_dim_of_gaussian_bytes(name: str) -> None:
    """Bytes of N(0.25, 0.5^2): the mean log density over the dequantized values, in closed form."""
    likelihood = build("likelihood", name)
    x = (IMAGES[:, :1, :4, :4] * 255).round() / 255
    address = Address(0, 0, torch.arange(2))
    # prior_mean = data mean: otherwise p_T differs from the prior, by 3e-3 bits in 16 dimensions.
    model = GaussianScore(VESDE(prior_mean=0.25))
    bits = likelihood(model, x, address)
    cells = (x * 255 + address.uniform("dequantisation", x.shape[1:])) / 256
    # The VE SDE adds noise of sigma_min at t = 0.
    density = torch.distributions.Normal(0.25, (0.5**2 + 0.01**2) ** 0.5)
    expected = 8 - density.log_prob(cells).flatten(1).mean(1) / torch.tensor(2.0).log()
    torch.testing.assert_close(bits, expected, rtol=0, atol=2e-3)
    alone = likelihood(model, x[1:], Address(0, 0, torch.arange(2)[1:]))
    torch.testing.assert_close(alone, bits[1:])
