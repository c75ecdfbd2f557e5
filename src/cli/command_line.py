"""The command line before Hydra reads it: paths as people type them, and hints for input that Hydra does not
understand.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ..config.location import CONFIG_DIR
from ..errors import UserError

_FLAGS = {
    *("help", "hydra-help", "version", "cfg", "resolve", "package", "run", "multirun", "shell-completion"),
    *("config-path", "config-name", "config-dir", "experimental-rerun", "info"),
}
_SHORT = ("-h", "-c", "-p", "-r", "-m", "-i", "-sc", "-cp", "-cn", "-cd")
_PATHS = {
    *("ckpt_path", "init_from", "images", "given", "reference", "output_dir", "datamodule.path", "guidance.path"),
    *("guidance.classifier_path", "control.mask", "metric.statistics_path"),
    *("paths.log_dir", "paths.data_dir", "paths.cache_dir"),
}
_SWITCHES = ("-m", "--multirun", "--help", "-h", "--hydra-help", "--info")
_SPECIAL = set("=,~ ()[]{}:\\'\"#")
_HINTS = {
    "lr": "optimizer.lr={}",
    "batch_size": "datamodule.global_batch_size={}",
    "steps": "trainer.max_steps={}",
    "max_steps": "trainer.max_steps={}",
    "epochs": "trainer.max_epochs={}",
    "max_epochs": "trainer.max_epochs={}",
    "gpus": "trainer.devices={}",
    "devices": "trainer.devices={}",
    "sampler.steps": "sampler.grid.steps={}",
    "resume": "ckpt_path=last",
    "checkpoint": "ckpt_path={}",
    "ckpt": "ckpt_path={}",
    "snr": "sampler.corrector.snr={}",
    "image_size": "datamodule.image_size={}",
    "num_workers": "datamodule.num_workers={}",
    "precision": "trainer.precision={}",
    "output": "output_dir={}",
}
_OF_TRAINING = ("optimizer.", "trainer.", "datamodule.global_batch_size")
_HINTS_WITHOUT_TRAINING = {"steps": "sampler.grid.steps={}", "gpus": "devices={}"}
"""Instead of those hints that begin with one of ``_OF_TRAINING``, for commands that sample."""
_CHECKPOINTS = {"last": "last", "latest": "last", "best": "best"}


_SEED = re.compile(r"(\+*)seed\.(.+)")


def prepare_arguments(arguments: Sequence[str], known: Collection[str]) -> list[str]:
    """Return arguments that Hydra accepts: quote paths where needed, and expand ``~`` to the home folder.

    Args:
        arguments: the command line.
        known: top-level settings of the command.

    Raises:
        UserError: a setting is written as a flag, or has another name in this project.
    """
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        _check_flag(argument, following)
        _check_name(argument, known)
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if not before.startswith("-"):
            _check_word(argument, known)
    sweeps = any(argument in ("-m", "--multirun") for argument in arguments)
    # Hydra does not understand settings after a flag.
    ordered = sorted(arguments, key=lambda argument: argument not in _SWITCHES)
    return [_quoted(_seed(argument, known), sweeps) for argument in ordered]


def _seed(argument: str, known: Collection[str]) -> str:
    """Rewrite ``seed.init=1`` as ``seeds.init=1``: for Hydra ``seed`` is a number, which has no parts."""
    name, equals, value = argument.partition("=")
    part = _SEED.fullmatch(name)
    if not equals or part is None:
        return argument
    if "seeds" in known:
        return f"{part[1]}seeds.{part[2]}={value}"
    if part[2] == "sample":
        return f"{part[1]}seed={value}"
    raise UserError(f"{argument}: this command has one seed, of samples: type seed={value}")


def _check_flag(argument: str, following: str) -> None:
    if not argument.startswith("-") or argument in ("--", *_SHORT):
        return
    name, _, value = argument.lstrip("-").partition("=")
    # Hydra would accept the beginning of a flag as the flag.
    if argument.startswith("--") and name in _FLAGS:
        return
    if name in ("config", "conf", "cfg-path"):
        raise UserError(
            f"{argument}: there is no such flag, choose a configuration by its name, for example experiment=digits"
        )
    if not value and following and "=" not in following and not following.startswith("-"):
        value = following
    raise UserError(f"{argument}: settings have no dashes, type {name}={value or '<value>'}")


def _check_name(argument: str, known: Collection[str]) -> None:
    name, equals, value = argument.partition("=")
    hint = _HINTS.get(name, "")
    if "num_samples" in known and hint.startswith(_OF_TRAINING):
        hint = _HINTS_WITHOUT_TRAINING.get(name, "")
    if equals and hint and name not in known:
        raise UserError(f"there is no setting {name}: type {hint.format(value or '<value>')}")


def _check_word(argument: str, known: Collection[str]) -> None:
    """Raise UserError for a checkpoint or an experiment without the name of its setting."""
    if "=" in argument or argument[:1] in ("-", "+", "~", "@"):
        return
    if (CONFIG_DIR / "experiment" / f"{argument}.yaml").is_file() and "num_samples" not in known:
        raise UserError(f"{argument} is a value without a setting: type experiment={argument}")
    if argument in _CHECKPOINTS or Path(argument).exists():
        found = _CHECKPOINTS.get(argument, argument)
        raise UserError(f"{argument} is a value without a setting: type ckpt_path={found}")


def _quoted(argument: str, sweeps: bool) -> str:
    name, equals, value = argument.partition("=")
    if not equals or name.lstrip("+") not in _PATHS or value[:1] in ("'", '"') or not set(value) & _SPECIAL:
        return argument
    if value.startswith("[") and value.endswith("]"):
        return f"{name}=[{','.join(_text(path.strip()) for path in value[1:-1].split(','))}]"
    if sweeps and "," in value:
        return f"{name}={','.join(_text(path) for path in value.split(','))}"
    return f"{name}={_text(value)}"


def _text(path: str) -> str:
    if path[:1] in ("'", '"'):
        return path
    # Inside quotes, Hydra reads a backslash before a quote as an escape and any other backslash unchanged.
    escaped = os.path.expanduser(path).replace("'", "\\'")  # noqa: PTH111 # the rest of the text stays as it is
    return f"'{escaped}'"
