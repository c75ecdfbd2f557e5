"""Rewrite command lines before Hydra reads them: of training, and of scripts that start from a checkpoint.

``sampler=heun`` takes another node from ``conf/``, ``sampler.grid.steps=18`` changes one value of the checkpoint's
node; both work together. Hydra alone would refuse the second, because it does not know the content of the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_INSIDE_A_NODE = re.compile(r"(sampler|datamodule|metric)\.")
_PATHS = ("ckpt_path", "output_dir", "images", "given", "control.mask", "guidance.classifier_path", "guidance.path")

# Groups in which all files have the settings that are taken from the original's file.
_ALIKE = {"datamodule", "trainer"}


def of_training(arguments: Sequence[str], config_dir: str | Path) -> list[str]:
    """Arguments as Hydra accepts them.

    ``experiment=<a configuration file of the original>`` becomes the settings that carry its keys over, and
    ``original_config``. What else is on the command line has precedence, also over what is inside a group it chooses.
    """
    files = [argument.partition("=")[2] for argument in arguments if argument.startswith("experiment=")]
    if not files or not _has_ending(files[-1]):
        return list(arguments)
    # Here: scripts handle signals before torch is imported.
    from ..interop.song.experiments import read_original, run_name

    rest = [argument for argument in arguments if not argument.startswith("experiment=")]
    given = {argument.lstrip("+~").partition("=")[0] for argument in rest}
    groups = {name for name in given if "." not in name} - _ALIKE
    carried = [
        override
        for override in read_original(files[-1]).overrides()
        if (key := override.lstrip("+").partition("=")[0]) not in given and key.partition(".")[0] not in groups
    ]
    return [f"name={run_name(files[-1])}", f"original_config='{files[-1]}'", *carried, *rest]


def _has_ending(experiment: str) -> bool:
    from ..interop.song.experiments import is_file_of_original

    return bool(Path(experiment).suffix) and is_file_of_original(experiment)


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

    if Path(experiment).suffix and Path(experiment).is_file():
        return [f"name={Path(experiment).stem}", f"++trained_as='{experiment}'"]
    path = config_dir / "experiment" / f"{experiment}.yaml"
    # For an experiment that does not exist, the search for its runs will say what there is.
    settings = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    assert isinstance(settings, dict)
    return [f"name={settings.get('name', experiment)}", f"++trained_as={experiment}"]
