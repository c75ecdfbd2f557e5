"""The interface of all samplers: arguments and results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from ..noise import NoiseSource
from ..sde import SDE
from ..sde.score_model import Model


@runtime_checkable
class Control(Protocol):
    """A constraint on the sample, applied by a sampler after each move of the state (see ``control``)."""

    def __call__(self, x: Tensor, x_mean: Tensor, t: Tensor, z: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        """The state (B, *d) and its noise-free mean, constrained, at time t (); ``z`` draws fresh normal noise."""
        ...


@dataclass(frozen=True)
class SamplerStep:
    """One finished step of a sampler, handed to its callback.

    Attributes:
        index: steps done, from 1.
        total: steps in all.
        t: (), time the state has now.
        x: (B, *d), state.
        x_mean: (B, *d), state without the noise of the last step.
    """

    index: int
    total: int
    t: Tensor
    x: Tensor
    x_mean: Tensor


Callback = Callable[[SamplerStep], None]


@dataclass(frozen=True)
class SampleOutput:
    """The result of a sampler.

    Attributes:
        samples: (B, *d), in the range of the data; not clipped.
        nfe: (B,) int64, evaluations of the net for each sample.
        trajectory: (F, B, *d), noise-free states on the way, on the CPU, or None.
    """

    samples: Tensor
    nfe: Tensor
    trajectory: Tensor | None = None


class Sampler(ABC):
    """Map samples of the prior to data. The constructor takes hyper-parameters, the call the objects of one run."""

    @property
    @abstractmethod
    def convergence_order(self) -> int | None:
        """The order p of the error, which falls as N^-p with the number of steps N.

        For a deterministic sampler this is the error of the samples, for a stochastic one the error of their mean and
        standard deviation. None if more steps do not converge to the exact solution: adaptive steps, Langevin dynamics
        with a fixed step size, one-step maps. The tests measure the declared order.
        """

    @property
    def parts(self) -> Sequence[object]:
        """Exchangeable parts, such as predictor and corrector, for ``described``."""
        return ()

    @property
    def described(self) -> str:
        """Class, classes of the parts and number of steps, such as ``Heun 18 steps``, for the protocol of a score."""
        inside = ", ".join(type(part).__name__ for part in self.parts)
        return type(self).__name__ + (f"({inside})" if inside else "")

    invertible: bool = False
    """Whether the sampler is reversible: ``encode`` finds the latent of data."""

    def encode(
        self, model: Model, x: Float[Tensor, "b *d"], cond: Mapping[str, Tensor] | None = None
    ) -> tuple[Float[Tensor, "b *d"], Int[Tensor, " b"]]:
        """Latents (B, *d) of data x (B, *d), and evaluations of the net (B,); UserError if not ``invertible``."""
        raise UserError(f"{type(self).__name__} cannot encode data: choose a reversible sampler, sampler=ode")

    def check(self, sde: SDE) -> None:  # noqa: B027 # most have nothing to object
        """Raise UserError if these settings do not work with the SDE; called before sampling."""

    @abstractmethod
    def __call__(
        self,
        model: Model,
        x_init: Float[Tensor, "b *d"],
        noise: NoiseSource,
        *,
        cond: Mapping[str, Tensor] | None = None,
        control: Control | None = None,
        callback: Callback | None = None,
    ) -> SampleOutput:
        """Samples from x_init.

        Args:
            model: score and SDE.
            x_init: (B, *d), a sample of the prior, or of p_t at the grid's first time.
            noise: source of the random numbers.
            cond: named tensors for the net.
            control: a constraint on the samples.
            callback: called after every step.
        """


def count(samples: Tensor, evaluations: int | Tensor, model: Model) -> Int[Tensor, " b"]:
    """Evaluations of the net for each sample, (B,) int64.

    Args:
        samples: (B, *d), for their number and device.
        evaluations: calls of the model, one number for all or (B,).
        model: the attribute ``evaluations_per_call`` is the number of evaluations in one call, 1 by default and 2 for
            classifier-free guidance.
    """
    # Filled on the device: torch.tensor(number) would synchronize with the host.
    if not isinstance(evaluations, Tensor):
        evaluations = torch.full((), evaluations, device=samples.device)
    calls = evaluations.to(samples.device).expand(len(samples))
    return calls.to(torch.int64) * evaluations_per_call(model)


def evaluations_per_call(model: Model) -> int:
    """Number of net evaluations in one call of ``model``."""
    # A model may be any function with an SDE, as closed forms are; it need not declare this.
    return int(getattr(model, "evaluations_per_call", 1))
