"""Read every configuration of a group, so that a new file is tested without changing a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parents[2] / "conf"


def names(group: str) -> list[str]:
    """Return the names of the files in conf/<group>, without suffix."""
    found = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    assert found, f"conf/{group} is empty"
    return found


def read(group: str, name: str) -> DictConfig:
    """Return one file, not composed."""
    cfg = OmegaConf.load(CONF / group / f"{name}.yaml")
    assert isinstance(cfg, DictConfig)
    return cfg


def build(group: str, name: str, overrides: dict[str, Any] | None = None) -> Any:
    """Build the object of conf/<group>/<name>.yaml, with ``overrides`` (dotted keys) applied."""
    cfg = read(group, name)
    if group == "sde" and cfg.get("prior_mean") == "data":
        cfg.prior_mean = 0.25
    for key, value in (overrides or {}).items():
        OmegaConf.update(cfg, key, value)
    return instantiate(cfg, _convert_="all")
