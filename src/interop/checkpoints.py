"""Read a checkpoint from any file that this project supports; the result always has this project's layout."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checkpoint.read import checked, load_archive
from ..errors import UserError
from ..io.archive import write_archive
from .edm.convert import SUFFIX as PICKLE
from .edm.convert import read_edm
from .hub import is_hub_file, read_hub
from .safetensors import SUFFIX, read_safetensors
from .song.checkpoint import convert_song_checkpoint, is_song_checkpoint
from .song.experiments import training_config
from .song.fitting import fitting_experiments


def open_checkpoint(
    path: str | os.PathLike[str], experiment: str | None = None, config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Open a checkpoint of this project, an export of one (``.safetensors``), or a file of another program.

    Files of other programs are ``.pkl`` of NVlabs/edm and ``.pth`` of Song's or Peng's program. A ``.pth`` contains no
    configuration and needs ``experiment`` or ``config``; for the other formats both are ignored.

    Args:
        path: the file.
        experiment: a name in ``conf/experiment``, or the path of one of Song's configurations in Python, YAML or JSON.
        config: a resolved training configuration.

    Returns:
        ``config``, ``state_dict``, ``global_step`` and, if there are averages, ``ema``; checkpoints of other programs
        also have ``foreign``.

    Raises:
        UserError: the file cannot be read, or needs an experiment; the message lists those that fit.
    """
    if Path(path).suffix == SUFFIX:
        return checked(read_hub(path) if is_hub_file(path) else read_safetensors(path), path)
    if Path(path).suffix == PICKLE:
        return checked(read_edm(path), path)
    content = load_archive(path)
    if not is_song_checkpoint(content):
        return checked(content, path)
    if config is None and experiment is None:
        fits = fitting_experiments(content["model"])
        choice = f"one of {', '.join(fits)}" if fits else "the path of its configuration"
        raise UserError(f"{path} is from another program and contains no configuration: add experiment=<{choice}>")
    return convert_song_checkpoint(content, training_config(str(experiment)) if config is None else config, path)


def write_checkpoint(checkpoint: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write ``checkpoint`` as a checkpoint of this project; raise UserError if the system refuses."""
    write_archive(path, dict(checkpoint))
