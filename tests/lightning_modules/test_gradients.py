"""Gradient clipping and skipped steps: the fused optimizer agrees with clipping and skipping on the host."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision.amp import _optimizer_handles_unscaling
from torch import nn

from src.lightning_modules.gradients import DeviceFlag, allow_external_unscaling, match_layout, prepare_step, total_norm
from tests.support.pairwise import pairwise


def parameters() -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(3))]
    made[0].grad, made[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    return made


def test_norm_over_all_gradients() -> None:
    assert float(total_norm(parameters())) == 5.0


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize(
    ("max_norm", "expected"), [(1.0, [0.6, 0.0, 0.8]), (10.0, [3.0, 0.0, 4.0]), (None, [3.0, 0.0, 4.0])]
)
def test_only_gradients_above_max_norm_are_clipped(
    optimizer: type[torch.optim.Optimizer], max_norm: float | None, expected: list[float]
) -> None:
    clipped = parameters()
    assert not prepare_step(optimizer(clipped, lr=1.0), total_norm(clipped), max_norm)
    gradients = torch.cat([p.grad for p in clipped if p.grad is not None])
    torch.testing.assert_close(gradients, torch.tensor(expected), rtol=1e-6, atol=0)
    assert clipped[2].grad is None


def trained(make: Callable[..., torch.optim.Optimizer], broken: set[int], max_norm: float | None) -> dict[str, Any]:
    """Return weights and optimizer state after eight steps; the steps in ``broken`` have a NaN or infinite gradient."""
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((7,), (33, 5), (16, 16))]
    optimizer, skipped = make(weights, lr=1e-2), []
    for step in range(8):
        for weight in weights:
            # Large and small gradients: norms above and below 1.
            weight.grad = torch.randn(weight.shape, generator=generator) * (1.0 if step % 2 else 1e-3)
        if step in broken:
            weights[1].grad[2, 3] = math.inf if step % 2 else math.nan
        skipped.append(prepare_step(optimizer, total_norm(weights), max_norm))
        optimizer.step()
    assert {step for step, flag in enumerate(skipped) if flag} == broken
    state = optimizer.state_dict()["state"]
    return {
        "weights": torch.cat([weight.detach().flatten() for weight in weights]),
        "moments": torch.cat([state[i][name].flatten() for i in state for name in ("exp_avg", "exp_avg_sq")]),
        "steps": [float(state[i]["step"]) for i in state],
    }


@pytest.mark.parametrize(
    ("adam", "broken", "max_norm"),
    pairwise([torch.optim.Adam, torch.optim.AdamW], [set(), {0}, {3, 4}, {0, 1, 7}], [1.0, None]),
    ids=str,
)
def test_a_fused_optimizer_takes_the_same_steps_as_the_host(
    adam: type[torch.optim.Adam], broken: set[int], max_norm: float | None
) -> None:
    fused = trained(partial(adam, fused=True), broken, max_norm)
    # The same kernel, with clipping and skipping on the host.
    host = trained(partial(HostAdam, adam), broken, max_norm)
    assert fused["steps"] == host["steps"] == [8.0 - len(broken)] * 3
    torch.testing.assert_close(fused["weights"], host["weights"], rtol=0, atol=2.4e-7 if max_norm else 0)
    torch.testing.assert_close(
        fused["moments"], host["moments"], rtol=1e-6 if max_norm else 0, atol=2e-9 if max_norm else 0
    )


def HostAdam(adam: type[torch.optim.Adam], weights: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """A fused Adam in a wrapper class, which the code does not recognize as fused."""

    class Wrapped(torch.optim.Optimizer):
        def __init__(self) -> None:
            super().__init__(weights, {"fused": True})
            self.inner = adam(weights, lr=lr, fused=True)
            self.state = self.inner.state

        def step(self) -> None:
            self.inner.step()

    return Wrapped()


def test_cpu_flags_convert_to_bool() -> None:
    assert DeviceFlag(torch.tensor(1.0)) and not DeviceFlag(torch.tensor(0.0)) and DeviceFlag(torch.tensor(True))


def test_the_trainer_unscales_gradients_of_fused_optimizers() -> None:
    optimizer = torch.optim.Adam(parameters(), fused=True)
    assert _optimizer_handles_unscaling(optimizer)
    allow_external_unscaling(optimizer)
    assert not _optimizer_handles_unscaling(optimizer)


def test_moments_get_the_memory_layout_of_their_parameters() -> None:
    weight = nn.Parameter(torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    state = optimizer.state[weight]
    before = state["exp_avg"].clone()
    state["exp_avg"] = state["exp_avg"].contiguous()
    match_layout(optimizer)
    assert state["exp_avg"].stride() == weight.stride()
    assert torch.equal(state["exp_avg"], before)
