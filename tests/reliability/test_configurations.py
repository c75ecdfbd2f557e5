"""Configurations that cannot work end before data, devices or W&B are touched, in one line that says what to change."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from src.app.cli import CONFIG_DIR
from src.app.instantiate import instantiate
from src.app.messages import one_line
from src.app.run_dir import register_resolvers
from src.app.training import Run
from tests.reliability.entry import train
from tests.reliability.in_process import call, refusal
from tests.reliability.runs import TINY, in_folder

# What is wrong, and words of the line that says so.
WRONG = {
    ("net.nff=8",): "nf",
    ("experiment=digit",): "digits",
    ("sampler=pcc",): "pc",
    ("nonsense.key=1",): "nonsense",
    ("parametrization=song_ve", "net.embedding_type=positional"): "embedding",
    ("parametrization=edm",): "centered",
    ("parametrization=smld", "datamodule.data_range=unit"): "embedding",
    ("parametrization=edm", "datamodule.data_range=centered"): "embedding",
    ("net.ch_mult=[1,1,1,1,1]",): "divisible",
    ("net.nf=14",): "GroupNorm",
    ("net.attn_resolutions=[5]",): "attn_resolutions",
    ("net.nonlinearity=tanh",): "nonlinearity",
    ("net.nf=many",): "net",
    ("net.dropout=2",): "dropout",
    ("sampler.corrector.snr=0",): "snr",
    ("sampler.corrector.snr=-0.1",): "snr",
    ("sampler.grid.steps=0",): "steps",
    ("sampler.grid.eps=1",): "eps",
    ("sampler.grid.eps=-1",): "eps",
    ("sampler=ode", "sampler.eps=2"): "eps",
    ("objective.time_sampler.eps=1.5",): "eps",
    ("objective.reduction=max",): "reduction",
    ("sde.sigma_min=9",): "sigma_min",
    ("sde=vp", "sde.beta_min=-1"): "beta_min",
    ("trainer=gpu", "trainer.devices=64"): "GPUs",
    ("trainer.devices=3", "trainer.strategy=ddp"): "global_batch_size",
    ("trainer.accumulate_grad_batches=5",): "global_batch_size",
    ("trainer.accumulate_grad_batches=0",): "accumulate_grad_batches",
    ("trainer.max_steps=0",): "max_steps",
    ("trainer.devices=0",): "devices",
    ("datamodule.data_range=bytes",): "data_range",
    ("callbacks.fid.num_samples=1",): "num_samples",
    ("callbacks.fid.every_n_steps=0",): "every",
    ("callbacks.fid.quantize=floor",): "quantize",
    ("callbacks.last_checkpoint.keep=0",): "keep",
    ("callbacks.last_checkpoint.every_n_steps=0",): "at least 1",
    ("optimizer.lr=-1",): "optimizer",
    ("scheduler.steps=-1",): "scheduler",
    ("seed=word",): "seed",
}


@pytest.mark.parametrize("wrong", WRONG, ids=" ".join)
def test_refused_before_anything_is_touched(
    wrong: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*_: object, **__: object) -> None:
        raise AssertionError("the check came too late")

    monkeypatch.setattr(Run, "prepare_data", touched)
    line = refusal(call(["train.py", *TINY, *in_folder(tmp_path), "logger=wandb", *wrong]))
    assert WRONG[wrong] in line


@pytest.mark.parametrize("setting", ["datamodule.train_split=valid", "datamodule.global_batch_size=1024"])
def test_what_only_the_data_can_tell(setting: str, tmp_path: Path) -> None:
    # Loading the digits is needed to know; still one line.
    refusal(call(["train.py", *TINY, *in_folder(tmp_path), setting]))


CHOICES = {
    "sde": ["ve", "vp", "subvp", "edm", "flow", "wrong"],
    "parametrization": ["song_ve", "song_vp", "edm", "smld", "ddpm", "v", "x0", "velocity", "songve"],
    "net": ["ncsnpp_digits", "ddpm", "mlp", "ncsnpp_positional", "unet"],
    "objective": ["score_matching", "score_matching_mean", "likelihood", "likelihood_importance", "edm", "smld"],
    "sampler": ["pc", "ancestral", "euler_maruyama", "heun", "ode", "dpm_solver_2m", "unipc", "ald", "pcc"],
    "ema": ["ve", "vp", "edm", "posthoc", "none"],
    "scheduler": ["warm_up", "warm_up_cosine"],
    "callbacks": ["default", "minimal", "posthoc"],
    "metric": ["pixel", "digits"],
    "trainer": ["cpu", "ddp_sim", "gpu", "tpu"],
    "net.nf": ["8", "16", "6", "0", "-8", "word", "null", "1.5"],
    "net.ch_mult": ["[1]", "[1,2]", "[]", "[1,1,1,1,1,1]", "3", "[0]"],
    "net.attn_resolutions": ["[]", "[4]", "[8]", "[7]", "4"],
    "net.dropout": ["0.0", "0.5", "-1", "2", "word"],
    "net.embedding_type": ["fourier", "positional", "learnt"],
    "net.fourier_log": ["true", "false"],
    "net.num_classes": ["null", "10", "0", "-1"],
    "net.nonlinearity": ["swish", "relu", "gelu"],
    "net.norm_groups": ["null", "1", "3", "0"],
    "net.progressive": ["none", "output_skip", "residual", "skip"],
    "net.progressive_input": ["none", "input_skip", "residual"],
    "net.resblock_type": ["biggan", "ddpm", "resnet"],
    "net.num_res_blocks": ["1", "0", "-1"],
    "net.widht": ["8"],
    "datamodule.data_range": ["unit", "centered", "signed"],
    "datamodule.global_batch_size": ["32", "16", "1", "0", "-4", "33", "word"],
    "datamodule.eval_batch_size": ["32", "0"],
    "datamodule.limit": ["160", "64", "0", "null"],
    "datamodule.channels": ["1", "3"],
    "datamodule.image_size": ["8", "16", "0"],
    "datamodule.random_flip": ["true", "false"],
    "datamodule.dequantize": ["true", "false"],
    "sampler.grid.steps": ["2", "1", "0", "-1", "word"],
    "sampler.grid.eps": ["1e-3", "0", "1", "-1", "null"],
    "sampler.corrector.snr": ["0.1", "0", "-1"],
    "sampler.denoise": ["true", "false"],
    "objective.time_sampler.eps": ["1e-3", "1", "-1"],
    "objective.label_dropout": ["0", "0.1"],
    "optimizer.lr": ["1e-3", "0", "-1", "word"],
    "optimizer.betas": ["[0.9,0.99]", "[0.9,2]", "0.9"],
    "scheduler.steps": ["1", "-1", "word"],
    "trainer.accumulate_grad_batches": ["1", "2", "0", "3"],
    "trainer.devices": ["1", "0", "-3", "auto", "word"],
    "trainer.precision": ["32-true", "64-true", "bf16-mixed", "12-true"],
    "trainer.max_steps": ["1", "0", "-2", "word"],
    "trainer.gradient_clip_val": ["1.0", "null", "-1"],
    "trainer.strategy": ["auto", "fast"],
    "callbacks.fid.num_samples": ["16", "1", "0"],
    "callbacks.fid.batch_size": ["8", "0"],
    "callbacks.sample_images.num_images": ["4", "0"],
    "callbacks.last_checkpoint.keep": ["2", "-1", "0"],
    "callbacks.chekpoint.keep": ["2"],
    "seed": ["0", "word", "-1", "99999999999"],
    "float32_matmul_precision": ["high", "low"],
    "module.max_skipped_steps": ["10", "0"],
    "optimized_metric": ["train/loss", "nothing"],
    "test": ["true", "false"],
}
FEW, MANY, RUN_OF_MANY = 60, 600, 40


def mutation(seed: int) -> list[str]:
    """One to four settings drawn from ``CHOICES``; groups first, as Hydra reads them."""
    draw = random.Random(seed)
    keys = draw.sample(sorted(CHOICES), draw.randint(1, 4))
    return [f"{key}={draw.choice(CHOICES[key])}" for key in sorted(keys, key=lambda key: "." in key)]


def composed(overrides: list[str], folder: Path) -> DictConfig:
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return compose("train", overrides=[*TINY, "trainer.max_steps=1", *overrides, f"paths.run_dir={folder}"])


def outcome(seed: int, folder: Path) -> str | None:
    """The line with which the configuration is refused, None if it passes the checks; anything else is raised."""
    try:
        cfg = composed(mutation(seed), folder)
        Run(cfg).check()
        with torch.device("meta"):
            cfg.sde.get("prior_mean") == "data" and cfg.sde.update(prior_mean=0.0)
            instantiate(cfg.datamodule)
    except Exception as error:
        line = one_line(error, "train")
        if line is None:
            raise
        assert line and "\n" not in line
        return line
    return None


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", [0, pytest.param(FEW, marks=pytest.mark.slow)])
def test_mutated_configurations_pass_or_are_one_line(first: int, tmp_path: Path) -> None:
    seeds = range(FEW) if first == 0 else range(FEW, MANY)
    failed, refused = [], 0
    for seed in seeds:
        try:
            refused += outcome(seed, tmp_path) is not None
        except Exception as error:
            failed.append(f"{mutation(seed)}: {type(error).__name__}: {error}"[:400])
    assert not failed, "\n".join(failed)
    assert len(seeds) / 5 < refused < len(seeds)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_those_that_pass_run_one_step_or_end_with_one_line(tmp_path: Path) -> None:
    passing = [seed for seed in range(MANY) if outcome(seed, tmp_path) is None][:RUN_OF_MANY]
    ran = 0
    for seed in passing:
        folder = tmp_path / str(seed)
        ended = train(*TINY, "trainer.max_steps=1", *mutation(seed), *in_folder(folder), folder=folder)
        if ended.code == 0:
            ran += 1
        else:
            assert refusal(ended), mutation(seed)
    assert ran > len(passing) / 2
