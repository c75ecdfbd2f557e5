"""Choose the settings of ``experiment=images`` that are ``auto`` from the data and the device.

The choices depend only on the data and the kind of device, never on timings. All processes of a run, and a resumed run,
therefore choose the same values.
"""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from ...config.build import build
from ...config.location import program_command
from ...datamodules.examination import Findings, examine_images
from ...datamodules.image_folder import ImageFolderDataModule
from ...datamodules.reading import Source, open_source
from ...errors import UserError

_log = logging.getLogger(__name__)

AUTO = "auto"
_LOOKED_AT = 512
_SIZES = (8, 16, 32, 64, 128, 256)
_FEATURES = 3072
"""Most values per image for which a Fréchet distance in pixels is computed; larger images get no scores.
"""


@dataclass(frozen=True)
class Choices:
    """The chosen values, and the findings they are based on.

    Attributes:
        values: chosen values by their dotted keys.
        findings: what was found in the data.
    """

    values: dict[str, Any]
    findings: Findings


def needs_choices(cfg: DictConfig) -> bool:
    """Return whether any setting is ``auto``."""
    size = OmegaConf.select(cfg, "datamodule.image_size")
    return any(OmegaConf.select(cfg, key) == AUTO for key in _KEYS) or size == AUTO


def choose_settings(cfg: DictConfig) -> Choices | None:
    """Replace every ``auto`` in ``cfg`` and print the choices; return None if there is no ``auto``.

    Raises:
        UserError: there are no data, or the data are not images.
    """
    if not needs_choices(cfg):
        return None
    path = cfg.datamodule.get("path")
    if path is None:
        raise UserError(
            "datamodule.path is missing: give a folder or zip archive of images, or a npy, npz, zarr or parquet file"
        )
    source = open_source(path, layout=cfg.datamodule.get("layout"))
    gpu = torch.cuda.is_available() and cfg.trainer.accelerator != "cpu"
    chosen: dict[str, Any] = {}

    def choose(key: str, value: Any) -> None:
        if OmegaConf.select(cfg, key) == AUTO:
            OmegaConf.update(cfg, key, value)
            chosen[key] = value

    size, channels = _shape(source, gpu)
    choose("datamodule.image_size", size)
    choose("datamodule.channels", channels)
    choose("datamodule.val_fraction", 0.0 if "val" in source.splits or len(source) < 20 else 0.1)
    choose("datamodule.global_batch_size", 1)
    findings = _findings(cfg)
    choices = _choices(findings, gpu)
    if "datamodule.global_batch_size" in chosen:
        cfg.datamodule.global_batch_size = choices["datamodule.global_batch_size"]
        chosen["datamodule.global_batch_size"] = choices["datamodule.global_batch_size"]
    for key in _KEYS:
        choose(key, choices[key])
    _choose_intervals(cfg, choose, findings)
    for key, value in chosen.items():
        _log.info("chosen from the data: %s=%s", key, written(value))
    return Choices(chosen, findings)


def written(value: Any) -> str:
    """A value as the command line accepts it."""
    if isinstance(value, list):
        return "[" + ",".join(map(str, value)) + "]"
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _shape(source: Source, gpu: bool) -> tuple[int | list[int], int]:
    """Choose image_size and channels for a source of images."""
    rows = np.unique(np.linspace(0, len(source) - 1, min(len(source), _LOOKED_AT)).astype(int)).tolist()
    shapes = source.shapes(rows)
    if not shapes:
        raise UserError(f"{source.path} has no readable image: list the broken ones with datamodule.on_broken=skip")
    if len(shapes[0]) == 1:
        raise UserError(
            f"{source.path} holds vectors of length {shapes[0][0]}: use experiment=vectors "
            f"datamodule.path={source.path} datamodule.dim={shapes[0][0]}"
        )
    largest = 256 if gpu else 32
    kinds = {shape[0] for shape in shapes}
    # Image files lose their alpha channel; arrays keep all channels.
    channels = max(kinds) if not source.parallel else (3 if max(kinds) >= 3 else 1)
    sizes = Counter(shape[1:] for shape in shapes)
    (height, width), count = sizes.most_common(1)[0]
    if count == len(shapes):
        if max(height, width) > largest:
            scale = largest / max(height, width)
            height, width = (max(8, round(side * scale / 8) * 8) for side in (height, width))
        return (height if height == width else [height, width]), channels
    shorter = int(np.median([min(shape[1:]) for shape in shapes]))
    fitting = [size for size in _SIZES if size <= min(shorter, largest)]
    return (fitting[-1] if fitting else _SIZES[0]), channels


