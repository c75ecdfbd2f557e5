"""Linear operators and posterior guidance, compared with dense linear algebra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from src.errors import UserError
from src.noise import AddressedNoise
from src.sampling import LinearGrid, NoCorrector, PredictorCorrector, ProbabilityFlowODE, ReverseDiffusion
from src.sampling.conditioning.inverse import DPS, PseudoInverseGuidance
from src.sampling.conditioning.masks import BoxMask
from src.sampling.conditioning.operators import (
    Blur,
    Downsampling,
    LinearOperator,
    Masking,
    RandomProjection,
    measurement_error,
    psnr,
)
from src.sde import SDE, VESDE, VPSDE
from tests.sampling.closed_forms import CorrelatedGaussian
from tests.support.gaussian import GaussianScore

SHAPE = (1, 4, 4)
OPERATORS: dict[str, Callable[[], LinearOperator]] = {
    "downsampling": lambda: Downsampling(2),
    "gaussian_blur": lambda: Blur("gaussian", 3, 0.8),
    "uniform_blur": lambda: Blur("uniform", 3),
    "projection": lambda: RandomProjection(SHAPE, 5),
    "masking": lambda: Masking(SHAPE, BoxMask(0.5)),
}
operators = pytest.mark.parametrize("name", OPERATORS)


def dense(operator: LinearOperator) -> Tensor:
    """Return the matrix H, (m, d)."""
    basis = torch.eye(16, dtype=torch.float64).reshape(16, *SHAPE)
    return operator.forward(basis).flatten(1).T


class Casts(TorchDispatchMode):
    """Count copies to another dtype or device."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._to_copy.default
        return func(*args, **(kwargs or {}))


@operators
def test_constants_are_cast_once_also_under_autocast(name: str) -> None:
    operator = OPERATORS[name]()
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    # Constants cached in inference mode must also work with gradients.
    with torch.inference_mode():
        y = operator.forward(x)
        back = operator.transpose(y)
    u, v = x.clone().requires_grad_(), y.clone().requires_grad_()
    with Casts() as casts, torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(operator.forward(u), y)
        assert torch.equal(operator.transpose(v), back)
    assert casts.count == 0
    (gradient,) = torch.autograd.grad(operator.forward(u), u, y.clone())
    torch.testing.assert_close(gradient, back.clone())


@operators
def test_transpose_solve_and_pseudo_inverse(name: str) -> None:
    operator = OPERATORS[name]()
    h = dense(operator)
    generator = torch.Generator().manual_seed(0)
    y = operator.forward(torch.randn(3, *SHAPE, dtype=torch.float64, generator=generator))
    y = torch.randn(y.shape, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(operator.transpose(y).flatten(1), y.flatten(1) @ h)
    gram = h @ h.T
    for damping in (torch.tensor(0.3).double(), torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64)):
        solved = operator.solve(y, damping).flatten(1)
        torch.testing.assert_close(solved @ gram + damping.reshape(-1, 1) * solved, y.flatten(1))
    torch.testing.assert_close(operator.pseudo_inverse(y).flatten(1), y.flatten(1) @ torch.linalg.pinv(h, atol=1e-3).T)


def test_blur_is_a_circular_convolution() -> None:
    x = torch.randn(2, 3, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    line = torch.exp(-0.5 * (torch.arange(-2, 3, dtype=torch.float64) / 1.2) ** 2)
    kernel = (line[:, None] * line / line.sum() ** 2).expand(3, 1, 5, 5)
    expected = F.conv2d(F.pad(x, (2, 2, 2, 2), mode="circular"), kernel, groups=3)
    torch.testing.assert_close(Blur("gaussian", 5, 1.2).forward(x), expected)
    means = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), torch.full((3, 1, 3, 3), 1 / 9).double(), groups=3)
    torch.testing.assert_close(Blur("uniform", 3).forward(x), means)


