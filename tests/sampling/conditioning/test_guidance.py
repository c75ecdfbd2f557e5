"""Guided scores of Gaussian classes, compared with the exact conditional scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.noise import AddressedNoise
from src.sampling import (
    EulerMaruyama,
    Langevin,
    LinearGrid,
    PredictorCorrector,
    ProbabilityFlowODE,
    log_likelihood,
)
from src.sampling.conditioning.guidance import (
    Autoguidance,
    ClassifierFreeGuidance,
    ClassifierGuidance,
    IntervalGuidance,
)
from src.sde import SDE, VESDE, VPSDE, SubVPSDE, expand
from tests.sampling.closed_forms import Mixture
from tests.support.gaussian import GaussianScore

MEANS = torch.tensor([[0.6, 0.1], [-0.4, 0.5], [-0.2, -0.6]], dtype=torch.float64)
STD = 0.4
SDES = [VESDE(), VPSDE(), SubVPSDE()]


@dataclass(frozen=True)
class ClassScore:
    """Exact score of class k, N(MEANS[k], STD^2 I); N(0, 1) for label 3 (no label)."""

    sde: SDE

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        assert cond is not None
        table = torch.cat([MEANS, torch.zeros(1, 2, dtype=torch.float64)])
        std = torch.tensor([STD, STD, STD, 1.0], dtype=torch.float64)
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        labels = cond["labels"]
        return -(x - alpha * table[labels]) / (alpha**2 * std[labels, None] ** 2 + sigma**2)


class ExactClassifier:
    """log p_t(k | x) of the mixture."""

    def __init__(self, sde: SDE) -> None:
        self.sde = sde

    def log_prob(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        one = [Mixture(self.sde, mean[None], STD).log_prob(x, t) for mean in MEANS]
        return torch.log_softmax(torch.stack(one, 1), 1).gather(1, labels[:, None])[:, 0]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


LABELS = {"labels": torch.tensor([0, 1, 2, 2, 1, 0])}


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: type(sde).__name__)
@pytest.mark.parametrize("t", [torch.tensor(0.2).double(), torch.linspace(0.01, 1, 6, dtype=torch.float64)])
def test_classifier_guidance_matches_bayes_rule(sde: SDE, t: Tensor, x: Tensor) -> None:
    guided = ClassifierGuidance(Mixture(sde, MEANS, STD), ExactClassifier(sde))
    with torch.no_grad():
        torch.testing.assert_close(guided(x, t, LABELS), ClassScore(sde)(x, t, LABELS))
    twice = ClassifierGuidance(Mixture(sde, MEANS, STD), ExactClassifier(sde), scale=2.0)(x, t, LABELS)
    plain = Mixture(sde, MEANS, STD)(x, t)
    torch.testing.assert_close(twice, plain + 2 * (ClassScore(sde)(x, t, LABELS) - plain))


def test_likelihood_with_classifier_guidance_is_the_class_likelihood(x: Tensor) -> None:
    """Needs the derivative of the guided score."""
    sde = VPSDE()
    guided = ClassifierGuidance(Mixture(sde, MEANS, STD), ExactClassifier(sde))
    out = log_likelihood(guided, x, cond=LABELS, divergence="exact", data_range="continuous")
    density = torch.distributions.Normal(MEANS[LABELS["labels"]], STD)
    # The likelihood uses the prior in place of p_T; correct for the difference.
    alpha, sigma = sde.alpha(torch.tensor(1.0).double()), sde.sigma(torch.tensor(1.0).double())
    end = torch.distributions.Normal(alpha * density.loc, (alpha**2 * STD**2 + sigma**2).sqrt())
    mismatch = end.log_prob(out.latent).sum(1) - sde.prior_log_prob(out.latent)
    expected = -(density.log_prob(x).sum(1) - mismatch) / (2 * math.log(2))
    torch.testing.assert_close(out.bits_per_dim, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: type(sde).__name__)
def test_classifier_free_guidance(sde: SDE, x: Tensor) -> None:
    model, t = ClassScore(sde), torch.tensor(0.3, dtype=torch.float64)
    null = model(x, t, {"labels": torch.full((6,), 3)})
    own = model(x, t, LABELS)
    for scale, expected in ((0.0, null), (1.0, own), (2.5, null + 2.5 * (own - null))):
        guided = ClassifierFreeGuidance(model, scale, null_label=3)
        torch.testing.assert_close(guided(x, t, LABELS), expected)
        alpha, sigma = sde.alpha(t), sde.sigma(t)
        torch.testing.assert_close(guided.denoise(x, t, LABELS), (x + sigma**2 * expected) / alpha)


class Counting:
    def __init__(self, model: ClassScore) -> None:
        self.model = model
        self.sde = model.sde
        self.evaluations = 0

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        self.evaluations += len(x)
        return self.model(x, t, cond)


@pytest.mark.parametrize(
    "sampler",
    [
        PredictorCorrector(LinearGrid(4, eps=1e-3), EulerMaruyama(), Langevin()),
        ProbabilityFlowODE(rtol=1e-2, atol=1e-2, eps=1e-3),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_nfe_counts_every_net_evaluation(sampler: PredictorCorrector | ProbabilityFlowODE, x: Tensor) -> None:
    counting = Counting(ClassScore(VPSDE()))
    guided = ClassifierFreeGuidance(counting, 2.0, null_label=3)
    out = sampler(guided, x, AddressedNoise(0, torch.arange(6)), cond=LABELS)
    assert int(out.nfe.sum()) == counting.evaluations
    assert ClassifierGuidance(guided, ExactClassifier(VPSDE())).evaluations_per_call == 2


def test_guided_samples_have_the_class_distribution() -> None:
    """Scale 1 on exact scores: class mean and spread, by the ODE, whose map of a Gaussian is affine."""
    sde = VPSDE()
    guided = ClassifierGuidance(Mixture(sde, MEANS, STD), ExactClassifier(sde))
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    for label in range(3):
        cond = {"labels": torch.full((3,), label)}
        origin, first, second = ProbabilityFlowODE(eps=1e-4, denoise=False)(guided, z, cond=cond).samples
        torch.testing.assert_close(origin, MEANS[label], rtol=0, atol=5e-3)
        torch.testing.assert_close(
            torch.stack([first - origin, second - origin]), STD * torch.eye(2).double(), rtol=0, atol=5e-3
        )


def test_works_inside_inference_mode(x: Tensor) -> None:
    t = torch.tensor(0.5, dtype=torch.float64)
    guided = ClassifierGuidance(GaussianScore(VESDE()), ExactClassifier(VESDE()))
    with torch.inference_mode():
        inside = guided(x + 0, t, {"labels": LABELS["labels"] + 0})
    assert torch.equal(inside, guided(x, t, LABELS).detach())


def test_missing_labels_are_an_error(x: Tensor) -> None:
    t = torch.tensor(0.5, dtype=torch.float64)
    for guided in (
        ClassifierGuidance(Mixture(VESDE(), MEANS, STD), ExactClassifier(VESDE())),
        ClassifierFreeGuidance(ClassScore(VESDE()), 2.0, null_label=3),
    ):
        with pytest.raises(UserError, match="labels"):
            guided(x, t)


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: type(sde).__name__)
def test_autoguidance_of_gaussians_matches_the_closed_form(sde: SDE, x: Tensor) -> None:
    """The guided density is a Gaussian of variance 1 / (scale / v + (1 - scale) / v_guide)."""
    t = torch.tensor(0.3, dtype=torch.float64)
    guided = Autoguidance(GaussianScore(sde, mean=0.0), GaussianScore(sde, mean=0.0, std=0.9), scale=2.5)
    alpha, sigma = sde.alpha(t), sde.sigma(t)
    precision = 2.5 / (alpha**2 * 0.25 + sigma**2) - 1.5 / (alpha**2 * 0.81 + sigma**2)
    torch.testing.assert_close(guided(x, t), -x * precision)
    assert guided.evaluations_per_call == 2


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: type(sde).__name__)
def test_guidance_acts_only_in_its_interval(sde: SDE, x: Tensor) -> None:
    guidance = Autoguidance(GaussianScore(sde), GaussianScore(sde, std=0.9))
    levels = torch.tensor([0.05, 0.19, 0.21, 0.5, 0.99, 1.01], dtype=torch.float64)
    times = sde.time_of_log_snr(-levels.log())
    model = IntervalGuidance(guidance, [0.2, 1.0])
    together = model(x, times)
    for i, acts in enumerate([False, False, True, True, True, False]):
        one = x[i : i + 1]
        expected = guidance(one, times[i]) if acts else GaussianScore(sde)(one, times[i])
        torch.testing.assert_close(together[i : i + 1], expected)
        torch.testing.assert_close(model(one, times[i]), expected)
    with pytest.raises(UserError, match="two noise levels"):
        IntervalGuidance(guidance, [1.0, 0.2])


def test_outside_the_interval_an_unconditional_model_gets_no_labels(x: Tensor) -> None:
    sde = VPSDE()
    guided = IntervalGuidance(ClassifierGuidance(Mixture(sde, MEANS, STD), ExactClassifier(sde)), [0.0, 1e-9])
    t = torch.tensor(0.5, dtype=torch.float64)
    torch.testing.assert_close(guided(x, t, LABELS), Mixture(sde, MEANS, STD)(x, t))
