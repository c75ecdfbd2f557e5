"""MeanFlow (Geng et al. 2025): a net learns the average velocity of the flow, from data alone.

Differentiating (t - r) u(x_t, r, t) = x_t - x_r along the ODE's path at fixed r gives their identity (eq. 6)

    u = v - (t - r) du/dt,    du/dt = v . grad_x u + du/dt at fixed x,

with the velocity v = dx_t/dt. The loss regresses u on the right side, where the path's own velocity
alpha' x_0 + sigma' z stands for v, u is the net's, and no gradient flows (eqs. 9-11). The derivative is one product of
the Jacobian with the vector (v, 0, 1), in forward mode.

With classifier-free guidance in the target (appendix B.1) v is replaced for samples with a label by

    omega v + kappa u(x_t, t, t | label) + (1 - omega - kappa) u(x_t, t, t | no label),

and one evaluation samples with the guidance scale omega / (1 - kappa).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...errors import UserError
from ...noise import Address
from ..average_velocity import AverageVelocity
from ..base import expand
from ..prediction import path_velocity
from ..score_model import Condition, Model
from ..time_samplers import TimeSampler
from .base import Objective
from .label_dropout import LabelDropout
from .same_dropout import same_dropout


class MeanFlow(Objective):
    """MeanFlow for a model of an average velocity (``model=average_velocity``).

    The net is called twice: once for the loss, once, without a graph, for the derivative. Both calls have the same
    dropout masks.

    Args:
        time_sampler: distribution of one end of the interval.
        other_sampler: distribution of the other; t is the later of the two.
        different: share of samples with r < t; the others have r = t, which is flow matching.
        power: p of the weight w = 1 / (|error|^2 + c)^p; 0 is the squared error.
        c: the weight is at most c^-p.
        guidance: omega; 1 is the flow of the data.
        mixing: kappa in [0, 1).
        label_dropout: probability with which a class label is replaced by ``null_label`` in training.
        null_label: the label that means "no label".

    Raises:
        UserError: a setting out of range.
    """

    learns_score = False
    compilable = False  # dynamo cannot trace GroupNorm in forward mode, nor the backward pass with attention

    def __init__(
        self,
        time_sampler: TimeSampler,
        other_sampler: TimeSampler,
        different: float = 0.75,
        power: float = 0.75,
        c: float = 1e-3,
        guidance: float = 1.0,
        mixing: float = 0.0,
        label_dropout: float = 0.0,
        null_label: int | None = None,
    ) -> None:
        for name, value in (("different", different), ("power", power)):
            if not 0 <= value <= 1:
                raise UserError(f"objective.{name}={value}: give a number from 0 to 1")
        if c <= 0:
            raise UserError(f"objective.c={c}: give a positive number")
        if not 0 <= mixing < 1:
            raise UserError(f"objective.mixing={mixing}: give a number in [0, 1)")
        if guidance <= 0:
            raise UserError(f"objective.guidance={guidance}: give a positive number, 1 for none")
        self.guided = guidance != 1 or mixing != 0
        if self.guided and not label_dropout:
            raise UserError(
                f"objective.guidance={guidance} needs a net trained with and without labels: set "
                "objective.label_dropout=0.1, or objective.guidance=1 and objective.mixing=0"
            )
        self.time_sampler = time_sampler
        self.other_sampler = other_sampler
        self.different = different
        self.power = power
        self.c = c
        self.guidance = guidance
        self.mixing = mixing
        self.label_dropout = LabelDropout(label_dropout, null_label)

    def check(self, model: Model) -> None:
        """Raise UserError if ``model`` has no average velocity, or if times lie outside the range of its SDE."""
        if not isinstance(model, AverageVelocity):
            raise UserError("objective=meanflow trains an average velocity: add model=average_velocity")
        for sampler in (self.time_sampler, self.other_sampler):
            sampler(model.sde, torch.full((1,), 0.5))

    def __call__(
        self,
        model: AverageVelocity,
        x0: Float[Tensor, "b *d"],
        address: Address,
        cond: Condition = None,
        train: bool = True,
    ) -> Float[Tensor, " b"]:
        (one, _), (other, _) = (
            sampler(model.sde, address.uniform(purpose))
            for sampler, purpose in ((self.time_sampler, "time"), (self.other_sampler, "other-time"))
        )
        t, r = torch.maximum(one, other), torch.minimum(one, other)
        r = torch.where(address.uniform("interval") < self.different, r, t)
        cond = self.label_dropout(cond, address) if train else cond
        return self.loss(model, x0, r, t, address.normal("diffusion", x0), cond)

    def loss(
        self,
        model: AverageVelocity,
        x0: Float[Tensor, "b *d"],
        r: Float[Tensor, " b"],
        t: Float[Tensor, " b"],
        noise: Float[Tensor, "b *d"],
        cond: Condition = None,
    ) -> Float[Tensor, " b"]:
        """Loss of each sample, (B,), over intervals from r (B,) to t (B,) with standard normal noise (B, *d)."""
        mean, sigma = model.sde.marginal(x0, t)
        x = mean + expand(sigma, x0) * noise
        rates = path_velocity(model.sde, t)
        velocity = expand(rates[0], x0).to(x) * x0 + expand(rates[1], x0).to(x) * noise
        with same_dropout(x0):
            velocity = self._guided(model, x, t, velocity, cond)
            change = _change(model, x, r, t, velocity, cond)
        target = velocity - expand(t - r, x0).to(x) * change
        squares = (model.average_velocity(x, r, t, cond) - target).square().flatten(1).sum(1)
        return squares / (squares.detach() + self.c) ** self.power

    def _guided(
        self, model: AverageVelocity, x: Tensor, t: Tensor, velocity: Tensor, cond: Condition
    ) -> Float[Tensor, "b *d"]:
        """The velocity of the guided flow, an unbiased estimate."""
        null_label = self.label_dropout.null_label
        if not self.guided or null_label is None:
            return velocity
        if cond is None or "labels" not in cond:
            raise UserError("objective.guidance needs data with labels and a net with classes")
        labels = cond["labels"]
        with torch.no_grad(), same_dropout(x):
            without = model.average_velocity(x, t, t, {**cond, "labels": torch.full_like(labels, null_label)})
        guided = self.guidance * velocity + (1 - self.guidance - self.mixing) * without
        if self.mixing:
            with torch.no_grad(), same_dropout(x):
                guided = guided + self.mixing * model.average_velocity(x, t, t, cond)
        labeled: Bool[Tensor, " b"] = labels != null_label
        return torch.where(expand(labeled, x), guided, velocity)


def _change(
    model: AverageVelocity, x: Tensor, r: Tensor, t: Tensor, velocity: Tensor, cond: Condition
) -> Float[Tensor, "b *d"]:
    """du/dt along dx/dt = ``velocity`` at fixed r, without a graph."""

    def average(x: Tensor, t: Tensor) -> Tensor:
        return model.average_velocity(x, r, t, cond)

    with (
        torch.no_grad(),
        # Graphs of net.compile=true and fused attention have no forward mode.
        torch.compiler.set_stance("force_eager"),
        sdpa_kernel(SDPBackend.MATH),
        # The derivative is not taken in half precision.
        torch.autocast(x.device.type, enabled=False),
    ):
        change: Tensor = torch.func.jvp(average, (x, t), (velocity, torch.ones_like(t)))[1]
    return change
