"""Pictures and scores during training: values, steps, resuming, and no effect on training."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from src.callbacks.ema import EMA
from src.callbacks.monitors.fid import FID
from src.callbacks.monitors.sample_images import SampleImages
from src.checkpoint.averages.functions import ExponentialAverage
from src.datamodules import DigitsDataModule, ToyDataModule
from src.errors import UserError
from src.lightning_modules import ScoreSDEModule
from src.loggers import AppendingCSVLogger
from src.metrics import DigitFeatures, FrechetDistance, KernelDistance, MetricSuite, PixelFeatures, PrecisionRecall
from src.noise import AddressedNoise
from src.sampling import EulerMaruyama, LinearGrid, NoCorrector, PredictorCorrector
from src.sinks.reference import check_extractor
from src.stored_values import BYTES
from tests.support.configs import build
from tests.tasks.example import IMAGES, POINTS, config

SEED = 3


def sampler() -> PredictorCorrector:
    return PredictorCorrector(LinearGrid(steps=3), EulerMaruyama(), NoCorrector())


def module(*overrides: str) -> ScoreSDEModule:
    torch.manual_seed(0)
    model = instantiate(config(*(overrides or IMAGES))["model"], _convert_="all")
    objective = build("objective", "score_matching")
    return ScoreSDEModule(model, objective, lambda parameters: torch.optim.Adam(parameters, lr=1e-3))


def digits() -> DigitsDataModule:
    return DigitsDataModule(global_batch_size=16, limit=64)


def suite(tmp_path: Path, **metrics: Any) -> MetricSuite:
    return MetricSuite(
        PixelFeatures([1, 8, 8]), metrics or {"frechet": FrechetDistance()}, cache_dir=tmp_path / "cache"
    )


def pictures(tmp_path: Path, every: int = 2, **options: Any) -> SampleImages:
    return SampleImages(every, 5, SEED, sampler(), tmp_path / "pictures", batch_size=3, **options)


def fid(tmp_path: Path, every: int = 2, count: int = 9, **options: Any) -> FID:
    options.setdefault("suite", suite(tmp_path))
    return FID(every, count, 4, SEED, sampler(), record=tmp_path / "scores.jsonl", **options)


def train(
    tmp_path: Path, callbacks: list[Callback], steps: int = 3, ckpt_path: Path | None = None, **options: Any
) -> Trainer:
    options = {"max_steps": steps, "max_epochs": -1, "log_every_n_steps": 100, **options}
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=callbacks,
        logger=[AppendingCSVLogger(str(tmp_path)), TensorBoardLogger(str(tmp_path), name="board")],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
        **options,
    )
    trainer.fit(module(), digits(), ckpt_path=ckpt_path, weights_only=True)
    return trainer


class Keep(Callback):
    """Keep a copy of the averaged weights of every step."""

    def __init__(self, ema: EMA) -> None:
        self.ema = ema
        self.averaged: dict[int, dict[str, torch.Tensor]] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.averaged[trainer.global_step] = {k: v.clone() for k, v in self.ema.shadows["default"].items()}


def expected_images(weights: dict[str, torch.Tensor], count: int) -> torch.Tensor:
    model = module().model.eval()
    model.net.load_state_dict(weights, strict=False)
    noise = AddressedNoise(SEED, torch.arange(count))
    x = model.sde.prior_sample(noise("prior", 0, torch.empty(count, 1, 8, 8)))
    return BYTES.from_model(sampler()(model, x, noise).samples, model.data_range, "round")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trainer, Keep, FID]:
    """Train three steps, with pictures and scores at steps 2 and 3."""
    folder = tmp_path_factory.mktemp("run")
    ema = EMA({"default": ExponentialAverage(0.5, warmup=False)})
    keep = Keep(ema)
    scores = fid(folder, save_best=folder / "best_fid.ckpt")
    trainer = train(folder, [ema, keep, pictures(folder, trajectory=True), scores])
    return folder, trainer, keep, scores


def test_scores_use_the_averaged_weights(trained: tuple[Path, Trainer, Keep, FID], tmp_path: Path) -> None:
    folder, trainer, keep, _ = trained
    data = digits()
    direct = suite(tmp_path)
    reference = direct.reference(data.reference_batches(50), "x", "digits")
    for line in (folder / "scores.jsonl").read_text().splitlines():
        entry = json.loads(line)
        direct.reset()
        direct.update(expected_images(keep.averaged[entry["subject"]["step"]], 9))
        expected = direct.compute(reference, quantization="round").values["frechet_pixel"]
        assert entry["values"]["frechet_pixel"] == pytest.approx(expected, rel=1e-4)
        assert entry["conditions"]["samples"] == 9
        assert entry["conditions"]["reference"] == "digits train"
        assert entry["conditions"]["nfe"] == 3
        assert entry["protocol"]["text"] == (
            "frechet_pixel 9 · pixel · digits train · no flips · round · ema · predictorcorrector(eulermaruyama)-3"
        )
        made = {"weights": "ema", "sampler": "PredictorCorrector(EulerMaruyama) 3 steps"}
        assert made.items() <= entry["protocol"]["facts"].items()
    assert float(trainer.callback_metrics["frechet_pixel"]) == pytest.approx(expected, rel=1e-4)


def test_every_score_is_logged_despite_log_every_n_steps(trained: tuple[Path, Trainer, Keep, FID]) -> None:
    folder = trained[0]
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    scored = [row for row in rows[1:] if row[rows[0].index("frechet_pixel")]]
    assert [int(row[rows[0].index("step")]) for row in scored] == [2, 3]


def test_pictures_show_samples_of_the_averaged_net(trained: tuple[Path, Trainer, Keep, FID]) -> None:
    folder, _, keep, _ = trained
    assert sorted(path.name for path in (folder / "pictures").glob("*.png")) == [
        "step00000002.png",
        "step00000003.png",
    ]
    picture = np.asarray(Image.open(folder / "pictures" / "step00000003.png"))
    images = expected_images(keep.averaged[3], 5)
    cells = [picture[2 + 66 * (i // 3) :, 2 + 66 * (i % 3) :][:64:8, :64:8, 0] for i in range(5)]
    assert np.abs(np.stack(cells).astype(int) - images[:, 0].numpy()).max() <= 1
    with Image.open(folder / "pictures" / "step00000003.gif") as film:
        assert film.n_frames == 3
    assert list((folder / "board").rglob("events*"))


def test_best_checkpoint_contains_raw_weights_and_its_score(trained: tuple[Path, Trainer, Keep, FID]) -> None:
    folder, _, keep, scores = trained
    entries = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    best = min(entries, key=lambda entry: entry["values"]["frechet_pixel"])
    saved = torch.load(folder / "best_fid.ckpt", weights_only=True)
    assert saved["global_step"] == best["subject"]["step"] == scores.best_step
    assert saved["callbacks"]["FID[9 samples]"]["best"] == best["values"]["frechet_pixel"] == scores.best
    averaged = keep.averaged[best["subject"]["step"]]
    for name, value in averaged.items():
        assert torch.equal(saved["ema"]["default"][name], value)
    assert any(not torch.equal(saved["state_dict"][f"model.net.{name}"], value) for name, value in averaged.items())


def test_pictures_and_scores_do_not_change_training(tmp_path: Path) -> None:
    states: list[list[Any]] = []

    class Record(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
            generators = (random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist())  # noqa: NPY002
            states.append([*generators, pl_module.training])

    finals = []
    for name, extra in {"without": [], "with": [pictures(tmp_path, 1), fid(tmp_path, 1)]}.items():
        before, after = Record(), Record()
        trainer = train(tmp_path / name, [EMA({"default": ExponentialAverage()}), before, *extra, after])
        finals.append(trainer.lightning_module.state_dict())
    assert len(states) == 12
    assert states[::2] == states[1::2], "random state before and after the callbacks of a step"
    assert all(state[-1] for state in states)
    assert all(torch.equal(a, b) for a, b in zip(finals[0].values(), finals[1].values(), strict=True))


def test_accumulation_counts_optimizer_steps(tmp_path: Path) -> None:
    train(tmp_path, [pictures(tmp_path, 2)], steps=2, accumulate_grad_batches=2)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["step00000002.png"]


def test_picture_at_the_last_step_of_a_run_limited_by_epochs(tmp_path: Path) -> None:
    train(tmp_path, [pictures(tmp_path, 100)], steps=-1, max_epochs=1)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["step00000004.png"]


def test_resumed_run_keeps_the_best_score_and_repeats_no_step(tmp_path: Path) -> None:
    first = fid(tmp_path)
    trainer = train(tmp_path, [first], steps=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt", weights_only=False)
    second = fid(tmp_path, 100)
    train(tmp_path, [second], steps=3, ckpt_path=tmp_path / "last.ckpt")
    steps = [json.loads(line)["subject"]["step"] for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert steps == [2, 3]
    assert second.best <= first.best


def test_too_few_samples_are_refused_before_training(tmp_path: Path) -> None:
    demanding = suite(tmp_path, precision_recall=PrecisionRecall(neighbors=3), kid=KernelDistance())
    with pytest.raises(UserError, match=r"num_samples=3, but these metrics need at least 4"):
        train(tmp_path, [fid(tmp_path, count=3, suite=demanding)])
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("extractor", [PixelFeatures([3, 8, 8]), DigitFeatures()])
@pytest.mark.parametrize("shape", [(1, 9, 9), (1, 8, 8)])
def test_extractor_must_accept_the_image_shape(extractor: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    data = SimpleNamespace(shape=shape, data_name="letters")
    scores = MetricSuite(extractor, {"frechet": FrechetDistance()}, cache_dir=tmp_path)
    if shape == (1, 8, 8) and isinstance(extractor, DigitFeatures):
        check_extractor(data, scores)
        return
    with pytest.raises(UserError, match="choose a metric that fits the data of letters"):
        check_extractor(data, scores)


def test_points_have_pictures_but_no_scores(tmp_path: Path) -> None:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1,
        callbacks=[pictures(tmp_path)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    data = ToyDataModule(steps_per_epoch=2, global_batch_size=8)
    trainer.fit(module(*POINTS), data)
    assert (tmp_path / "pictures" / "step00000001.png").exists()
    trainer.callbacks.append(fid(tmp_path))  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="has no images to score"):
        trainer.fit(module(*POINTS), data)


def test_diverged_samples_give_no_score(tmp_path: Path) -> None:
    class Poison(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
            with torch.no_grad():
                next(pl_module.model.net.parameters()).fill_(torch.nan)

    scores = fid(tmp_path, save_best=tmp_path / "best.ckpt")
    train(tmp_path, [Poison(), pictures(tmp_path), scores], steps=1)
    assert scores.best == float("inf")
    assert not (tmp_path / "best.ckpt").exists()
    assert not (tmp_path / "scores.jsonl").exists()


@pytest.mark.parametrize("make", [pictures, fid])
def test_an_interval_of_zero_is_refused(make: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="every 0 steps"):
        make(tmp_path, 0)
