"""States that a run starts with: those of the checkpoint it resumes from, or the weights of another run."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from omegaconf import DictConfig
from torch import nn

from ...checkpoint import OpenCheckpoint, restore_model
from ...checkpoint.restore import misfit_of
from ...checkpoint.training_state import check_training_state
from ...cli.instantiate import instantiate, plain
from ...errors import UserError, some
from ...interop.checkpoints import open_checkpoint
from .continue_original import as_own_checkpoint
from .plan import TrainingPlan
from .resume import apply_settings, changes_between

_log = logging.getLogger(__name__)


def checked_states(
    plan: TrainingPlan, resumed: OpenCheckpoint, module: LightningModule, trainer: Trainer
) -> OpenCheckpoint:
    """Return the checkpoint with this run's settings, after comparing its states with those of the run.

    Raises:
        UserError: a state does not fit this run, or is damaged.
    """
    cfg = plan.cfg
    make_optimizer = instantiate(cfg.optimizer)
    optimizer = make_optimizer(module.parameters())
    make_scheduler = instantiate(cfg.get("scheduler"))
    scheduler = None if make_scheduler is None else make_scheduler(optimizer)
    schedule, fit_loop = None if scheduler is None else scheduler.state_dict(), trainer.fit_loop.state_dict()
    if "adam" in resumed.content:
        accumulate = trainer.accumulate_grad_batches
        resumed = as_own_checkpoint(resumed, module, optimizer, scheduler, fit_loop, accumulate)
    check_training_state(resumed, module.state_dict(), optimizer, make_optimizer, schedule, {"fit_loop": fit_loop})
    configured = [] if (cfg.get("callbacks") or {}).get("ema") is None else (cfg.get("ema") or {})
    expected, found = sorted(map(str, configured)), sorted(resumed.content.get("ema") or {})
    if expected != found:
        raise UserError(
            f"{resumed.path} has the averages {found}, but the configuration names {expected}: resume with the "
            "averages the run was started with"
        )
    return apply_settings(resumed, list(plan.changes), optimizer, scheduler)


def load_initial_weights(path: Path | None, cfg: DictConfig, module: nn.Module) -> None:
    """Load the weights of a checkpoint, averaged if it has averages; do nothing without one.

    Raises:
        UserError: it cannot be read, or does not fit the net.
    """
    if path is None:
        return
    config = plain(cfg)
    opened = open_checkpoint(path, config=config)
    state, net = restore_model(opened).net.state_dict(), module.get_submodule("model.net")
    misfit = misfit_of(state, net.state_dict())
    if misfit:
        settings = some(changes_between(opened["config"].get("net"), config.get("net"), "net"))
        raise UserError(
            f"init_from={path} has another net, {settings or misfit}: give the settings of its net, or another "
            "checkpoint"
        )
    net.load_state_dict(state)
    _log.info("weights of %s, counters at zero", path)
