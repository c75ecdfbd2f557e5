import pytest
import torch
from lightning.pytorch.plugins.precision.amp import _optimizer_handles_unscaling
from torch import nn

from src.lightning_modules.gradients import clip_to_norm, let_others_unscale, total_norm


def parameters() -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(3))]
    made[0].grad, made[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    return made


def test_norm_is_over_all_gradients_there_are() -> None:
    assert float(total_norm(parameters())) == 5.0


@pytest.mark.parametrize(("max_norm", "expected"), [(1.0, [0.6, 0.0, 0.8]), (10.0, [3.0, 0.0, 4.0])])
def test_only_what_is_longer_is_shortened(max_norm: float, expected: list[float]) -> None:
    clipped = parameters()
    clip_to_norm(clipped, max_norm, total_norm(clipped))
    gradients = torch.cat([p.grad for p in clipped if p.grad is not None])
    torch.testing.assert_close(gradients, torch.tensor(expected), rtol=1e-6, atol=0)
    assert clipped[2].grad is None


def test_fused_optimisers_leave_unscaling_to_the_trainer() -> None:
    optimizer = torch.optim.Adam(parameters(), fused=True)
    assert _optimizer_handles_unscaling(optimizer)
    let_others_unscale(optimizer)
    assert not _optimizer_handles_unscaling(optimizer)
