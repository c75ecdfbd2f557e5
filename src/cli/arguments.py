"""Rewrite command lines before Hydra reads them: those of training, and of scripts that start from a checkpoint.

``sampler=heun`` chooses another node from ``conf/``; ``sampler.grid.steps=18`` changes one value of the checkpoint's
node; both work together. Hydra alone would refuse the second, because it does not know the content of the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_INSIDE_A_NODE = re.compile(r"(sampler|datamodule|metric)\.")
_PATHS = ("ckpt_path", "output_dir", "images", "given", "control.mask", "guidance.classifier_path", "guidance.path")

# Groups in which every file has the settings that the original's file sets.
_ALIKE = {"datamodule", "trainer"}


def training_arguments(arguments: Sequence[str], config_dir: str | Path) -> list[str]:
    """Return arguments that Hydra accepts.

    ``experiment=<a configuration file of the original>`` is replaced by its settings, and ``original_config``. Other
    arguments have precedence, also over settings inside a group that they choose.
    """
    files = [argument.partition("=")[2] for argument in arguments if argument.startswith("experiment=")]
    if not files or not _has_ending(files[-1]):
        return list(arguments)
    # Imported here because scripts handle signals before torch is imported.
    from ..interop.song.experiments import read_original, run_name

    rest = [argument for argument in arguments if not argument.startswith("experiment=")]
    given = {argument.lstrip("+~").partition("=")[0] for argument in rest}
    groups = {name for name in given if "." not in name} - _ALIKE
    converted = [
        override
        for override in read_original(files[-1]).overrides()
        if (key := override.lstrip("+").partition("=")[0]) not in given and key.partition(".")[0] not in groups
    ]
    return [f"name={run_name(files[-1])}", f"original_config='{files[-1]}'", *converted, *rest]


def _has_ending(experiment: str) -> bool:
    if not Path(experiment).suffix:
        return False
    # Imports torch, which takes longer than refusing a mistyped setting.
    from ..interop.song.experiments import is_original_config

    return is_original_config(experiment)


def checkpoint_arguments(arguments: Sequence[str], config_dir: str | Path) -> list[str]:
    """Return arguments that Hydra accepts.

    A value inside a node of the checkpoint is added rather than overridden. A path with an equals sign, as in names of
    checkpoints, is quoted. ``experiment=x`` only names the experiment of the checkpoint: it is replaced by the name of
    its runs, and by ``trained_as``, which a checkpoint without a configuration needs.
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
    # Imported here because scripts handle signals before it is imported.
    from omegaconf import OmegaConf

    if Path(experiment).suffix and Path(experiment).is_file():
        return [f"name={Path(experiment).stem}", f"++trained_as='{experiment}'"]
    path = config_dir / "experiment" / f"{experiment}.yaml"
    # If the experiment does not exist, the search for its runs will say so.
    settings = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    assert isinstance(settings, dict)
    return [f"name={settings.get('name', experiment)}", f"++trained_as={experiment}"]
