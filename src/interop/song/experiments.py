"""Training configurations for weights that come without one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch import Tensor

from ...config_dir import CONFIG_DIR
from ...errors import UserError
from .checkpoint import PREFIX, architecture
from .config import config_from_song
from .names import song_weights

_FILES = (".yaml", ".yml", ".json")


def training_config(experiment: str) -> dict[str, Any]:
    """The resolved training configuration of an experiment; ``prior_mean: data`` stays as it is.

    Args:
        experiment: a name in ``conf/experiment``, or the path of a configuration of Song's in YAML or JSON.

    Raises:
        UserError: there is no such experiment, or Song's configuration asks for what this project does not have.
    """
    path = Path(experiment)
    if path.suffix in _FILES and path.is_file():
        try:
            song = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}): give YAML or JSON") from error
        if not isinstance(song, dict):
            raise UserError(f"{path} holds no sections model, data and training: give the original's configuration")
        overrides, net = config_from_song(song)
        config = _composed(overrides)
        config["net"] = config["model"]["net"] = net
        return config
    if not (CONFIG_DIR / "experiment" / f"{experiment}.yaml").is_file():
        raise UserError(f"there is no experiment={experiment}: choose one of {', '.join(experiments())}")
    return _composed([f"experiment={experiment}"])


def experiments() -> list[str]:
    """Names of the files in ``conf/experiment``."""
    folder = CONFIG_DIR / "experiment"
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def fitting_experiments(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the experiments whose net has tensors of the same names and shapes as the original's ``state``."""
    there = {name.removeprefix(PREFIX): tuple(tensor.shape) for name, tensor in state.items()}
    there.pop("sigmas", None)
    known: dict[str, bool] = {}

    def fits(name: str) -> bool:
        config = training_config(name)
        net = str(config["net"])
        if net not in known:
            try:
                here = {weight.theirs: weight.shape for weight in song_weights(architecture(config))}
            except UserError:
                here = {}
            known[net] = here == there
        return known[net]

    return [name for name in experiments() if fits(name)]


def _composed(overrides: Sequence[str]) -> dict[str, Any]:
    with _hydra():
        # The folder of a run is known only to a running command.
        cfg = compose("train", overrides=[*overrides, "paths.run_dir=."])
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@contextmanager
def _hydra() -> Iterator[None]:
    """Inside a command Hydra is there already, and there can be only one."""
    if GlobalHydra.instance().is_initialized():
        yield
    else:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            yield
