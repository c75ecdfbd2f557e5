"""Training configurations for weights that contain no configuration."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from ...checkpoint.plain import check_plain
from ...config.location import CONFIG_DIR
from ...errors import UserError
from ...io.untrusted import MAX_RECORD, read_bytes
from .fitting import experiments
from .settings import ConvertedSettings, convert_settings
from .source import read_python

_log = logging.getLogger(__name__)

_FILES = (".py", ".yaml", ".yml", ".json")
_GIVE = "give the original's configuration in Python, YAML or JSON"


def training_config(experiment: str) -> dict[str, Any]:
    """Return the resolved training configuration of an experiment; ``prior_mean: data`` stays unresolved.

    Args:
        experiment: a name in ``conf/experiment``, or the path of one of Song's configurations in Python, YAML or JSON.

    Raises:
        UserError: there is no such experiment, or Song's configuration needs something that this project does not
            support.
    """
    if is_original_config(experiment):
        converted = read_original(experiment)
        warn_ignored_keys(experiment, converted)
        return composed(converted.overrides())
    if not (CONFIG_DIR / "experiment" / f"{experiment}.yaml").is_file():
        raise UserError(f"there is no experiment={experiment}: choose one of {', '.join(experiments())}")
    return composed([f"experiment={experiment}"])


def is_original_config(experiment: str) -> bool:
    """Return whether ``experiment`` names a configuration file rather than a file of ``conf/experiment``."""
    path = Path(experiment)
    return path.suffix in _FILES and (path.is_file() or not (CONFIG_DIR / "experiment" / path).is_file())


def read_original(experiment: str) -> ConvertedSettings:
    """Convert a configuration file of the original to settings of this project.

    Args:
        experiment: path of the file: Python as in the original's ``configs/``, which is read without running it, YAML
            or JSON.

    Raises:
        UserError: in one line, if there is no such file, or it contains something that this project does not support.
    """
    path = Path(experiment)
    if not path.is_file():
        raise UserError(f"experiment={experiment}: the file does not exist")
    song = read_python(path) if path.suffix == ".py" else _load(path)
    check_plain(song, str(path), _GIVE)
    try:
        return convert_settings(song)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
        # A section is not a mapping, or a word is in the place of a number.
        raise UserError(f"{path} cannot be used ({' '.join(str(error).split())}): {_GIVE}") from error


def warn_ignored_keys(experiment: str, converted: ConvertedSettings) -> None:
    """Log the keys of a configuration of the original that are ignored, in one line."""
    if converted.unused:
        _log.info("%s: these keys are ignored, see docs/migration.md: %s", experiment, ", ".join(converted.unused))


def run_name(experiment: str) -> str:
    """The run name for a configuration file of the original."""
    return Path(experiment).stem


def _load(path: Path) -> dict[str, Any]:
    text = read_bytes(path, _GIVE, MAX_RECORD)
    try:
        song = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}): {_GIVE}") from error
    if not isinstance(song, dict):
        raise UserError(f"{path} has no sections model, data and training: {_GIVE}")
    return song


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """Resolve ``conf/train.yaml`` with ``overrides``; required values stay ``???``."""
    with _hydra():
        # Only a running command knows its run folder.
        cfg = compose("train", overrides=[*overrides, "paths.run_dir=."])
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@contextmanager
def _hydra() -> Iterator[None]:
    """A running command has initialized Hydra already; Hydra can be initialized only once."""
    if GlobalHydra.instance().is_initialized():
        yield
    else:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            yield