@operators
@pytest.mark.parametrize("noise_std", [0.0, 0.1])
@pytest.mark.parametrize("sde", [VESDE(), VPSDE()], ids=lambda sde: type(sde).__name__)
def test_pseudo_inverse_guidance_is_exact_for_isotropic_gaussians(name: str, noise_std: float, sde: SDE) -> None:
    """The guided score equals the score of the Gaussian posterior noised to time t."""
    operator = OPERATORS[name]()
    h = dense(operator)
    prior = CorrelatedGaussian(sde, torch.full((16,), 0.25).double(), 0.25 * torch.eye(16).double())
    generator = torch.Generator().manual_seed(0)
    y = operator.forward(0.25 + 0.5 * torch.randn(1, *SHAPE, dtype=torch.float64, generator=generator))
    # Not 0: the dense H C H^T of a blur would be numerically singular.
    posterior = CorrelatedGaussian(sde, *prior.condition(h, y[0].flatten(), noise_std or 1e-7))
    x = torch.randn(4, *SHAPE, dtype=torch.float64, generator=generator)
    guided = PseudoInverseGuidance(GaussianScore(sde), operator, noise_std, data_std=0.5)
    cond = {"measurement": y.expand(4, *y.shape[1:])}
    for t in (torch.tensor(0.3).double(), torch.tensor([0.05, 0.2, 0.5, 1.0], dtype=torch.float64)):
        torch.testing.assert_close(guided(x, t, cond), posterior(x, t), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("noise_std", [0.0, 0.2])
def test_gaussian_jacobian_is_exact_for_gaussian_data(noise_std: float) -> None:
    sde, operator = VPSDE(), Downsampling(2)
    model = GaussianScore(sde, mean=0.25, std=0.5)
    x, truth = torch.randn(2, 3, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cond = {"measurement": operator.forward(truth)}
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    net, gaussian = (
        PseudoInverseGuidance(model, operator, noise_std, jacobian=name)(x, t, cond) for name in ("net", "gaussian")
    )
    torch.testing.assert_close(gaussian, net)
    if noise_std == 0:
        # Without noise the denoised image fits the measurement for any score.
        other = PseudoInverseGuidance(GaussianScore(sde, -1, 2), operator, data_std=0.1, jacobian="gaussian")
        torch.testing.assert_close(operator.forward(other.denoise(x, t, cond)), cond["measurement"])


def test_samples_have_posterior_mean_and_covariance() -> None:
    """By the ODE: its map of latents is affine, x = m + M z, so the mean is m and the covariance M M^T."""
    sde, operator, noise_std = VPSDE(), OPERATORS["downsampling"](), 0.1
    prior = CorrelatedGaussian(sde, torch.full((16,), 0.25).double(), 0.25 * torch.eye(16).double())
    y = operator.forward(torch.rand(1, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    mean, covariance = prior.condition(dense(operator), y[0].flatten(), noise_std)
    guided = PseudoInverseGuidance(GaussianScore(sde), operator, noise_std, data_std=0.5)
    z = torch.cat([torch.zeros(1, 16), torch.eye(16)]).double().reshape(17, *SHAPE)
    cond = {"measurement": y.expand(17, *y.shape[1:])}
    x = ProbabilityFlowODE(eps=1e-5, denoise=False)(guided, z, cond=cond).samples.flatten(1)
    # p_T differs slightly from the prior: alpha(T) = 0.007.
    torch.testing.assert_close(x[0], mean, rtol=0, atol=5e-3)
    matrix = (x[1:] - x[0]).T
    torch.testing.assert_close(matrix @ matrix.T, covariance, rtol=0, atol=3e-3)


@operators
def test_dps_is_the_gradient_of_the_residual(name: str) -> None:
    sde, operator = VPSDE(), OPERATORS[name]()
    model, t = GaussianScore(sde), torch.tensor(0.3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, *SHAPE, dtype=torch.float64, generator=generator, requires_grad=True)
    y = operator.forward(torch.randn(2, *SHAPE, dtype=torch.float64, generator=generator))
    x0 = (x + sde.sigma(t) ** 2 * model(x, t)) / sde.alpha(t)
    squares = (y - operator.forward(x0)).flatten(1).square()
    plain = torch.autograd.grad(-squares.sum() / (2 * 0.2**2), x, retain_graph=True)[0]
    # The variance is |residual|^2 / m: the gradient of -m log |residual|.
    shown = torch.autograd.grad(-0.5 * squares.shape[1] * squares.sum(1).log().sum(), x)[0]
    cond = {"measurement": y}
    x = x.detach()
    for guided, expected in (
        (DPS(model, operator, 0.2, scale=3.0, normalize=False), 3 * plain),
        (DPS(model, operator, 0.01, scale=0.5), 0.5 * shown),
    ):
        torch.testing.assert_close(guided(x, t, cond), model(x, t) + expected)


@pytest.mark.parametrize("method", [DPS, PseudoInverseGuidance])
@pytest.mark.parametrize("name", ["downsampling", "masking"])
def test_reconstruction_fits_the_measurement(name: str, method: type[DPS] | type[PseudoInverseGuidance]) -> None:
    """Predictor-only sampling of data N(0.25, 0.5^2): the error is near the noise level, the PSNR above the prior's."""
    sde, operator, noise_std, batch = VPSDE(), OPERATORS[name](), 0.05, 32
    noise = AddressedNoise(0, torch.arange(batch))
    like = torch.empty(batch, *SHAPE, dtype=torch.float64)
    truth = 0.25 + 0.5 * noise("truth", 0, like)
    y = operator.forward(truth)
    y = y + noise_std * noise("measurement", 0, y)
    guided = method(GaussianScore(sde), operator, noise_std)
    sampler = PredictorCorrector(LinearGrid(150, eps=1e-3), ReverseDiffusion(), NoCorrector())
    samples = sampler(guided, noise("prior", 0, like), noise, cond={"measurement": y}).samples
    error = float(measurement_error(operator, samples, y).mean())
    assert error < 2 * noise_std
    # Two independent draws of the data differ by sqrt(2) 0.5.
    unguided = -20 * torch.log10(torch.tensor(2**0.5 * 0.5))
    assert float(psnr(samples, truth).mean()) > float(unguided) + 0.5


def test_measurement_error_and_psnr() -> None:
    operator = Downsampling(2)
    x = torch.zeros(2, *SHAPE)
    y = torch.tensor([0.1, 0.3]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    torch.testing.assert_close(measurement_error(operator, x, y), torch.tensor([0.1, 0.3]))
    torch.testing.assert_close(psnr(x, x + 0.1), torch.full((2,), 20.0))
    torch.testing.assert_close(psnr(x, x + 0.2, "centered"), torch.full((2,), 20.0))


def test_invalid_settings_are_refused() -> None:
    model, operator = GaussianScore(VESDE()), Downsampling(2)
    with pytest.raises(UserError, match="noise_std"):
        DPS(model, operator, 0.0, normalize=False)
    with pytest.raises(UserError, match="measurement"):
        DPS(model, operator)(torch.zeros(1, *SHAPE), torch.tensor(0.5))
    with pytest.raises(UserError, match="divide"):
        Downsampling(3).forward(torch.zeros(1, *SHAPE))
    with pytest.raises(UserError, match="random measurements"):
        RandomProjection(SHAPE, 17)
    with pytest.raises(UserError, match="no known pixels"):
        Masking(SHAPE, torch.zeros(1, 4, 4))


@pytest.mark.parametrize("method", [DPS, PseudoInverseGuidance])
def test_works_inside_inference_mode(method: type[DPS] | type[PseudoInverseGuidance]) -> None:
    guided = method(GaussianScore(VPSDE()), Downsampling(2), 0.1)
    x, t = torch.full((2, *SHAPE), 0.3), torch.tensor([0.2, 0.4])
    y = torch.tensor([0.1, 0.3]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    with torch.inference_mode():
        inside = guided(x + 0, t + 0, {"measurement": y + 0})
    assert torch.equal(inside, guided(x, t, {"measurement": y}))
