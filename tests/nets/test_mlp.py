import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.nets import MLP


@pytest.mark.parametrize("embedding_type", ["fourier", "positional"])
def test_gradients(embedding_type: str) -> None:
    torch.manual_seed(0)
    net = MLP(dim=3, width=8, depth=2, embedding_type=embedding_type, fourier_features=4, init_scale=1.0).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    level = torch.rand(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x, level))
    torch.testing.assert_close(net(x, level[0]), net(x, level[0].expand(4)), rtol=0, atol=1e-12)


def test_learns_the_score_of_a_gaussian_at_every_noise_level() -> None:
    """Data N(0, 1/4): the optimal noise prediction is x sigma / (1/4 + sigma^2)."""
    torch.manual_seed(0)
    net = MLP(dim=2, width=32, depth=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 300)
        x0, noise, sigma = 0.5 * torch.randn(256, 2), torch.randn(256, 2), 10 ** (2 * torch.rand(256) - 1)
        a_in = (0.25 + sigma**2).rsqrt()[:, None]
        loss = (net(a_in * (x0 + sigma[:, None] * noise), sigma) - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def error(sigma: float) -> Tensor:
        u = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1))
        exact = u * sigma / (0.25 + sigma**2) ** 0.5
        return (net(u, torch.tensor(sigma)) - exact).square().mean().sqrt()

    # The exact slopes go from 0.3 to 0.99: a net that ignores sigma has an error above 0.3 at some level.
    assert max(error(sigma) for sigma in (0.15, 0.5, 2.0, 8.0)) < 0.15


def test_wrong_input_length_is_refused() -> None:
    with pytest.raises(UserError, match="length 2, got 3"):
        MLP(dim=2)(torch.zeros(1, 3), torch.ones(()))
