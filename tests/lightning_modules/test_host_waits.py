"""A whole training step (net, loss, clipping, Adam, EMA, metrics) never makes the host wait for the GPU."""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import Trainer
from torch import Tensor

from src.callbacks.ema import EMA
from src.lightning_modules import gradients
from tests.lightning_modules.tiny_run import CONF, TINY
from tests.support.host_reads import CARD, NoHostWait

STEPS = 3


class LateFlag(gradients.DeviceFlag):
    """A device flag that may be read only after the next step has begun."""

    now = 0

    def __init__(self, value: Tensor) -> None:
        assert value.device == CARD
        self.made = LateFlag.now

    def __bool__(self) -> bool:
        assert LateFlag.now > self.made, "a device flag was read in the step that made it"
        return False


class StandIn(Trainer):
    """The few trainer attributes that a step reads."""

    global_step = 0  # type: ignore[assignment] # an int instead of a property
    global_rank, world_size, accumulate_grad_batches, log_every_n_steps = 0, 1, 1, 50


@pytest.mark.parametrize("experiment", ["digits", "digits_vp", "digits_edm", "digits_conditional", "digits_classifier"])
def test_a_training_step_does_not_wait_for_the_gpu(experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "DeviceFlag", LateFlag)
    # Fused Adam and autocast do not support the meta device.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    adam = importlib.import_module("torch.optim.adam")
    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda *_, **__: None)
    small = [setting for setting in TINY[1:] if experiment != "digits_classifier" or not setting.startswith("net.")]
    small = [
        setting for setting in small if not (setting.startswith("sde.") and experiment in ("digits_vp", "digits_edm"))
    ]
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("train", overrides=[f"experiment={experiment}", *small])
    with CARD:
        module = instantiate(cfg.module, _convert_="all")
    module.to(CARD)
    ema = EMA({name: instantiate(node, _convert_="all") for name, node in cfg.ema.items()})
    trainer = StandIn.__new__(StandIn)
    module._trainer = trainer
    # The meta device has no random generator for dropout.
    monkeypatch.setattr(module, "_seed_stream", lambda seed: None)
    averaged = experiment != "digits_classifier"
    optimizer = module.configure_optimizers()["optimizer"]
    assert gradients.steps_on_device(optimizer)
    if averaged:
        ema._begin(trainer, module)
    with NoHostWait() as seen:
        for step in range(STEPS):
            LateFlag.now = step
            batch = {"x": torch.empty(16, 1, 8, 8, device=CARD), "position": torch.arange(16, device=CARD)}
            batch |= {"labels": torch.zeros(16, dtype=torch.int64, device=CARD), "index": batch["position"]}
            batch |= {"step": step, "epoch": 0}
            module.on_train_batch_start(batch, step)

            def closure(batch: dict[str, Any] = batch, step: int = step) -> Tensor:
                loss: Tensor = module.training_step(batch, step)
                optimizer.zero_grad()
                loss.backward()
                if averaged:
                    ema.on_before_optimizer_step(trainer, module, optimizer)
                module.configure_gradient_clipping(optimizer, 1.0, None)
                return loss

            module.optimizer_step(0, step, optimizer, closure)
            trainer.global_step += 1
            if averaged:
                ema.on_train_batch_end(trainer, module, None, batch, step)
    assert seen.on_card > 100 * STEPS
    if averaged:
        LateFlag.now = STEPS
        assert ema.updates == STEPS
