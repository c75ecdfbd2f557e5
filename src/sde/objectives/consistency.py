"""Easy consistency tuning (ECT, Geng et al. 2024): a net learns to jump from any time of a path to its data.

The consistency function is the data prediction f(x_t, t) = (x_t + sigma^2 score) / alpha, which must return x_t at
t = 0. A pair x_t, x_r of one sample shares its noise. With the noise level l = sigma / alpha,

    loss = w (sqrt(|f(x_t, t) - f(x_r, r)|^2 + c^2) - c),    w = 1 / (l_t - l_r),
    l_r / l_t = max(0, 1 - q^-(stage + 1) n(l_t)),           n(l) = 1 + k sigmoid(-b l),

where no gradient flows through the target f(x_r, r), which is x_0 for l_r = 0. The stage, first_stage + step //
doubling, moves r toward t. Stage 0 is score matching for most t. The last one approaches the condition that f is
constant along a path of the probability-flow ODE.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...noise import Address, Word
from ..base import SDE, expand
from ..parametrization import Parametrization
from ..score_model import Condition, Model, ScoreModel, tweedie
from ..time_samplers import TimeSampler
from .base import Objective
from .same_dropout import same_dropout


class ConsistencyTuning(Objective):
    """ECT for any SDE, from scratch or from a trained score (``init_from``).

    The step of the address determines the stage. Validation uses step 0, so its loss is that of the first stage. Both
    members of a pair have the same dropout masks; with ``module.compile`` the masks are independent.

    Args:
        time_sampler: distribution of t.
        doubling: optimizer steps of a stage.
        q: factor by which 1 - l_r / l_t shrinks from stage to stage.
        k: the gap at small noise is 1 + k / 2 times that at large noise.
        b: how fast the gap falls with the noise level.
        huber: c is this times the square root of the dimension (0.00054 in Song and Dhariwal 2023).
        first_stage: stage of the first step; more than 0 skips score matching, for nets that start as a trained score.

    Raises:
        UserError: a setting out of range.
    """

    learns_score = False

    def __init__(
        self,
        time_sampler: TimeSampler,
        doubling: int,
        q: float = 2.0,
        k: float = 8.0,
        b: float = 1.0,
        huber: float = 5.4e-4,
        first_stage: int = 0,
    ) -> None:
        if doubling < 1:
            raise UserError(f"objective.doubling={doubling}: a stage needs at least one step")
        if q <= 1:
            raise UserError(f"objective.q={q}: give more than 1, or r never approaches t")
        if k < 0 or b < 0:
            raise UserError(f"objective.k={k}, objective.b={b}: neither may be negative")
        if huber <= 0:
            raise UserError(f"objective.huber={huber}: give a positive number, 1e-8 for nearly the plain norm")
        if first_stage < 0:
            raise UserError(f"objective.first_stage={first_stage}: give 0 or more")
        self.time_sampler = time_sampler
        self.doubling = doubling
        self.q = q
        self.k = k
        self.b = b
        self.huber = huber
        self.first_stage = first_stage

    def check(self, model: ScoreModel) -> None:
        """Raise UserError if f(x, 0) = x does not hold for ``model``, or times lie outside of those of its SDE."""
        self.time_sampler(model.sde, torch.full((1,), 0.5))
        _check_boundary(model.sde, model.parametrization)

    def __call__(
        self, model: Model, x0: Float[Tensor, "b *d"], address: Address, cond: Condition = None, train: bool = True
    ) -> Float[Tensor, " b"]:
        t, importance = self.time_sampler(model.sde, address.uniform("time"))
        return importance * self.loss(model, x0, t, address.normal("diffusion", x0), address.step, cond)

    def loss(
        self,
        model: Model,
        x0: Float[Tensor, "b *d"],
        t: Float[Tensor, " b"],
        noise: Float[Tensor, "b *d"],
        step: Word,
        cond: Condition = None,
    ) -> Float[Tensor, " b"]:
        """Loss of each sample, (B,), at times t (B,), standard normal noise (B, *d) and an optimizer step."""
        sde = model.sde
        level = sde.sigma(t) / sde.alpha(t)
        r, level_r = self._earlier(sde, t, level, step)
        with same_dropout(x0), torch.no_grad():
            at_r = _data_prediction(model, x0, r, noise, cond)
        target = torch.where(expand(level_r > 0, x0), at_r, x0)
        squares = (_data_prediction(model, x0, t, noise, cond) - target).square().flatten(1).sum(1)
        c = self.huber * math.sqrt(math.prod(x0.shape[1:]))
        return ((squares + c**2).sqrt() - c) / (level - level_r)

    def _earlier(
        self, sde: SDE, t: Float[Tensor, " b"], level: Float[Tensor, " b"], step: Word
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """The time r < t and its noise level; level 0 if the target is x_0, where r is not used."""
        stage = step // self.doubling + self.first_stage
        gap = self.q ** -(stage + 1.0) * (1 + self.k * torch.sigmoid(-self.b * level))
        ratio = (1 - gap).clamp(min=1e-3)
        r = sde.time_of_log_snr(-(level * ratio).log()).to(t.dtype).clamp(0, sde.T)
        return r, torch.where((gap < 1) & (r < t), sde.sigma(r) / sde.alpha(r), 0)


def _data_prediction(model: Model, x0: Tensor, t: Tensor, noise: Tensor, cond: Condition) -> Tensor:
    mean, sigma = model.sde.marginal(x0, t)
    x_t = mean + expand(sigma, x0) * noise
    return tweedie(model.sde, x_t, t, model(x_t, t, cond))


def _check_boundary(sde: SDE, parametrization: Parametrization) -> None:
    """Raise UserError unless c_skip tends to 1 and c_out to 0 in f = c_skip x + c_out net as the noise vanishes."""
    t = sde.time_of_log_snr(torch.tensor([math.log(1e4)], dtype=torch.float64))
    a_skip, a_out, _, _ = parametrization(sde, t)
    sigma, alpha = sde.sigma(t), sde.alpha(t)
    c_skip, c_out = (1 + sigma**2 * a_skip) / alpha, sigma**2 * a_out / alpha
    # If the process has a smallest noise level, such as 0.01 for VE, the limit is relative to it.
    allowed = 10 * float(sigma / alpha) + 1e-3
    if abs(float(c_skip) - 1) > allowed or abs(float(c_out)) > allowed:
        raise UserError(
            f"objective=ect needs a data prediction that returns its input at zero noise, but "
            f"{type(parametrization).__name__} gives {float(c_skip):.3g} x + {float(c_out):.3g} net: choose "
            "parametrization=edm, song_ve, song_vp, v or velocity"
        )