def _findings(cfg: DictConfig) -> Findings:
    data = OmegaConf.to_container(cfg.datamodule, resolve=True)
    module: ImageFolderDataModule = build(data, "datamodule")
    module.prepare_data()
    module.setup("fit")
    return examine_images(module)


def _choices(found: Findings, gpu: bool) -> dict[str, Any]:
    """Choose the settings that follow from the image size, the number of images and the device."""
    height, width = found.shape[1:]
    levels = 1
    while levels < 4 and all(side % 2**levels == 0 and side // 2**levels >= 4 for side in (height, width)):
        levels += 1
    sides = [max(height, width) // 2**level for level in range(levels)]
    small = max(height, width) <= 16
    batch = min(128 if gpu else 32 if small else 16, found.count)
    steps = 50_000 if gpu else 2000
    return {
        "datamodule.global_batch_size": batch,
        "net.nf": (64 if small else 128) if gpu else (32 if small else 16),
        "net.ch_mult": [1, 2, 2, 2][:levels],
        "net.num_res_blocks": 2 if gpu else 1,
        "net.attn_resolutions": [side for side in sides if 4 <= side <= 16][:1],
        "net.num_classes": found.classes or None,
        "sde.T": found.sigma_max,
        "parametrization.sigma_data": round(found.sigma_data, 3),
        "optimizer.lr": 1e-3 if small else 5e-4 if not gpu else 2e-4,
        "trainer.max_steps": steps,
    }


_KEYS = (
    *("net.nf", "net.ch_mult", "net.num_res_blocks", "net.attn_resolutions", "net.num_classes"),
    *("sde.T", "parametrization.sigma_data", "optimizer.lr", "trainer.max_steps"),
)


def _choose_intervals(cfg: DictConfig, choose: Any, found: Findings) -> None:
    """Choose intervals: ten pictures and ten checkpoints per run, the first after a tenth; scores only if they are
    cheap.
    """
    steps = int(cfg.trainer.max_steps)
    tenth = max(1, steps // 10)
    choose("scheduler.steps", min(200, max(0, steps // 10)))
    choose("trainer.val_check_interval", tenth)
    choose("trainer.log_every_n_steps", max(1, min(50, steps // 20)))
    choose("callbacks.last_checkpoint.every_n_steps", tenth)
    choose("callbacks.sample_images.every_n_steps", tenth)
    if cfg.get("callbacks") is None or cfg.callbacks.get("fid") is None:
        return
    if int(np.prod(found.shape)) > _FEATURES and cfg.callbacks.fid.every_n_steps == AUTO:
        # A covariance of so many pixels takes long and is not informative.
        cfg.callbacks.fid = None
        _log.info("chosen from the data: callbacks.fid=null (to compute FID anyway, add metric=fid_inception)")
        return
    choose("callbacks.fid.every_n_steps", max(1, steps // 2))
    choose("callbacks.fid.num_samples", max(2, min(256, found.count)))


def whole_command(cfg: DictConfig, choices: Choices) -> str:
    """The whole training command with these choices, quoted for a shell."""
    given = [f"datamodule.path={Path(str(cfg.datamodule.path))}"]
    settings = [f"{key}={written(value)}" for key, value in choices.values.items()]
    return " ".join([program_command("train"), "experiment=images", *map(shlex.quote, (*given, *settings))])
