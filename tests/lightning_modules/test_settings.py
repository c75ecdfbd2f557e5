"""Settings of how a step is computed: alone and together they change neither results nor names in a checkpoint."""

from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from src.callbacks.ema import EMA

CONF = str(Path(__file__).parents[2] / "conf")
TINY = ("experiment=digits", "net.nf=8", "datamodule.global_batch_size=16", "scheduler.steps=1", "sde.prior_mean=0.0")
QUIET = (
    "trainer.max_steps=3",
    "++trainer.limit_val_batches=0",
    "++trainer.logger=false",
    "trainer.log_every_n_steps=1",
)
PLAIN = ("optimizer.fused=null",)


@cache
def trained(*settings: str) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Losses of three steps, then weights and averages as a checkpoint holds them."""
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("train", overrides=[*TINY, *QUIET, "++trainer.default_root_dir=null", *settings])
    torch.manual_seed(0)
    module = instantiate(cfg.module, _convert_="all")
    losses: list[Tensor] = []
    step = module.training_step
    module.training_step = lambda batch, batch_idx: losses.append(loss := step(batch, batch_idx)) or loss
    ema = EMA({"average": instantiate(cfg.ema, _convert_="all").popitem()[1]})
    trainer = instantiate(cfg.trainer, _convert_="all", callbacks=[ema], enable_checkpointing=False)
    trainer.fit(module, instantiate(cfg.datamodule, _convert_="all"))
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    accumulated = torch.stack(losses).detach().view(3, -1).mean(1)
    return accumulated, weights, {name: value.clone() for name, value in ema.shadows["average"].items()}


def equal(settings: tuple[str, ...], tolerance: float) -> None:
    losses, weights, averages = trained(*PLAIN)
    other_losses, other_weights, other_averages = trained(*settings)
    assert list(other_weights) == list(weights)
    assert list(other_averages) == list(averages)
    torch.testing.assert_close(other_losses, losses, rtol=tolerance, atol=0)
    for name, value in averages.items():
        # A step of Adam moves a weight by the rate, whatever its gradient: tiny gradients make tiny differences large.
        torch.testing.assert_close(other_averages[name], value, rtol=tolerance, atol=5 * tolerance, msg=name)


@pytest.mark.parametrize(
    "settings",
    [
        ("optimizer.fused=true",),
        ("net.channels_last=true",),
        ("net.checkpoint_activations=true",),
        ("trainer.accumulate_grad_batches=2",),
        ("net.channels_last=true", "net.checkpoint_activations=true", "trainer.accumulate_grad_batches=4"),
    ],
    ids=lambda settings: "-".join(s.split(".")[-1] for s in settings),
)
def test_results_and_names_stay(settings: tuple[str, ...]) -> None:
    equal(settings, 1e-4)


def test_bf16_with_a_fused_optimizer_and_clipping() -> None:
    equal(("trainer.precision=bf16-mixed", "optimizer.fused=true", "trainer.gradient_clip_val=1.0"), 2e-2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        (("net.compile=true",), 1e-4),
        (("net.compile=true", "net.channels_last=true", "trainer.accumulate_grad_batches=2"), 1e-4),
        (("net.compile=true", "net.channels_last=true", "trainer.precision=bf16-mixed"), 2e-2),
    ],
    ids=["compiled", "with-channels-last-and-accumulation", "with-bf16"],
)
def test_compiled_training(settings: tuple[str, ...], tolerance: float) -> None:
    equal(settings, tolerance)
