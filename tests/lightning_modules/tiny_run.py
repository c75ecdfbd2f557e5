"""Three training steps of a tiny net on the digits; ``python -m tests.lightning_modules.tiny_run FILE SETTING ...``."""

import sys
from functools import cache
from pathlib import Path

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


@cache
def trained(*settings: str) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Return the losses of three steps, then weights and averages as a checkpoint contains them."""
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


if __name__ == "__main__":
    torch.save(trained(*sys.argv[2:]), sys.argv[1])
