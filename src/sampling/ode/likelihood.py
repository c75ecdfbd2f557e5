"""Exact likelihoods by the probability-flow ODE (Song et al. 2021, sec. 4.3 and appendix D.2).

Along the ODE dx/dt = h(x, t) the density changes by d ln p / dt = -div h (instantaneous change of variables), so that

    ln p_eps(x) = ln p_T(x_T) + integral over t from eps to T of div h(x_t, t) dt.

The divergence is the trace of the Jacobian J. Skilling and Hutchinson estimate it by e^T J e, with e of zero mean and
unit covariance; one backward pass gives the vector e^T J. The solver integrates this vector, V = integral e^T J dt,
together with x. The trace estimate is e . V at the end, and V gives the standard error of a single probe.

Bits per dimension of images. A byte is a bin of width w in the units of the data, w = 1/256 in [0, 1] and 2/256 in
[-1, 1]. With uniform dequantization (``StoredValues.dequantize``) E[log2 p] + d log2 w bounds the log-probability of
the bytes from below, so bits/dim is -log2 p / d - log2 w: the offset is 8 for unit data and 7 for centered ones.

The density is that of p_eps. If sigma(0) > 0, as for the VE SDE, it is the density of data with noise of sigma(eps),
but x has no such noise, as in the original code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...data_range import RANGES
from ...errors import UserError
from ...noise import AddressedNoise, NoiseSource
from ...sde.score_model import Model
from ...stored_values import BYTES
from ..conditioning.gradients import gradients, graph_safe_condition, leaf
from ..output import count
from .flow import check_eps, probability_flow

DATA = (*RANGES, "continuous")
DIVERGENCES = ("hutchinson", "exact")
PROBES = ("rademacher", "gaussian")


@dataclass(frozen=True)
class LikelihoodOutput:
    """Likelihoods of a batch.

    Attributes:
        bits_per_dim: (B,), in bits per dimension, of the bytes or of the density.
        latent: (B, *d), the state at T.
        nfe: (B,) int64, forward evaluations of the net; each one comes with one backward pass per probe.
        standard_error: (B,), of bits_per_dim due to the trace estimate; 0 with the exact divergence.
    """

    bits_per_dim: Tensor
    latent: Tensor
    nfe: Tensor
    standard_error: Tensor


class Likelihood:
    """Likelihood of given data, each with its own steps, independent of the other samples of the batch.

    Args:
        rtol: relative error allowed in one step.
        atol: absolute error allowed in one step.
        eps: time of x; the original code uses 1e-5 for every SDE.
        divergence: ``hutchinson``, or ``exact`` with one backward pass per dimension, for small ones.
        probes: k, random vectors of Hutchinson's estimate.
        probe_kind: ``rademacher`` (random signs, the smaller variance) or ``gaussian``.
        data_range: ``unit`` or ``centered`` for bytes in this range; ``continuous`` for data that are not bytes.
        max_steps: steps after which a sample counts as failed.

    Raises:
        UserError: a setting out of range.
    """

    def __init__(
        self,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        eps: float = 1e-5,
        divergence: str = "hutchinson",
        probes: int = 1,
        probe_kind: str = "rademacher",
        data_range: str = "unit",
        max_steps: int = 10_000,
    ) -> None:
        from .adaptive import Tolerance  # imported here: torchode takes a second

        for name, value, allowed in (
            ("divergence", divergence, DIVERGENCES),
            ("probe_kind", probe_kind, PROBES),
            ("data_range", data_range, DATA),
        ):
            if value not in allowed:
                raise UserError(f"likelihood {name} is {value!r}: choose one of {', '.join(allowed)}")
        if probes < 1:
            raise UserError(f"likelihood probes is {probes}: at least one is needed")
        self.tolerance = Tolerance(rtol, atol, max_steps)
        self.eps = eps
        self.divergence = divergence
        self.probes = probes
        self.probe_kind = probe_kind
        self.data_range = data_range
        self.offset = 0.0 if data_range == "continuous" else BYTES.bits_per_dim_offset(data_range)

    def __call__(
        self,
        model: Model,
        x: Float[Tensor, "b *d"],
        noise: NoiseSource | None = None,
        cond: Mapping[str, Tensor] | None = None,
    ) -> LikelihoodOutput:
        """Bits per dimension of x.

        Args:
            model: score and SDE.
            x: (B, *d), dequantized data in the range of the model.
            noise: source of the probes: normal numbers, purpose ``likelihood/probe``, step = number of the probe;
                Rademacher probes are their signs. The default is seed 0 and the position of the sample in the batch.
            cond: named tensors for the net, (B, ...).

        Raises:
            UserError: a solve fails.
        """
        check_eps(model.sde, self.eps)
        if len(x) == 0:
            none = x.new_zeros(0)
            return LikelihoodOutput(none, x.detach().clone(), none.long(), none.clone())
        # Inference tensors cannot enter a graph.
        with torch.inference_mode(False), torch.no_grad():
            x = x.detach().clone()
            probes = self._draw(x, noise)
            z, v, calls = self._integrate(model, x, probes, graph_safe_condition(cond))
            traces = (probes * v).sum(2)
            log_p = model.sde.prior_log_prob(z) + traces.mean(1)
            nats_to_bits = 1 / (math.prod(x.shape[1:]) * math.log(2))
            return LikelihoodOutput(
                bits_per_dim=self.offset - log_p * nats_to_bits,
                latent=z,
                nfe=count(x, calls, model),
                standard_error=self._standard_error(probes, v, traces) * nats_to_bits,
            )

    def _draw(self, x: Tensor, noise: NoiseSource | None) -> Float[Tensor, "b k f"]:
        if self.divergence == "exact":
            # Here V is the integrated diagonal, and its sum is the trace.
            return torch.ones_like(x).flatten(1)[:, None]
        noise = noise or AddressedNoise(0, torch.arange(len(x), device=x.device))
        draws = [noise("likelihood/probe", k, x).flatten(1) for k in range(self.probes)]
        probes = torch.stack(draws, dim=1)
        # sign() would return zeros, which bias the estimate.
        return torch.where(probes < 0, -1.0, 1.0).to(x.dtype) if self.probe_kind == "rademacher" else probes

    def _integrate(
        self, model: Model, x: Tensor, probes: Tensor, cond: Mapping[str, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        drift = probability_flow(model, cond)
        blocks = 1 + probes.shape[1]

        def field(t: Tensor, y: Tensor, rows: Tensor) -> Tensor:
            with gradients():
                x_t = leaf(y.reshape(len(y), blocks, -1)[:, 0].reshape(-1, *x.shape[1:]))
                h = drift(x_t, t, rows)
                v = self._derivatives(h, x_t, probes[rows])
            return torch.cat([h.detach().flatten(1)[:, None], v], dim=1).flatten(1)

        def norm(errors: Tensor) -> Tensor:
            # The tolerance applies to the state and to the integral of each probe separately.
            mean_squares = errors.reshape(len(errors), blocks, -1).square().mean(2)
            return mean_squares.amax(1).sqrt()

        start = torch.cat([x.flatten(1)[:, None], torch.zeros_like(probes)], dim=1).flatten(1)
        y, calls = self.tolerance.solve(field, start, self.eps, model.sde.T, norm)
        parts = y.reshape(len(x), blocks, -1)
        return parts[:, 0].reshape(x.shape), parts[:, 1:], calls

    def _derivatives(self, h: Tensor, x: Tensor, probes: Tensor) -> Float[Tensor, "b k f"]:
        """e^T J for every probe e, or the diagonal of J."""
        if self.divergence == "hutchinson":
            rows = [_vjp(h, x, probe) for probe in probes.unbind(1)]
            return torch.stack(rows, dim=1)
        diagonal = []
        for i in range(h[0].numel()):
            basis = torch.zeros_like(h).flatten(1)
            basis[:, i] = 1
            diagonal.append(_vjp(h, x, basis)[:, i])
        return torch.stack(diagonal, dim=1)[:, None]

    def _standard_error(self, probes: Tensor, v: Tensor, traces: Tensor) -> Tensor:
        """Standard error of the mean trace, in nats: (B,).

        k >= 2: from the scatter of the k estimates. k = 1: from the vector V of the probe. For a symmetric A, the
        Jacobian integrated over time (a score is a gradient, so its Jacobian is symmetric), the variance is
        2 |A|^2 with Gaussian probes and 2 (|A|^2 - sum of A_ii^2) with signs. |V|^2 estimates |A|^2 without bias,
        and (tr A)^2 / d is the smallest possible sum of A_ii^2, so with signs the error may be overestimated. One probe
        is unreliable if d is small or a few directions dominate A; use several there. (With signs,
        |V|^2 - (e . V)^2 / d is computed as the scatter of the d terms e_i V_i, without cancellation.)
        """
        if self.divergence == "exact":
            return torch.zeros_like(traces[:, 0])
        if self.probes > 1:
            return traces.std(dim=1) / math.sqrt(self.probes)
        terms = probes[:, 0] * v[:, 0]
        if self.probe_kind == "rademacher":
            return (2 * (terms - terms.mean(1, keepdim=True)).square().sum(1)).sqrt()
        return (2 * v[:, 0].square().sum(1)).sqrt()


def log_likelihood(
    model: Model,
    x: Float[Tensor, "b *d"],
    noise: NoiseSource | None = None,
    cond: Mapping[str, Tensor] | None = None,
    **settings: int | float | str,
) -> LikelihoodOutput:
    """``Likelihood(**settings)(model, x, noise, cond)``."""
    return Likelihood(**settings)(model, x, noise, cond)  # type: ignore[arg-type] # mypy asks every keyword


def _vjp(h: Tensor, x: Tensor, probe: Tensor) -> Tensor:
    # A field that does not depend on x has a zero Jacobian.
    (v,) = torch.autograd.grad(
        h, x, probe.reshape(h.shape), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    flat: Tensor = v.flatten(1)
    return flat
