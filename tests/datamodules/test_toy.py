import math

import pytest
import torch

from src.datamodules.toy import ToyDataModule
from src.errors import UserError


@pytest.mark.parametrize("kind", ["gaussians", "checkerboard", "spirals"])
def test_points_are_standardized(kind):
    x = ToyDataModule(kind=kind).sample(40000).double()
    assert x.mean(0).abs().max() < 0.02
    assert abs(x.square().sum(1).mean() - 2) < 0.03
    assert (x.std(0) - 1).abs().max() < 0.1


def test_points_follow_the_mixture():
    module = ToyDataModule(kind="gaussians")
    weights, means, stds = module.mixture
    assert torch.equal(weights, torch.full((8,), 1 / 8, dtype=torch.float64))
    assert float((weights[:, None] * (means**2 + stds[:, None] ** 2)).sum()) == pytest.approx(2)
    x = module.sample(40000).double()
    component = torch.cdist(x, means).argmin(1)
    for k in range(len(weights)):
        mine = x[component == k]
        assert len(mine) / len(x) == pytest.approx(1 / 8, abs=0.01)
        assert (mine.mean(0) - means[k]).abs().max() < 0.01
        assert (mine.std(0) - stds[k]).abs().max() < 0.005
    with pytest.raises(ValueError, match="spirals is no Gaussian mixture"):
        _ = ToyDataModule(kind="spirals").mixture


def test_the_checkerboard_is_uniform_on_every_second_square():
    x = ToyDataModule(kind="checkerboard").sample(40000).double() * math.sqrt(4 / 3) + 2
    square = (x.floor()).long()
    assert square.min() >= 0 and square.max() <= 3 and (square.sum(1) % 2 == 0).all()
    counts = (4 * square[:, 0] + square[:, 1]).bincount(minlength=16)
    assert (counts[counts > 0].double() / 40000 - 1 / 8).abs().max() < 0.01 and (counts > 0).sum() == 8
    inside = x - square
    assert (inside.mean(0) - 0.5).abs().max() < 0.01 and (inside.var(0) - 1 / 12).abs().max() < 0.005


def test_points_lie_along_two_spirals():
    x = ToyDataModule(kind="spirals").sample(5000).double()
    s = torch.linspace(0, 1, 2000, dtype=torch.float64)
    outermost = math.sqrt(2 * (2 - 2 * 0.05**2))
    arm = outermost * s[:, None] * torch.stack([(3 * math.pi * s).cos(), (3 * math.pi * s).sin()], dim=-1)
    for sign in (1, -1):
        away = torch.cdist(x, sign * arm).min(1).values
        mine = away < torch.cdist(x, -sign * arm).min(1).values
        assert mine.double().mean().item() == pytest.approx(0.5, abs=0.02)
        # Noise of standard deviation 0.05 across the arm.
        assert away[mine].square().mean().sqrt().item() == pytest.approx(0.05, rel=0.1)
    inner = (x.norm(dim=1) < outermost / math.sqrt(2)).double().mean().item()
    assert inner == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_training_point_depends_on_step_and_position_only(world_size):
    class Processes:
        accumulate_grad_batches, global_step = 2, 13

        def __init__(self, rank):
            self.world_size, self.global_rank = world_size, rank

    whole = ToyDataModule(global_batch_size=8, steps_per_epoch=10)
    whole.completed_steps = lambda: 13
    expected = next(iter(whole.train_dataloader()))
    assert (expected["step"], expected["epoch"]) == (13, 1) and expected["x"].shape == (8, 2)
    seen = torch.full((8, 2), torch.nan)
    for rank in range(world_size):
        module = ToyDataModule(global_batch_size=8, steps_per_epoch=10)
        module.trainer = Processes(rank)
        batches = iter(module.train_dataloader())
        for batch in (next(batches), next(batches)):
            assert batch["step"] == 13
            seen[batch["position"]] = batch["x"]
    assert torch.equal(seen, expected["x"])
    following = list(whole.train_dataloader())
    assert len(following) == 7 and not torch.equal(following[1]["x"], expected["x"])


def test_evaluation_points_are_fixed_and_differ_from_training_points():
    module = ToyDataModule(eval_samples=11, eval_batch_size=4)
    x = torch.cat([batch["x"] for batch in module.val_dataloader()])
    assert torch.equal(x, module.sample(11))
    assert not torch.equal(next(iter(module.train_dataloader()))["x"][:11], x)


def test_invalid_settings_are_refused():
    for settings, message in (({"dim": 3}, "dim=3"), ({"data_range": "unit"}, "use centered")):
        with pytest.raises(UserError, match=message):
            ToyDataModule(**settings)
