"""Averages reconstructed after training, compared with averages computed during training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from src.checkpoint.averages import posthoc as posthoc_ema
from src.checkpoint.averages.functions import PowerAverage
from src.checkpoint.averages.posthoc import check_reconstructible, reconstruct, write_snapshot
from src.checkpoint.averages.power_profile import LONGEST, fit_profile, gamma_of, inner_product
from src.checkpoint.read import peek_checkpoint
from src.errors import UserError

STEPS = 2000
KEPT = {"default": 0.05, "long": 0.10}


def walk() -> Tensor:
    """Return a random walk of 256 parameters, (STEPS, 256)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(STEPS, 256, generator=generator, dtype=torch.float64).cumsum(0)


def tracked(sigma_rel: float, weights: Tensor) -> Tensor:
    """Return the average after every update, (STEPS, 256)."""
    average, states, state = PowerAverage(sigma_rel), [], torch.zeros_like(weights[0])
    for n, value in enumerate(weights, start=1):
        state = torch.lerp(state, value, average.rate(n))
        states.append(state)
    return torch.stack(states)


def checkpoint(step: int, averages: dict[str, Tensor], updates: int | None = None) -> dict[str, object]:
    return {
        "ema": {name: {"p": value[step - 1].float()} for name, value in averages.items()},
        "config": {"ema": {name: {"sigma_rel": KEPT[name]} for name in averages}},
        "callbacks": {"EMA": {"updates": updates or step}},
        "global_step": step,
    }


@pytest.mark.parametrize("sigma_rel", [0.05, 0.10, 0.2])
def test_the_profile_has_the_requested_width(sigma_rel: float) -> None:
    # Averages of the update numbers and of their squares are the moments of the profile.
    numbers = torch.arange(1.0, STEPS + 1, dtype=torch.float64)[:, None]
    mean, square = (tracked(sigma_rel, moment)[-1] for moment in (numbers, numbers**2))
    assert float((square - mean**2).sqrt() / STEPS) == pytest.approx(sigma_rel, rel=2e-3)


def test_the_longest_average_is_the_mean() -> None:
    weights = walk()
    torch.testing.assert_close(tracked(LONGEST, weights)[-1], weights.mean(0))


@pytest.mark.parametrize("sigma_rel", [0.0, -0.1, 0.3])
def test_widths_out_of_range_are_refused(sigma_rel: float) -> None:
    with pytest.raises(UserError, match="sigma_rel"):
        PowerAverage(sigma_rel)


def test_inner_products_match_numerical_integrals() -> None:
    tau = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000 * 7
    (a, t), (b, s) = (3.0, 7.0), (9.5, 4.0)
    first = (a + 1) * tau**a / t ** (a + 1)
    second = torch.where(tau <= s, (b + 1) * tau**b / s ** (b + 1), 0.0)
    numeric = (first * second).sum() * 7 / 200_000
    closed = inner_product(*(torch.tensor(v, dtype=torch.float64) for v in (a, t, b, s)))
    torch.testing.assert_close(closed, numeric, rtol=1e-4, atol=0)


def test_a_stored_profile_is_reproduced() -> None:
    gammas = [gamma_of(s) for s in (0.05, 0.10, 0.05, 0.10)]
    weights, error = fit_profile(gammas, [50, 50, 100, 100], gammas[3], 100)
    assert weights == pytest.approx([0, 0, 0, 1], abs=1e-6)
    assert error < 1e-6


@pytest.mark.parametrize("sigma_rel", [0.03, 0.075, 0.15])
def test_any_length_is_reconstructed_from_two(tmp_path: Path, sigma_rel: float) -> None:
    weights = walk()
    averages = {name: tracked(length, weights) for name, length in KEPT.items()}
    for step in range(100, STEPS, 100):
        kept = {name: {"p": value[step - 1].float()} for name, value in averages.items()}
        write_snapshot(tmp_path / "ema_snapshots" / f"step{step:08d}.safetensors", kept, KEPT, step)
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    torch.save(checkpoint(STEPS, averages), path)
    built = reconstruct(path, checkpoint(STEPS, averages), sigma_rel)
    direct = tracked(sigma_rel, weights)[-1]
    off = float((built.weights["p"].double() - direct).norm() / direct.norm())
    # Compare with the error of the nearest stored average.
    nearest = min(float((value[-1] - direct).norm() / direct.norm()) for value in averages.values())
    assert built.snapshots == 40
    assert off < 0.01
    assert off < nearest / 10


def test_earlier_checkpoints_are_used_and_later_ones_not(tmp_path: Path) -> None:
    weights = walk()
    averages = {name: tracked(length, weights) for name, length in KEPT.items()}
    for step in (500, 1000, 1500, 2000):
        torch.save(checkpoint(step, averages), tmp_path / f"step={step}.ckpt")
    built = reconstruct(tmp_path / "step=1500.ckpt", checkpoint(1500, averages), 0.075)
    assert built.snapshots == 6, "two at each of 500, 1000, 1500"
    direct = tracked(0.075, weights)[1499]
    assert float((built.weights["p"].double() - direct).norm() / direct.norm()) < 0.03


def test_a_checkpoint_removed_during_reading_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    averages = {name: tracked(length, walk()) for name, length in KEPT.items()}
    for step in (500, 1000, 1500):
        torch.save(checkpoint(step, averages), tmp_path / f"step={step}.ckpt")
    gone = tmp_path / "step=1000.ckpt"

    def glanced(path: Path) -> dict[str, object]:
        if path == gone:
            path.unlink(missing_ok=True)
        return peek_checkpoint(path)

    monkeypatch.setattr(posthoc_ema, "peek_checkpoint", glanced)
    assert reconstruct(tmp_path / "step=1500.ckpt", checkpoint(1500, averages), 0.075).snapshots == 4
    (tmp_path / "step=500.ckpt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"step=500\.ckpt cannot be read"):
        reconstruct(tmp_path / "step=1500.ckpt", checkpoint(1500, averages), 0.075)


def test_skipped_steps_do_not_count(tmp_path: Path) -> None:
    averages = {name: tracked(length, walk()) for name, length in KEPT.items()}
    late = checkpoint(1000, averages, updates=900)
    path = tmp_path / "x.ckpt"
    torch.save(late, path)
    write_snapshot(
        tmp_path / "ema_snapshots" / "step00000950.safetensors", {"long": {"p": torch.zeros(256)}}, {"long": 0.1}, 950
    )
    assert reconstruct(path, late, 0.075).snapshots == 2, (
        "the snapshot of update 950 is later than the checkpoint's 900"
    )


def test_runs_without_power_averages_and_snapshots_of_other_nets_are_refused(tmp_path: Path) -> None:
    averages = {name: tracked(length, walk()) for name, length in KEPT.items()}
    plain = {**checkpoint(10, averages), "config": {"ema": {"default": {"decay": 0.999}}}}
    for check in (check_reconstructible, reconstruct):
        with pytest.raises(UserError, match="ema=posthoc"):
            check(tmp_path / "x.ckpt", plain, 0.1)
    write_snapshot(tmp_path / "ema_snapshots" / "a.safetensors", {"long": {"q": torch.zeros(3)}}, {"long": 0.1}, 5)
    with pytest.raises(UserError, match="does not fit this net"):
        reconstruct(tmp_path / "x.ckpt", checkpoint(10, averages), 0.08)
