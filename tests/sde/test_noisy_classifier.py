"""Noise-conditional classifier: input scaling, loss, training, and time arguments."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from src.errors import UserError
from src.nets.classifier import ConvClassifier
from src.noise import Address
from src.sde import EDMSDE, SDE, VESDE, VPSDE, SubVPSDE
from src.sde.noisy_classifier import NoisyClassifier
from src.sde.objectives.classification import NoisyClassification
from src.sde.time_samplers import LikelihoodTime, UniformTime

MEANS = torch.tensor([[0.5, 0.0], [-0.5, 0.3]], dtype=torch.float64)
STD = 0.3


class Recording(nn.Module):
    """Record the net's arguments."""

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        self.x, self.c_noise = x, c_noise
        return x.flatten(1)[:, :3]


@pytest.mark.parametrize("data_range", ["unit", "centered"])
@pytest.mark.parametrize("sde", [VESDE(), EDMSDE(), VPSDE(), SubVPSDE()], ids=lambda sde: type(sde).__name__)
def test_the_input_of_the_net_has_unit_variance(sde: SDE, data_range: str) -> None:
    generator = torch.Generator().manual_seed(0)
    centered = 0.5 * torch.randn(8, 3, 32, 32, dtype=torch.float64, generator=generator)
    x0 = centered if data_range == "centered" else (centered + 1) / 2
    z = torch.randn(x0.shape, dtype=torch.float64, generator=generator)
    net = Recording()
    classifier = NoisyClassifier(net, sde, data_range)
    for fraction in (0.01, 0.1, 0.5, 1.0):
        t = torch.tensor(fraction * sde.T, dtype=torch.float64)
        classifier(sde.alpha(t) * x0 + sde.sigma(t) * z, t)
        # Only the variance is checked: the mean 1/2 of unit data is not removed when alpha < 1.
        assert float(net.x.std()) == pytest.approx(1, abs=0.02)
        torch.testing.assert_close(4 * net.c_noise, (sde.sigma(t) / sde.alpha(t)).log())


class BayesClassifier:
    """Exact posterior of two Gaussian classes; the log-odds are multiplied by ``sharpness``."""

    def __init__(self, sde: SDE, sharpness: float = 1.0) -> None:
        self.sde = sde
        self.sharpness = sharpness

    def log_prob(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        alpha, sigma = self.sde.alpha(t)[:, None, None], self.sde.sigma(t)[:, None]
        squares = (x[:, None] - alpha * MEANS).square().sum(2)
        logits = -0.5 * squares / (alpha[..., 0] ** 2 * STD**2 + sigma**2)
        return torch.log_softmax(self.sharpness * logits, 1).gather(1, labels[:, None])[:, 0]


def gaussian_classes(batch: int) -> tuple[Tensor, dict[str, Tensor]]:
    labels = torch.arange(batch) % 2
    z = torch.randn(batch, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return MEANS[labels] + STD * z, {"labels": labels}


@pytest.mark.parametrize("time_sampler", [UniformTime(), LikelihoodTime()], ids=lambda s: type(s).__name__)
def test_the_loss_is_smallest_for_the_bayes_classifier(time_sampler: UniformTime | LikelihoodTime) -> None:
    x0, cond = gaussian_classes(20_000)
    address = Address(0, 0, torch.arange(len(x0)))
    objective = NoisyClassification(time_sampler)
    losses = {
        sharpness: float(objective(BayesClassifier(VPSDE(), sharpness), x0, address, cond).mean())
        for sharpness in (0.7, 1.0, 1.4)
    }
    assert losses[1.0] < min(losses[0.7], losses[1.4])


def test_importance_weights_keep_the_expectation_over_uniform_times() -> None:
    x0, cond = gaussian_classes(20_000)
    address = Address(0, 0, torch.arange(len(x0)))
    uniform, weighted = (
        NoisyClassification(sampler)(BayesClassifier(VPSDE()), x0, address, cond)
        for sampler in (UniformTime(0.01), LikelihoodTime(0.01))
    )
    error = float((uniform.var() + weighted.var()).sqrt()) / len(x0) ** 0.5
    assert abs(float(uniform.mean() - weighted.mean())) < 3 * error


def test_losses_depend_on_the_address_and_not_on_the_batch() -> None:
    x0, cond = gaussian_classes(8)
    objective, model = NoisyClassification(UniformTime()), BayesClassifier(VESDE())
    whole = objective(model, x0, Address(1, 5, torch.arange(8)), cond)
    part = objective(model, x0[3:6], Address(1, 5, torch.arange(8)[3:6]), {"labels": cond["labels"][3:6]})
    torch.testing.assert_close(whole[3:6], part)
    with pytest.raises(UserError, match="labels"):
        objective(model, x0, Address(1, 5, torch.arange(8)), None)


def test_training_approaches_the_bayes_loss_on_images() -> None:
    """Two classes of constant 8 x 8 gray images: only the mean matters, and the Bayes classifier is known."""
    torch.manual_seed(0)
    sde = VPSDE()
    net = ConvClassifier(in_channels=1, num_classes=2, nf=16)
    model = NoisyClassifier(net, sde, "centered")
    objective = NoisyClassification(UniformTime(1e-3))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def batch(step: int) -> tuple[Tensor, dict[str, Tensor], Address]:
        labels = torch.arange(64) % 2
        return (
            (labels.float() - 0.5).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8),
            {"labels": labels},
            Address(0, step, torch.arange(64)),
        )

    class Exact:
        sde = VPSDE()

        def log_prob(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
            # Log-odds of the classes +-1/2: alpha times the sum of the pixels, divided by sigma^2.
            odds = sde.alpha(t) * x.flatten(1).sum(1) / sde.sigma(t).square()
            return torch.nn.functional.logsigmoid(torch.where(labels == 1, odds, -odds))

    for step in range(120):
        x0, cond, address = batch(step)
        loss = objective(model, x0, address, cond).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x0, cond, address = batch(1000)
    exact = float(objective(Exact(), x0, address, cond).mean())
    trained = float(objective(model, x0, address, cond).detach().mean())
    assert exact < trained + 0.02 and trained < exact + 0.15 < torch.tensor(2.0).log()


def test_one_time_per_batch_or_per_sample() -> None:
    torch.manual_seed(0)
    net = ConvClassifier(in_channels=3, num_classes=4, nf=8)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    model = NoisyClassifier(net, VESDE())
    x, t = torch.rand(2, 3, 8, 8), torch.tensor([0.3, 0.7])
    each = model(x, t)
    for i in range(2):
        torch.testing.assert_close(model(x[i : i + 1], t[i].double()), each[i : i + 1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(x, t[:1]), model(x, t[1:]))
    log_probs = torch.stack([model.log_prob(x, t, torch.full((2,), k)) for k in range(4)])
    torch.testing.assert_close(log_probs.exp().sum(0), torch.ones(2))


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(UserError, match="data_range"):
        NoisyClassifier(nn.Identity(), VESDE(), "bytes")
    with pytest.raises(UserError, match="num_classes"):
        ConvClassifier(in_channels=1, num_classes=1)
