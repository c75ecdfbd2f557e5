"""Reference models of the few-step study: the exact score of the training set, and partly corrected nets."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from src.metrics.distances.frechet import frechet_distance
from src.metrics.extractors.digits import DigitFeatures, digit_images, digit_split
from src.metrics.reference.statistics import GaussianStatistics
from src.sde import SDE
from src.sde.objectives.score_matching import PaperWeighting
from src.sde.objectives.stf import StableTargetField
from src.sde.score_model import Model
from src.sde.time_samplers import UniformTime
from src.stored_values import BYTES

Condition = Mapping[str, Tensor] | None


class Digits:
    """The digits in [0, 1] with their moments.

    Attributes:
        train: (1500, 1, 8, 8).
        mean: (1, 8, 8), of all 1,797.
        level, variance: mean of all pixels, and mean square of their distance from it.
        variances, directions: eigenvalues (64,) and eigenvectors (64, 64) of their covariance, the smallest first.
    """

    def __init__(self) -> None:
        images, _ = digit_images()
        data = images / 255
        self.train = data[digit_split(len(data))[0]]
        self.mean = data.mean(0)
        self.level = float(data.mean())
        self.variance = float((data - self.level).square().mean())
        self._statistics = _moments(data)
        self.variances, self.directions = torch.linalg.eigh(self._statistics.sigma)
        self.variances.clamp_(min=0)
        self._classifier = DigitFeatures()

    def distance(self, samples: Tensor) -> float:
        """Return the pixel Fréchet distance of samples (B, 1, 8, 8), as bytes, to all digits."""
        return frechet_distance(_moments(BYTES.from_model(samples, "unit") / 255), self._statistics)

    def confidence(self, samples: Tensor) -> Tensor:
        """Return the largest probability (B,) of the shipped classifier for samples (B, 1, 8, 8)."""
        with torch.no_grad():
            features = self._classifier(BYTES.from_model(samples, "unit"))
            return self._classifier.probabilities(features).max(1).values


class Exact:
    """Exact score of the training set, a mixture of its images.

    Args:
        sde: forward process.
        data: (N, *d).
    """

    def __init__(self, sde: SDE, data: Tensor) -> None:
        self.sde = sde
        self._field = StableTargetField(UniformTime(), PaperWeighting())
        self._field.set_reference(lambda _: data)

    def __call__(self, x: Tensor, t: Tensor, cond: Condition = None) -> Tensor:
        times = t.expand(len(x))
        return self._field.target(self.sde, x, x, times, x) / self.sde.sigma(t)


class Swapped:
    """A model that is replaced by another between two noise levels.

    Args:
        model: used at all other levels.
        other: used from ``low`` to below ``high``.
        low, high: standard deviations.
    """

    def __init__(self, model: Model, other: Model, low: float, high: float) -> None:
        self.sde = model.sde
        self._models, self._range = (model, other), (low, high)

    def __call__(self, x: Tensor, t: Tensor, cond: Condition = None) -> Tensor:
        inside = self._range[0] <= float(self.sde.sigma(t)) < self._range[1]
        return self._models[inside](x, t, cond)


class Rescaled:
    """A model of a process with alpha = 1 whose input is rescaled to the correct size, so that it removes excess noise.

    Above a noise level, x is scaled about the mean gray level to a root mean square of (v + sigma^2)^1/2, where v is
    the variance of the data. The removed part is counted as noise.

    Args:
        model: the model to correct.
        digits: source of level and variance.
        above: noise level, as standard deviation.
    """

    def __init__(self, model: Model, digits: Digits, above: float) -> None:
        self.sde = model.sde
        self._model, self._digits, self._above = model, digits, above

    def __call__(self, x: Tensor, t: Tensor, cond: Condition = None) -> Tensor:
        sigma = self.sde.sigma(t)
        if sigma < self._above:
            return self._model(x, t, cond)
        away = x - self._digits.level
        size = away.square().flatten(1).mean(1).sqrt().reshape(-1, 1, 1, 1)
        u = self._digits.level + away * ((self._digits.variance + sigma.square()).sqrt() / size)
        return self._model(u, t, cond) + (u - x) / sigma.square()


def _moments(images: Tensor) -> GaussianStatistics:
    pixels = images.flatten(1).double()
    return GaussianStatistics(pixels.mean(0), torch.cov(pixels.T), len(pixels), None)
