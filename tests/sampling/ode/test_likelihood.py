"""Likelihoods compared with the original code and with closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from src.errors import UserError
from src.noise import AddressedNoise
from src.sampling import Likelihood, log_likelihood
from src.sde import SDE, VESDE, VPSDE, SubVPSDE
from src.stored_values import BYTES
from tests.sampling.closed_forms import CorrelatedGaussian, Mixture
from tests.support.gaussian import GaussianScore
from tests.support.golden import load
from tests.support.recorded_noise import RecordedNoise

SDES: dict[str, SDE] = {"vesde": VESDE(), "vpsde": VPSDE(), "subvpsde": SubVPSDE()}
EPS = torch.tensor(1e-5, dtype=torch.float64)


@pytest.mark.parametrize("name", SDES)
def test_bits_per_dim_of_the_original_code(name: str) -> None:
    golden = load("likelihood_ode")
    out = log_likelihood(
        GaussianScore(SDES[name]),
        golden[f"{name}.data"],
        RecordedNoise([golden[f"{name}.epsilon"]]),
        data_range="centered",
    )
    torch.testing.assert_close(out.bits_per_dim, golden[f"{name}.bpd"], rtol=0, atol=1e-3)
    scale = golden[f"{name}.z"].std()
    torch.testing.assert_close(out.latent / scale, golden[f"{name}.z"] / scale, rtol=0, atol=1e-3)


def mixture(sde: SDE) -> tuple[Mixture, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    # Centered like the prior: the likelihood uses the prior in place of p_T, an error that no solver corrects.
    means = means - means.mean(0)
    x = means.repeat(16, 1) + 0.3 * torch.randn(64, 6, dtype=torch.float64, generator=generator)
    return Mixture(sde, means, 0.3), x


@pytest.mark.parametrize("name", SDES)
@pytest.mark.parametrize("settings", [{"divergence": "exact"}, {"probes": 1}, {"probes": 8, "probe_kind": "gaussian"}])
def test_closed_form_of_a_mixture(name: str, settings: dict[str, int | str]) -> None:
    model, x = mixture(SDES[name])
    x = x[:24]
    out = log_likelihood(model, x, AddressedNoise(0, torch.arange(len(x))), data_range="continuous", **settings)
    expected = -model.log_prob(x, EPS) / (6 * math.log(2))
    error = out.bits_per_dim - expected
    # Batch mean: errors of independent probes average out.
    assert float(error.mean().abs()) < 2e-3 + 3 * float(out.standard_error.norm()) / len(x)
    if settings.get("divergence") == "exact":
        assert float(error.abs().max()) < 2e-3 and not out.standard_error.any()
    if "probe_kind" in settings:
        # Each sample: within three standard errors in 98 % of cases (t distribution, 7 degrees of freedom).
        assert int((error.abs() < 2e-3 + 3 * out.standard_error).sum()) >= len(x) - 2


@pytest.mark.parametrize("name", SDES)
def test_closed_form_of_a_gaussian(name: str) -> None:
    """Isotropic data: the Jacobian is a multiple of the identity, so one sign vector gives the exact trace."""
    model = GaussianScore(SDES[name])
    x = 0.25 + 0.5 * torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    out = log_likelihood(model, x, data_range="unit")
    log_p = torch.distributions.Normal(0.25, 0.5).log_prob(x).flatten(1).mean(1)
    torch.testing.assert_close(out.bits_per_dim, 8 - log_p / math.log(2), rtol=0, atol=2e-3)
    assert float(out.standard_error.max()) < 1e-5


@pytest.mark.parametrize(("probes", "kind"), [(1, "rademacher"), (1, "gaussian"), (4, "rademacher"), (4, "gaussian")])
def test_standard_error_matches_the_scatter_over_probes(probes: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(2)
    factor = torch.randn(8, 8, dtype=torch.float64, generator=generator) / 4
    covariance = factor @ factor.T + 0.1 * torch.eye(8, dtype=torch.float64)
    model = CorrelatedGaussian(VPSDE(), torch.zeros(8, dtype=torch.float64), covariance)
    x = torch.randn(1, 8, dtype=torch.float64, generator=generator).expand(300, 8)
    settings = {"data_range": "continuous", "rtol": 1e-3, "atol": 1e-3}
    out = log_likelihood(model, x, AddressedNoise(3, torch.arange(300)), probes=probes, probe_kind=kind, **settings)
    scatter = float(out.bits_per_dim.std())
    stated = float(out.standard_error.square().mean().sqrt())
    # 300 draws give the scatter to 4 % (one sigma); a single sign vector may overestimate the error.
    upper = 1.6 if (probes, kind) == (1, "rademacher") else 1.15
    assert 0.87 < stated / scatter < upper


def test_results_do_not_depend_on_the_batch_size() -> None:
    model, x = mixture(VPSDE())
    likelihood = Likelihood(probes=2, data_range="continuous", rtol=1e-3, atol=1e-3)
    results = []
    for size in (1, 7, 64):
        parts = [
            likelihood(model, x[i : i + size], AddressedNoise(5, torch.arange(64)[i : i + size]))
            for i in range(0, 7 if size < 64 else 64, size)
        ]
        results.append(
            [
                torch.cat([getattr(part, name) for part in parts])[:7]
                for name in ("bits_per_dim", "latent", "nfe", "standard_error")
            ]
        )
    for other in results[1:]:
        for value, reference in zip(other, results[0], strict=True):
            torch.testing.assert_close(value, reference, rtol=0, atol=1e-9)
    assert len(results[0][2].unique()) > 1, "the test needs samples with different numbers of steps"


def test_works_inside_inference_mode() -> None:
    with torch.inference_mode():
        x = torch.full((2, 3), 0.3)
        inside = log_likelihood(GaussianScore(VPSDE()), x, cond={"labels": torch.zeros(2, dtype=torch.int64)})
    outside = log_likelihood(GaussianScore(VPSDE()), torch.full((2, 3), 0.3))
    assert torch.equal(inside.bits_per_dim, outside.bits_per_dim)


@pytest.mark.parametrize("data_range", ["unit", "centered"])
def test_the_offset_gives_bits_per_dim_of_bytes(data_range: str) -> None:
    """A flat density over 256 bins costs 8 bits per byte for every data range."""
    byte = torch.arange(256, dtype=torch.float64)[:, None]
    x = byte / 255 if data_range == "unit" else 2 * byte / 255 - 1
    levels = BYTES.from_model(x, data_range)
    low, high = (BYTES.dequantize(levels, data_range, torch.full_like(x, u)) for u in (0.0, 1.0))
    torch.testing.assert_close(high[:-1], low[1:])
    width = float(high[-1] - low[0])
    flat_bits = math.log2(width)
    assert flat_bits + Likelihood(data_range=data_range).offset == pytest.approx(8)


def test_invalid_settings_are_refused() -> None:
    for settings in ({"divergence": "none"}, {"probe_kind": "x"}, {"data_range": "bytes"}, {"probes": 0}):
        with pytest.raises(UserError, match=next(iter(settings))):
            Likelihood(**settings)


def test_autocast_does_not_reach_the_solver() -> None:
    model = GaussianScore(VESDE())
    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    plain = log_likelihood(model, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = log_likelihood(model, x)
    assert torch.equal(cast.bits_per_dim, plain.bits_per_dim) and torch.equal(cast.nfe, plain.nfe)


def test_an_empty_batch() -> None:
    out = log_likelihood(GaussianScore(VESDE()), torch.zeros(0, 1, 4, 4))
    assert out.bits_per_dim.shape == out.nfe.shape == out.standard_error.shape == (0,)
    assert out.latent.shape == (0, 1, 4, 4) and out.nfe.dtype == torch.int64
    assert VESDE().prior_log_prob(out.latent).shape == (0,)
