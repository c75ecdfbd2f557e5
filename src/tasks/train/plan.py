"""Plan a training run: check its settings, open the checkpoint it resumes from, and its data."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ...checkpoint import OpenCheckpoint, RunLock, find_checkpoint
from ...checkpoint.read import checked, open_archive
from ...checkpoint.restarts import NothingToResume
from ...checkpoint.training_state import check_complete
from ...cli.instantiate import fill_in_from_data, instantiate, plain
from ...datamodules.addressing.module import AddressedDataModule
from ...errors import UserError
from ...interop.song.checkpoint import is_song_checkpoint, open_song_training
from ...interop.song.experiments import read_original, warn_ignored_keys
from ...runtime.job import torchrun_restarted
from ..devices import quiet_lightning
from .checks import check_classes, check_run, shorten_warm_up
from .choices import choose_settings
from .resume import SettingChange, compare, seed_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """What a run is built from.

    Attributes:
        cfg: the checked configuration; nothing in it is missing or ``auto``.
        datamodule: the training data.
        resumed: the checkpoint to resume from; None for a new run.
        initial: the checkpoint whose weights a new run starts from, if any.
        changes: settings that replace those of the checkpoint.
        is_locked: whether the run folder is locked already.
    """

    cfg: DictConfig
    datamodule: AddressedDataModule
    resumed: OpenCheckpoint | None
    initial: Path | None
    changes: tuple[SettingChange, ...]
    is_locked: bool

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return Path(self.cfg.paths.run_dir)


def check_training(cfg: DictConfig) -> None:
    """Check everything that needs no data, no device and no network. Choose the settings that are ``auto``.

    Raises:
        UserError: a run with these settings cannot succeed.
    """
    quiet_lightning()
    if cfg.ckpt_path is not None and cfg.init_from is not None:
        raise UserError(
            f"ckpt_path={cfg.ckpt_path} resumes a run, and init_from={cfg.init_from} starts a new one "
            "from weights: give one of them"
        )
    if cfg.get("original_config") is not None:
        warn_ignored_keys(cfg.original_config, read_original(cfg.original_config))
    choose_settings(cfg)
    shorten_warm_up(cfg)
    check_run(cfg)


def plan_training(cfg: DictConfig, held: ExitStack) -> TrainingPlan:
    """Open the checkpoint to resume from, then the data.

    Args:
        cfg: a configuration that ``check_training`` accepted.
        held: keeps the lock of the run folder, if its checkpoint is resumed.

    Raises:
        UserError: there is no such checkpoint, its folder is in use, or the settings do not fit it or the data.
    """
    # A training that runs in this folder must not replace the checkpoint while it is read.
    is_locked = _spec(cfg) is not None and any((Path(cfg.paths.run_dir) / "checkpoints").glob("*.ckpt"))
    if is_locked:
        held.enter_context(RunLock(cfg.paths.run_dir))
    resumed = _open_resumed(cfg)
    initial = None if cfg.init_from is None else find_checkpoint(cfg.init_from, Path(cfg.paths.log_dir), cfg.name)
    datamodule = open_data(cfg)
    changes: list[SettingChange] = []
    if resumed is not None and is_song_checkpoint(resumed.content):
        # Only now are the settings known that depend on the data.
        resumed = open_song_training(resumed, plain(cfg))
    elif resumed is not None:
        changes = compare(resumed, plain(cfg))
    return TrainingPlan(cfg, datamodule, resumed, initial, tuple(changes), is_locked)


def open_data(cfg: DictConfig) -> AddressedDataModule:
    """Return the datamodule; the data are read here only if other settings depend on them.

    Raises:
        UserError: the data cannot be read, or net, objective and data do not agree on classes.
    """
    datamodule: AddressedDataModule = instantiate(cfg.datamodule)
    fill_in_from_data(cfg, datamodule)
    check_classes(cfg, datamodule.num_classes)
    names = cfg.datamodule.get("class_names")
    if names:
        _log.info("classes: %s", ", ".join(f"{i} {name}" for i, name in enumerate(names)))
    return datamodule


def _spec(cfg: DictConfig) -> Any:
    """What to resume from: ``ckpt_path``, or the last checkpoint if torchrun restarted the run."""
    return "last" if cfg.ckpt_path is None and torchrun_restarted() else cfg.ckpt_path


def _open_resumed(cfg: DictConfig) -> OpenCheckpoint | None:
    """Load the checkpoint to resume from; None for a new run."""
    spec, run_dir = _spec(cfg), Path(cfg.paths.run_dir)
    if spec is None:
        return None
    if spec == "last" and any((run_dir / "checkpoints").glob("*.ckpt")):
        spec = run_dir
    try:
        path = find_checkpoint(spec, Path(cfg.paths.log_dir), cfg.name)
    except NothingToResume as error:
        _log.info("%s", error)
        cfg.ckpt_path = None
        return None
    opened = open_archive(path)
    # A training of the original lacks states; they are made once all settings are known.
    if not is_song_checkpoint(opened.content):
        opened = replace(opened, content=checked(opened.content, path))
        check_complete(opened)
        _continue_curve(cfg, opened)
        if OmegaConf.is_interpolation(cfg.seeds, "sample"):
            # Scores of another seed would not continue the curve.
            cfg.seeds.sample = seed_of(opened.content["config"], "sample")
    _log.info("resuming from %s", path)
    return opened


def _continue_curve(cfg: DictConfig, resumed: OpenCheckpoint) -> None:
    """Give W&B the id of the resumed run."""
    run = resumed.content.get("run")
    run_id = run.get("WandbLogger") if isinstance(run, dict) else None
    if isinstance(run_id, str) and "wandb" in (cfg.get("logger") or {}):
        cfg.logger.wandb.id = run_id
