"""A classifier of x_t at every noise level, the p_t(y | x) of classifier guidance (Song et al. 2021, eq. 14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..data_range import check_range, to_centered, width
from .base import SDE, NumbersAsTimes, expand


class NoisyClassifier(NumbersAsTimes, nn.Module):
    """logits = net(a_in u, c_noise), u the input mapped to [-1, 1], c_noise = ln(sigma / alpha) / 4 as in EDM.

    With u = alpha u_0 + w sigma z (w = 2 for data in [0, 1], because [-1, 1] is twice as long, else 1) the factor
    a_in = (alpha^2 sigma_data^2 + w^2 sigma^2)^(-1/2) keeps the input near unit variance.

    Args:
        net: ``forward(x, c_noise)`` -> logits (B, K).
        sde: the forward process.
        data_range: range of the data, ``unit`` [0, 1] or ``centered`` [-1, 1].
        sigma_data: standard deviation of the data in [-1, 1].

    Raises:
        UserError: an unknown data range.
    """

    def __init__(self, net: nn.Module, sde: SDE, data_range: str = "unit", sigma_data: float = 0.5) -> None:
        super().__init__()
        self.net = net
        self.sde = sde
        self.data_range = check_range(data_range)
        self.sigma_data = sigma_data

    @property
    def num_classes(self) -> int:
        """K, as the net declares it."""
        return int(self.net.num_classes)  # type: ignore[arg-type] # nn.Module types every attribute as a module

    def check(self) -> None:
        """Accept every net."""

    def check_labels(self, shape: Sequence[int]) -> None:
        """Accept every net: labels are what it learns, not what it is told."""

    def forward(
        self, x: Float[Tensor, "b *d"], t: Tensor, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "b k"]:
        """Logits (B, K).

        Args:
            x: (B, *d), state in the range of the data plus noise.
            t: () or (B,), time in (0, T].
            cond: unused; the signature is that of a score model.
        """
        dtype = torch.promote_types(x.dtype, torch.float32)
        x = x.to(dtype)
        t = t if t.ndim == 0 else t.to(x.device)
        u, scale = to_centered(x, self.data_range), 2 / width(self.data_range)
        alpha, sigma = self.sde.alpha(t), self.sde.sigma(t)
        a_in = (alpha.square() * self.sigma_data**2 + scale**2 * sigma.square()).rsqrt()
        c_noise = -self.sde.log_snr(t) / 4
        logits: Tensor = self.net(u * expand(a_in, u).to(dtype), c_noise.to(device=x.device, dtype=dtype))
        return logits

    def log_prob(self, x: Float[Tensor, "b *d"], t: Tensor, labels: Int64[Tensor, " b"]) -> Float[Tensor, " b"]:
        """log p_t(labels | x), (B,), at x (B, *d) and t, () or (B,)."""
        log_probs = torch.log_softmax(self(x, t).float(), dim=1)
        return log_probs.gather(1, labels[:, None])[:, 0]
