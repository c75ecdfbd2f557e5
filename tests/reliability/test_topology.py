"""One process, two processes and gradient accumulation train the same net.

They differ only in the order of float32 sums: the gradient of a batch is a sum over images, computed in one piece, in
two processes or in two parts. The same runs in float64 show that this is the only difference: it shrinks with the
rounding unit. Adam turns a difference in a gradient near zero into a difference of up to lr in a weight, so weights
have their own tolerance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.reliability.support.entry import Started, start_ranks
from tests.reliability.support.runs import TINY, curve, final_checkpoint, in_folder, only_run

STEPS = 12
RUN = (
    *TINY,
    "net.dropout=0.0",
    f"trainer.max_steps={STEPS}",
    "trainer.val_check_interval=5",
    f"callbacks.last_checkpoint.every_n_steps={STEPS // 2}",
    "callbacks.sample_images.every_n_steps=1000",
    "callbacks.sample_images.num_images=4",
    "callbacks.fid.every_n_steps=6",
    "callbacks.fid.num_samples=64",
    "callbacks.fid.batch_size=8",
)
LAYOUTS = {"1 x 32": (1, 1), "2 x 16": (2, 1), "1 x 16 twice": (1, 2), "2 x 8 twice": (2, 2)}
# Largest relative difference of a loss; largest difference of a weight or average.
TOLERANCE = {"32-true": (1e-5, 1e-4), "64-true": (1e-6, 1e-9)}


def run_as(folder: Path, processes: int, accumulate: int, *arguments: str) -> Path:
    """Run the training with its batch split over processes, started as by torchrun."""
    devices = ["trainer=ddp_sim"] if processes > 1 else []
    command = ["train.py", *RUN, *devices, f"trainer.accumulate_grad_batches={accumulate}", *arguments]
    command = [*command, *in_folder(folder)]
    started = start_ranks(command, folder, processes) if processes > 1 else [Started(command, folder / "rank0")]
    for process in started:
        ended = process.wait()
        assert ended.code == 0, ended.out + ended.err
    return only_run(folder)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("precision", "layouts"),
    [
        ("64-true", list(LAYOUTS)),
        ("32-true", ["1 x 32", "2 x 8 twice"]),
        pytest.param("32-true", list(LAYOUTS), marks=pytest.mark.slow),
    ],
)
def test_losses_and_weights_do_not_depend_on_the_layout(precision: str, layouts: list[str], tmp_path: Path) -> None:
    runs = {
        name: run_as(tmp_path / name.replace(" ", "-"), *LAYOUTS[name], f"trainer.precision={precision}")
        for name in layouts
    }
    expected = curve(runs["1 x 32"])
    assert sorted(expected) == list(range(1, STEPS + 1))
    for_loss, for_weight = TOLERANCE[precision]
    weights = flat(final_checkpoint(runs["1 x 32"], tmp_path))
    for name, run in runs.items():
        found = curve(run)
        assert [sorted(row) for row in found.values()] == [sorted(row) for row in expected.values()], name
        for step, row in found.items():
            for key in row.keys() & {"train/loss", "val/loss"}:
                assert float(row[key]) == pytest.approx(float(expected[step][key]), rel=for_loss), (name, step, key)
        difference = (flat(final_checkpoint(run, tmp_path)) - weights).abs().max()
        assert difference <= for_weight, name
    halfway = torch.load(runs["1 x 32"] / "checkpoints" / f"step{STEPS // 2:08d}.ckpt", weights_only=True)
    assert (weights - flat(halfway)).abs().max() > 1e-3, "the weights must change during training"


def test_mean_flow_trains_the_same_with_two_processes(tmp_path: Path) -> None:
    """The forward-mode derivative in the loss must not bypass the gradient reduction."""
    settings = ["experiment=digits_meanflow", "trainer.max_steps=3", "trainer.precision=64-true"]
    one, two = (flat(final_checkpoint(run_as(tmp_path / str(n), n, 1, *settings), tmp_path)) for n in (1, 2))
    assert (one - two).abs().max() <= 1e-9


def test_scores_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    # With lr=0 the weights, and therefore the images, are the same.
    one, two = (scores(run_as(tmp_path / str(n), n, 1, "optimizer.lr=0")) for n in (1, 2))
    assert [entry["subject"]["step"] for entry in one] == [entry["subject"]["step"] for entry in two] == [6, STEPS]
    for a, b in zip(one, two, strict=True):
        assert a["values"]["frechet_pixel"] == pytest.approx(b["values"]["frechet_pixel"], rel=1e-6)
        assert a["conditions"] == b["conditions"]


def scores(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]


def flat(checkpoint: dict[str, Any]) -> torch.Tensor:
    """Return all weights and averages as one vector."""
    averages = [value for average in checkpoint["ema"].values() for value in average.values()]
    return torch.cat([value.double().flatten() for value in [*checkpoint["state_dict"].values(), *averages]])
