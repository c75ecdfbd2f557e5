"""Data predictions clamped to the range of the data (static thresholding, Saharia et al. 2022, sec. 2.3).

A data prediction outside of the range of the data is wrong. If a net predicts noise, an error e of the net is an error
sigma e of the data prediction, so this is frequent at large sigma. A deterministic solver keeps such errors, see
``docs/few_steps.md``. The prediction D is clamped, and the score is that of the clamped prediction:

    score + alpha (clamp(D) - D) / sigma^2.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from ...data_range import RANGES, check_range
from ...sde import expand, tweedie
from ...sde.score_model import Model
from .guidance import Guidance


class Thresholding(Guidance):
    """A model whose data predictions lie within the range of the data.

    Args:
        model: score and SDE.
        data_range: ``unit`` [0, 1] or ``centered`` [-1, 1].

    Raises:
        UserError: the range is unknown.
    """

    def __init__(self, model: Model, data_range: str = "unit") -> None:
        super().__init__(model)
        self.low, self.high = RANGES[check_range(data_range, "guidance.data_range")]

    def __call__(
        self, x: Float[Tensor, "b *d"], t: Tensor, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "b *d"]:
        score = self.model(x, t, cond)
        data = tweedie(self.sde, x, t, score)
        # Added to the score, so that nothing cancels at small sigma.
        t = t if t.ndim == 0 else t.to(x.device)
        weight = expand(self.sde.alpha(t) / self.sde.sigma(t).square(), x).to(x.dtype)
        return score + weight * (data.clamp(self.low, self.high) - data)
