"""A sampler step compared with the diffusers pipeline, and the cost of the sampler around the net."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from bench.rows import Row, row
from bench.speed.variants import Diffusers
from bench.timing import interleaved, ratio
from src.config.location import CONFIG_DIR
from src.noise import AddressedNoise
from src.sampling import SampleOutput


class ConstantNet(nn.Module):
    """A net without cost that always returns the given output."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.output


def configured(*overrides: str) -> Any:
    """Return model, sampler and image shape of ``conf/train.yaml``."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", overrides=["sde.prior_mean=0.0", *overrides])
    shape = (cfg.datamodule.channels, cfg.datamodule.image_size, cfg.datamodule.image_size)
    model = instantiate(cfg.model, _convert_="all").eval()
    return model, instantiate(cfg.sampler, _convert_="all"), shape


def prepared(model: Any, sampler: Any, shape: tuple[int, ...], batch: int) -> Callable[[], SampleOutput]:
    """Return a function that runs the sampler on ``batch`` addresses."""
    noise = AddressedNoise(0, torch.arange(batch))
    x = model.sde.prior_sample(noise("prior", 0, torch.empty(batch, *shape)))

    def run() -> SampleOutput:
        with torch.no_grad():
            output: SampleOutput = sampler(model, x, noise)
        return output

    return run


def steps_against_diffusers(batch: int, rounds: int, budget: float) -> list[Row]:
    """Time one step (predictor and corrector: two evaluations of the net), in runs of 2 steps."""
    from diffusers import ScoreSdeVePipeline, ScoreSdeVeScheduler

    section = f"One predictor-corrector step, CIFAR-10, batch {batch}"
    ours = {
        "ours": configured("sampler.grid.steps=2"),
        "ours, channels_last": configured("sampler.grid.steps=2", "net.channels_last=true"),
    }
    scheduler = ScoreSdeVeScheduler(num_train_timesteps=2, snr=0.16, sigma_min=0.01, sigma_max=50.0)
    pipeline = ScoreSdeVePipeline(Diffusers().eval().net, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    theirs = "diffusers ScoreSdeVePipeline"
    times = interleaved(
        {
            theirs: lambda: pipeline(batch, num_inference_steps=2, output_type="numpy"),
            **{name: prepared(*made, batch) for name, made in ours.items()},
        },
        rounds,
        budget=budget,
    )
    rows = [row(section, name, timing.scaled(1 / 2), "s") for name, timing in times.items()]
    speed_up = {name: ratio(times[theirs], times[name]) for name in ours}
    return rows + [row(section, f"{name} over diffusers", x, "x", at_least=1.25) for name, x in speed_up.items()]


def surroundings(name: str, overrides: list[str], batch: int, rounds: int, at_most: float) -> list[Row]:
    """Measure arithmetic and noise per evaluation in the sampler, as a share of the evaluation."""
    section = f"Sampler around the net, {name}, batch {batch}"
    model, sampler, shape = configured(*overrides, "sampler.grid.steps=10")
    x, sigma = torch.randn(batch, *shape), torch.tensor(1.0)
    net = model.net
    with torch.no_grad():
        out = net(x, sigma)
    model.net = ConstantNet(out + 1)
    run = prepared(model, sampler, shape, batch)
    evaluations = int(run().nfe[0])

    def evaluate() -> None:
        with torch.no_grad():
            net(x, sigma)

    times = interleaved({"evaluation of the net": evaluate, "arithmetic and noise of an evaluation": run}, rounds)
    around = times["arithmetic and noise of an evaluation"].scaled(1 / evaluations)
    return [
        row(section, "evaluation of the net", times["evaluation of the net"].scaled(1e3), "ms"),
        row(section, "arithmetic and noise of an evaluation", around.scaled(1e3), "ms"),
        row(section, "share", ratio(around, times["evaluation of the net"]).scaled(100), "%", at_most=at_most),
        row(section, "noise per number", _noise_cost(batch, shape) * 1e9, "ns"),
    ]


def _noise_cost(batch: int, shape: tuple[int, ...]) -> float:
    noise, like = AddressedNoise(0, torch.arange(batch)), torch.empty(batch, *shape)
    timing = interleaved({"noise": lambda: noise("predictor", 0, like)}, rounds=10)["noise"]
    return timing.median / (batch * math.prod(shape))
