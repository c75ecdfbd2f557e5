"""The score model: a raw net, an SDE and a parametrization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data_range import check_range, to_centered
from ..errors import UserError
from .base import SDE, NumbersAsTimes, expand
from .parametrization import Parametrization

Condition = Mapping[str, Tensor] | None
"""The condition of a model besides x and t: named tensors (B, ...); class labels are ``labels``, (B,) int64.

``until`` (), the time at which a step from t ends, means something to models of average velocities only."""


@runtime_checkable
class Model(Protocol):
    """A score with its SDE: a ScoreModel, a wrapper of one, or a closed form."""

    @property
    def sde(self) -> SDE:
        """The forward process the score belongs to."""
        ...

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None, /) -> Tensor:
        """The score at x (B, *d) and t, () or (B,)."""
        ...


class ScoreModel(NumbersAsTimes, nn.Module):
    """score(x, t) = a_skip x + a_out net(a_in u, c_noise, cond); see ``parametrization``.

    The net may run in any precision. All other arithmetic is in float32, or in the dtype of x if that is wider.

    Args:
        net: raw net with ``forward(x, c_noise, cond)``.
        sde: the forward process.
        parametrization: coefficients of the equation.
        data_range: range of the data, ``unit`` [0, 1] or ``centered`` [-1, 1]; mapped to [-1, 1] for the net.

    Raises:
        UserError: the data range is unknown, or the parametrization does not fit the SDE.
    """

    def __init__(self, net: nn.Module, sde: SDE, parametrization: Parametrization, data_range: str = "unit") -> None:
        super().__init__()
        parametrization.check(sde, data_range)
        self.net = net
        self.sde = sde
        self.parametrization = parametrization
        self.data_range = check_range(data_range)

    @property
    def num_classes(self) -> int | None:
        """Classes of the label ``labels``, as the net declares them; None for a net that does not read it."""
        classes: int | None = _declared(self.net, "num_classes")
        return classes

    def check(self) -> None:
        """Raise UserError if the embedding of the net does not accept the c_noise of the parametrization."""
        given, taken = self.parametrization.noise_scale, _declared(self.net, "noise_scales")
        if given is not None and taken is not None and given not in taken:
            raise UserError(
                f"{type(self.parametrization).__name__} tells the net the noise level as {given}, but its embedding "
                f"takes {', '.join(taken)}: choose another parametrization, net.embedding_type or net.fourier_log"
            )

    def check_labels(self, shape: Sequence[int]) -> None:
        """Raise UserError if the net reads ``labels`` but declares no classes: it would be sampled without labels.

        Args:
            shape: of one x. The net is called on the device ``meta``, which computes nothing.
        """
        if self.num_classes is not None:
            return
        labels = torch.zeros(1, dtype=torch.int64, device="meta")
        # A checker of annotations, as in the tests, reads the first entry of a mapping.
        cond = _Watched(first=labels, labels=labels)
        held = (*self.net.named_parameters("net"), *self.net.named_buffers("net"))
        weights = {name: value.to("meta") for name, value in held}
        dtype = next(iter(self.net.parameters()), torch.empty(0)).dtype
        # A net that needs values of tensors cannot be called this way: its training shows what it does.
        with suppress(Exception), torch.no_grad():
            x, level = torch.empty(1, *shape, dtype=dtype, device="meta"), torch.empty(1, dtype=dtype, device="meta")
            torch.func.functional_call(_Uncompiled(self.net), weights, (x, level, cond))
        if cond.labels_read:
            raise UserError(
                f"{type(self.net).__name__} reads cond['labels'] but declares no classes, so its samples would have "
                "none: set self.num_classes in its constructor"
            )

    def forward(
        self, x: Float[Tensor, "b *d"], t: Tensor, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "b *d"]:
        """Compute the score at x.

        Args:
            x: (B, *d), state in the range of the data plus noise.
            t: () or (B,), time in (0, T].
            cond: named tensors for the net; class labels are ``labels``, (B,) int64.

        Returns:
            (B, *d) in the dtype of x, float32 at least.
        """
        x, t = self._wide(x, t)
        coefficients = self.parametrization(self.sde, t)
        raw = self._output(x, coefficients.a_in, coefficients.c_noise, cond)
        return x * _cast(coefficients.a_skip, x) + raw * _cast(coefficients.a_out, x)

    def _wide(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x and t in float32 at least, t on the device of x if each sample has its own."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        # A common time is a scalar on the CPU: kernels take it as an argument, without a copy to the device.
        t = t if t.ndim == 0 else t.to(device=x.device, dtype=torch.promote_types(t.dtype, dtype))
        return x.to(dtype), t

    def _output(self, x: Tensor, a_in: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The output of the net, in the dtype of x."""
        u = to_centered(x, self.data_range)
        # A net in half or double precision accepts only its own dtype; under autocast its weights are float32.
        scaled = (u * _cast(a_in, u)).to(_dtype(self.net, u))
        # Only the net needs the noise level on the device, and the copy is asynchronous.
        level = c_noise.to(device=x.device, dtype=x.dtype, non_blocking=True)
        raw: Tensor = self.net(scaled, level, cond)
        return raw.to(x.dtype)

    def denoise(
        self, x: Float[Tensor, "b *d"], t: Tensor, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "b *d"]:
        """Posterior mean of the data given x_t = x (Tweedie): (x + sigma^2 score) / alpha, (B, *d)."""
        return tweedie(self.sde, x, t, self(x, t, cond))


class _Watched(dict[str, Tensor]):
    """A condition that notes whether its labels are read."""

    labels_read = False

    def __getitem__(self, name: str) -> Tensor:
        self.labels_read |= name == "labels"
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.labels_read |= name == "labels"
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.labels_read |= name == "labels"
        return super().get(name, default)


class _Uncompiled(nn.Module):
    """A net whose ``forward`` is called as it is written."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *args: Any) -> Any:
        return self.net.forward(*args)


def _declared(net: nn.Module, name: str) -> Any:
    # A module that is no ScoreNet may serve as a net too; it declares nothing.
    return getattr(net, name, None)


def _dtype(net: nn.Module, default: Tensor) -> torch.dtype:
    # torch.compile of torch 2.6 does not know `next` with a default.
    for parameter in net.parameters():
        return parameter.dtype
    return default.dtype


def tweedie(sde: SDE, x: Float[Tensor, "b *d"], t: Tensor, score: Float[Tensor, "b *d"]) -> Float[Tensor, "b *d"]:
    """E[x_0 | x_t = x] from the score at (x, t)."""
    t = t if t.ndim == 0 else t.to(x.device)
    return (x + _cast(sde.sigma(t).square(), x) * score) / _cast(sde.alpha(t), x)


def _cast(value: Tensor, x: Tensor) -> Tensor:
    # Times (B,) in float64 must not promote the state to float64; a scalar does not promote.
    return value if value.ndim == 0 else expand(value, x).to(x.dtype)
