"""Running averages of weights: how far a shadow moves toward the weights at each update."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...errors import UserError
from .power_profile import gamma_of


class Average(ABC):
    """The weight of the newest parameters at an update."""

    sigma_rel: float | None = None
    """The relative length of a power-function average, from which averages of other lengths follow; None for others."""

    @abstractmethod
    def rate(self, update: int) -> float:
        """1 - decay at the n-th update, counted from 1."""


class ExponentialAverage(Average):
    """Exponential moving average with the originals' warm-up: decay = min(d, (1 + n) / (10 + n)) at update n.

    Args:
        decay: d, the decay per optimizer step in [0, 1); 0.999 for VE, 0.9999 for VP in the paper.
        warmup: whether the decay starts low; without it the initial weights stay visible for 1 / (1 - d) steps.
    """

    def __init__(self, decay: float = 0.999, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"ema decay is {decay}: it must lie in [0, 1)")
        self.decay = decay
        self.warmup = warmup

    def rate(self, update: int) -> float:
        decay = min(self.decay, (1 + update) / (10 + update)) if self.warmup else self.decay
        return 1 - decay


class HalfLifeAverage(Average):
    """EDM's exponential average (Karras et al. 2022, appendix F): a half-life in images, ramped up from zero.

    Args:
        half_life: images after which an old weight counts half.
        batch_size: images per update, over all devices.
        ramp: the half-life is at most this share of the images seen so far; None for no ramp.
    """

    def __init__(self, half_life: float, batch_size: int, ramp: float | None = 0.05) -> None:
        if half_life <= 0 or batch_size <= 0:
            raise UserError(f"ema half_life={half_life} and batch_size={batch_size} must be positive")
        self.half_life = half_life
        self.batch_size = batch_size
        self.ramp = ramp

    def rate(self, update: int) -> float:
        # EDM takes the number of images before this update.
        seen = (update - 1) * self.batch_size
        half_life = self.half_life if self.ramp is None else min(self.half_life, seen * self.ramp)
        return 1 - float(0.5 ** (self.batch_size / max(half_life, 1e-8)))


class PowerAverage(Average):
    """EDM2's power-function average (Karras et al. 2024, section 3): decay = (1 - 1/n)^(gamma + 1) at update n.

    Two of them, as in ``conf/ema/posthoc.yaml``, let averages of any other length be built after training.

    Args:
        sigma_rel: standard deviation of the weighting over the updates so far, as a share of their number; about
            half the length of the average. In (0, 0.2887].
    """

    def __init__(self, sigma_rel: float) -> None:
        self.sigma_rel = sigma_rel
        self.gamma = gamma_of(sigma_rel)

    def rate(self, update: int) -> float:
        return 1 - float((1 - 1 / update) ** (self.gamma + 1))
