"""Guided scores: wrappers of a model that keep its interface, so that every sampler works with them.

Bayes' rule on the score (Song et al. 2021, eq. 14):

    grad log p_t(x | y) = grad log p_t(x) + grad log p_t(y | x).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ...errors import UserError
from ...sde import SDE, expand, tweedie
from ...sde.base import NumbersAsTimes
from ...sde.score_model import Condition, Model
from ..output import evaluations_per_call
from .gradients import gradients, graph_safe, leaf
from .operators import LinearOperator


class Guidance(NumbersAsTimes, ABC):
    """A model made of another one.

    Args:
        model: score and SDE.
        calls: calls of ``model`` in each call of the guided one.
    """

    operator: LinearOperator | None = None
    """The operator of an inverse problem; None in other guidance."""

    noise_std: float = 0.0
    """Standard deviation of the measurement's noise, in units of the data."""

    def __init__(self, model: Model, calls: int = 1) -> None:
        self.model = model
        self.evaluations_per_call = calls * evaluations_per_call(model)

    @property
    def sde(self) -> SDE:
        """The forward process of the wrapped model."""
        return self.model.sde

    @abstractmethod
    def __call__(self, x: Float[Tensor, "b *d"], t: Tensor, cond: Condition = None) -> Float[Tensor, "b *d"]:
        """The guided score (B, *d) at x (B, *d) and t, () or (B,)."""

    def unguided(self, x: Float[Tensor, "b *d"], t: Tensor, cond: Condition = None) -> Float[Tensor, "b *d"]:
        """The score of the wrapped model without guidance, with the same conditions as under guidance."""
        return self.model(x, t, cond)

    def denoise(self, x: Float[Tensor, "b *d"], t: Tensor, cond: Condition = None) -> Float[Tensor, "b *d"]:
        """The data prediction of the guided score, (B, *d)."""
        return tweedie(self.sde, x, t, self(x, t, cond))


@runtime_checkable
class Classifier(Protocol):
    """A classifier of noisy data."""

    def log_prob(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """log p_t(labels | x), (B,), at x (B, *d), t () or (B,), labels (B,) int64."""
        ...


class ClassifierGuidance(Guidance):
    """score + scale grad_x log p_t(label | x) (Song et al. 2021, eq. 14; scale: Dhariwal and Nichol 2021).

    The class is ``cond["labels"]``; the classifier's evaluations are not counted.

    Args:
        model: score, usually without classes.
        classifier: log-probability of a class at a noise level.
        scale: 1 is Bayes' rule; larger values sharpen the classes.
        pass_labels: also pass the class to the wrapped model.
    """

    def __init__(self, model: Model, classifier: Classifier, scale: float = 1.0, pass_labels: bool = False) -> None:
        super().__init__(model)
        self.classifier = classifier
        self.scale = scale
        self.pass_labels = pass_labels

    def __call__(self, x: Float[Tensor, "b *d"], t: Tensor, cond: Condition = None) -> Float[Tensor, "b *d"]:
        labels = required(cond, "labels", "classifier guidance")
        with gradients():
            u = x if x.requires_grad else leaf(x)
            log_prob = self.classifier.log_prob(u, graph_safe(t), graph_safe(labels)).sum()
            (gradient,) = torch.autograd.grad(log_prob, u, create_graph=x.requires_grad)
        return self.unguided(x, t, cond) + self.scale * gradient

    def unguided(self, x: Float[Tensor, "b *d"], t: Tensor, cond: Condition = None) -> Float[Tensor, "b *d"]:
        return self.model(x, t, cond if self.pass_labels else without(cond, "labels"))


class ClassifierFreeGuidance(Guidance):
    """s_null + scale (s_label - s_null) (Ho and Salimans 2022), with the class ``cond["labels"]``; NFE doubles.

    Args:
        model: score trained with and without labels.
        scale: 0 samples without the class, 1 with it; larger values sharpen it. In the paper w = scale - 1.
        null_label: the label that means "no label": the net's number of classes.
    """

    def __init__(self, model: Model, scale: float, null_label: int) -> None:
        super().__init__(model, calls=2)
        self.scale = scale
        self.null_label = null_label

    def __call__(self, x: Float[Tensor, "b *d"], t: Tensor, cond: Condition = None) -> Float[Tensor, "b *d"]:
        labels: Int64[Tensor, " b"] = required(cond, "labels", "classifier-free guidance")
        null = {**(cond or {}), "labels": torch.full_like(labels, self.null_label)}
        unconditional = self.model(x, t, null)
        return unconditional + self.scale * (self.model(x, t, cond) - unconditional)


class Autoguidance(Guidance):
    """s_guide + scale (s - s_guide) (Karras et al. 2024), with a worse model as the guide; NFE doubles.

    Works with and without classes: both models have the same conditions.

    Args:
        model: score.
        guide: a score of the same process and data, from an earlier checkpoint or a smaller net.
        scale: 1 samples the model; larger values move away from errors that both models make.
    """

    def __init__(self, model: Model, guide: Model, scale: float = 2.0) -> None:
        super().__init__(model, calls=2)
        self.guide = guide
        self.scale = scale

    def __call__(self, x: Float[Tensor, "b *d"], t: Tensor, cond: Condition = None) -> Float[Tensor, "b *d"]:
        worse = self.guide(x, t, cond)
        return worse + self.scale * (self.model(x, t, cond) - worse)


class IntervalGuidance(Guidance):
    """Guidance in an interval of noise levels only (Kynkäänniemi et al. 2024); no guidance outside.

    NFE are counted as if guidance acted at all times.

    Args:
        guidance: the guidance inside of the interval.
        interval: smallest and largest noise level sigma / alpha of the guidance, both included.

    Raises:
        UserError: interval is not two numbers 0 <= low < high.
    """

    def __init__(self, guidance: Guidance, interval: Sequence[float]) -> None:
        super().__init__(guidance.model)
        if len(interval) != 2 or not 0 <= interval[0] < interval[1]:
            raise UserError(
                f"guidance.interval={list(interval)}: give two noise levels 0 <= low < high, for example [0.2,2]"
            )
        self.guidance = guidance
        self.low, self.high = interval
        self.evaluations_per_call = guidance.evaluations_per_call

    def __call__(self, x: Float[Tensor, "b *d"], t: Tensor, cond: Condition = None) -> Float[Tensor, "b *d"]:
        level = self.sde.sigma(t) / self.sde.alpha(t)
        inside = (level >= self.low) & (level <= self.high)
        # A common time is on the CPU, so this comparison does not synchronize with a device.
        if t.ndim == 0 and t.device.type == "cpu" and not torch.compiler.is_compiling():
            return self.guidance(x, t, cond) if inside else self.guidance.unguided(x, t, cond)
        return torch.where(
            expand(inside.to(x.device), x), self.guidance(x, t, cond), self.guidance.unguided(x, t, cond)
        )


def required(cond: Condition, name: str, caller: str) -> Tensor:
    """Return ``cond[name]``; raise UserError if it is missing."""
    if cond is None or name not in cond:
        raise UserError(f"{caller} needs cond[{name!r}]: give one for every sample")
    return cond[name]


def without(cond: Condition, name: str) -> Condition:
    """Return ``cond`` without ``name``; None if nothing is left."""
    return {key: value for key, value in (cond or {}).items() if key != name} or None
