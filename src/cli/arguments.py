"""Command lines of scripts that start from a checkpoint.

``sampler=heun`` takes another node from ``conf/``, ``sampler.grid.steps=18`` changes one value of the checkpoint's
node; both work together. Hydra alone would refuse the second, because it does not know what the checkpoint holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_INSIDE_A_NODE = re.compile(r"(sampler|datamodule|metric)\.")
_PATHS = ("ckpt_path", "output_dir", "images", "given", "control.mask", "guidance.classifier_path", "guidance.path")


def of_checkpoint(arguments: Sequence[str], config_dir: str | Path) -> list[str]:
    """Arguments as Hydra accepts them.

    A value inside a node of the checkpoint is added rather than overridden. A path with an equals sign, as the names of
    checkpoints have, is quoted. ``experiment=x`` only says whose checkpoint is meant: it becomes the name that the
    experiment gives its runs, and ``trained_as``, which a checkpoint without a configuration needs.
    """
    return [_quoted(named) for argument in arguments for named in _named(_added(argument), Path(config_dir))]


def _added(argument: str) -> str:
    return f"++{argument}" if _INSIDE_A_NODE.match(argument) else argument


def _quoted(argument: str) -> str:
    key, _, value = argument.partition("=")
    if key not in _PATHS or "=" not in value or re.search("['\"]", value):
        return argument
    if value.startswith("[") and value.endswith("]"):
        paths = ",".join(f"'{path.strip()}'" for path in value[1:-1].split(","))
        return f"{key}=[{paths}]"
    return f"{key}='{value}'"


def _named(argument: str, config_dir: Path) -> list[str]:
    key, _, experiment = argument.partition("=")
    if key != "experiment":
        return [argument]
    # Here: scripts handle signals before it is imported.
    from omegaconf import OmegaConf

    path = config_dir / "experiment" / f"{experiment}.yaml"
    # For an experiment that does not exist, the search for its runs will say what there is.
    settings = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    assert isinstance(settings, dict)
    return [f"name={settings.get('name', experiment)}", f"++trained_as={experiment}"]
