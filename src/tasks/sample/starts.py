"""Where samples start."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from ...cli.setting_types import listed
from ...errors import UserError
from ...sampling import Sampler
from ...sampling.starts import EncodedStart, Interpolation, PriorStart, Start
from .given import Given


def start_of(cfg: DictConfig, sampler: Sampler, given: Given | None) -> tuple[Start, dict[str, Any]]:
    """Return the start under ``temperature``, ``encode`` and ``interpolate``, and the settings it depends on (none by
    default).

    Args:
        cfg: configuration of the command line.
        sampler: sampler of the samples; to encode data it must be reversible.
        given: the data to encode.

    Raises:
        UserError: a setting is out of range, or the sampler cannot encode.
    """
    settings: dict[str, Any] = {}
    start: Start = PriorStart(cfg.seed, cfg.temperature)
    if cfg.temperature != 1:
        settings["temperature"] = cfg.temperature
    if cfg.encode:
        if not sampler.invertible or given is None:
            raise UserError("encode=true needs a reversible sampler: add sampler=ode")
        settings |= {"encode": True, **given.settings}
        start = EncodedStart(sampler.encode, given, cfg.temperature)
    if cfg.interpolate is not None:
        settings["interpolate"] = list(cfg.interpolate)
        start = Interpolation(start, *cfg.interpolate)
    return start, settings


def num_samples(cfg: DictConfig) -> int:
    """Return the number of samples; raise UserError for an interpolation that is not three whole numbers."""
    if cfg.interpolate is None:
        return int(cfg.num_samples)
    asked = listed(cfg.interpolate)
    if len(asked) != 3 or not all(isinstance(number, int) for number in asked):
        raise UserError(f"interpolate={cfg.interpolate}: give [first, last, how many samples]")
    return int(asked[-1])
