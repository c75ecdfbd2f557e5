"""A run folder with checkpoints of a tiny net on the digits, and evaluations of it in this process."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor

from evaluate import main as script
from src.checkpoint import read_checkpoint, restore_model
from src.cli.instantiate import instantiate, plain
from src.cli.run_dir import register_resolvers
from src.config.location import CONFIG_DIR
from src.metrics import DigitFeatures, frechet_distance, statistics_of
from src.metrics.extractors.base import FeatureExtractor
from src.sampling.generation import Generation
from src.sde import ScoreModel
from src.sinks.record import Result
from src.stored_values import BYTES
from src.tasks.evaluate.task import Evaluation

TINY = [
    "experiment=digits",
    "net.nf=8",
    "net.ch_mult=[1]",
    "net.num_res_blocks=1",
    "net.attn_resolutions=[]",
    "net.init_scale=1",
    "sampler=heun",
    "sampler.grid.steps=2",
    "sde.prior_mean=0.3",
    "hydra.run.dir=.",
    "paths.run_dir=.",
]


def composed(name: str, overrides: list[str]) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose(name, overrides=overrides, return_hydra_config=False)


@functools.cache
def _training() -> DictConfig:
    return composed("train", TINY)


def make_run(run: Path, steps: tuple[int, ...] = (10,), cache: Path | None = None) -> list[Path]:
    """Write checkpoints with random weights, different for every step, raw and averaged."""
    cfg = copy.deepcopy(_training())
    cfg.metric.cache_dir = str(cache or run / "statistics")
    cfg.metric.metrics = {"frechet": cfg.metric.metrics.frechet}
    config = plain(cfg)
    paths = []
    for step in steps:
        model = _model(cfg, step)
        averaged = {name: value.detach() for name, value in _model(cfg, step + 1).net.named_parameters()}
        path = run / "checkpoints" / f"step{step:08d}.ckpt"
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {f"model.{name}": value for name, value in model.state_dict().items()}
        torch.save({"state_dict": state, "ema": {"default": averaged}, "config": config, "global_step": step}, path)
        paths.append(path)
    return paths


def _model(cfg: DictConfig, seed: int) -> ScoreModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: ScoreModel = instantiate(cfg.model)
    return model


def evaluate(*overrides: str) -> list[Result]:
    """Run evaluate.py with these arguments in this process and return its results."""
    cfg: Any = composed("evaluate", ["accelerator=cpu", "devices=1", "num_samples=12", "batch_size=5", *overrides])
    found: list[Result] = []
    finish = Evaluation.finish

    def watched(self: Evaluation, results: Sequence[Result]) -> float | None:
        found.extend(results)
        return finish(self, results)

    with patch.object(Evaluation, "finish", watched):
        script.__wrapped__(cfg)
    return found


def ckpt(path: Path) -> str:
    """The setting that names a checkpoint."""
    return f"ckpt_path='{path}'"


def digits(split: str) -> Tensor:
    """The images of a split of the digits."""
    data = instantiate({"_target_": "src.datamodules.digits.DigitsDataModule"})
    images = data.images(split)
    return images.gather(torch.arange(len(images)))


def distance(images: Tensor, features: FeatureExtractor | None = None) -> float:
    """The distance of images to all digits, computed here."""
    features = features or DigitFeatures()
    reference = statistics_of(features(digits("all")), features.fingerprint)
    return frechet_distance(reference, statistics_of(features(images), features.fingerprint))


def samples(path: Path, count: int) -> Tensor:
    """The first samples of a checkpoint, made here."""
    checkpoint = read_checkpoint(path)
    model = restore_model(checkpoint)
    sampler = instantiate(checkpoint["config"]["sampler"])
    (batch,) = Generation(model, sampler, (1, 8, 8), 0, count).batches(range(count))
    return BYTES.from_model(batch.samples, "unit")
