"""Every setting of every command with values of every type: it works or gives one line with what to give instead."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from src.cli.instantiate import instantiate
from src.cli.messages import one_line
from src.cli.run_dir import register_resolvers
from src.cli.setting_types import check_types, names_as_text
from src.config.location import CONFIG_DIR
from tests.reliability.support.figures import Figures
from tests.tasks.example import IMAGES, write_checkpoint

VALUES: tuple[Any, ...] = ("abc", math.nan, math.inf, -1, 0, 1.5, [], {}, None, 10**12, True)
RAW = ("does not take these settings", "object has no", "not supported between", "full_key", "Error")
"""Fragments of library messages."""
_NOT_TYPED = ("hydra", "paths.run_dir", "_target_", "_partial_", "_convert_", "_recursive_")

Check = Callable[[DictConfig], object]


def training(cfg: DictConfig) -> None:
    from src.tasks.train.checks import check_run, shorten_warm_up

    shorten_warm_up(cfg)
    check_run(cfg)
    instantiate(cfg.datamodule)


def sampling(cfg: DictConfig) -> None:
    from src.tasks.sample.plan import check_sampling, plan_sampling

    plan_sampling(check_sampling(cfg)).store()


def evaluation(cfg: DictConfig) -> None:
    from src.tasks.evaluate.plan import check_evaluation, plan_evaluation

    plan_evaluation(check_evaluation(cfg))


CHECKS: dict[str, Check] = {"train": training, "sample": sampling, "evaluate": evaluation}
ARGUMENTS = {
    "train": ["experiment=digits", "paths.run_dir=."],
    "sample": ["metric=pixel", "sampler=pc"],
    "evaluate": ["metric=pixel", "sampler=pc", "bits_per_dim=true"],
}


def keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield the full keys of the values in ``node``; sections at the top level are chosen from groups."""
    for key in node:
        name = f"{prefix}{key}"
        if name.startswith(_NOT_TYPED) or str(key) in _NOT_TYPED:
            continue
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue
        is_section = OmegaConf.is_dict(node[key])
        if prefix or not is_section:
            yield name
        if is_section:
            yield from keys(node[key], f"{name}.")


@pytest.fixture
def composed(tmp_path: Path) -> Callable[[str], DictConfig]:
    def make(command: str) -> DictConfig:
        register_resolvers()
        arguments = [*ARGUMENTS[command], f"paths.log_dir={tmp_path}/logs"]
        if command != "train":
            path = write_checkpoint(tmp_path / "step00000007.ckpt", *IMAGES)
            arguments += [f"ckpt_path={path}", f"output_dir={tmp_path}/out"]
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose(command, arguments)
        OmegaConf.set_struct(cfg, False)
        return cfg

    return make


def outcome(command: str, base: DictConfig, key: str, value: Any) -> str:
    """Return ``works`` or ``one line``; otherwise the error."""
    cfg = base.copy()
    OmegaConf.update(cfg, key, value, merge=False)
    try:
        names_as_text(cfg)
        check_types(cfg, CONFIG_DIR / f"{command}.yaml")
        CHECKS[command](cfg)
    except Exception as error:
        line = one_line(error)
        if line is None:
            return f"{type(error).__name__}: {error}"
        return f"library message: {line}" if any(text in line for text in RAW) else "one line"
    return "works"


def check(command: str, base: DictConfig, values: Callable[[], tuple[Any, ...]], figures: Figures) -> None:
    found = {(key, repr(value)): outcome(command, base, key, value) for key in keys(base) for value in values()}
    wrong = {pair: text for pair, text in found.items() if text not in ("works", "one line")}
    assert not wrong, "\n".join(f"{key}={value}: {text}" for (key, value), text in wrong.items())
    figures(f"values of settings of {command}.py", Counter(found.values()))


@pytest.mark.parametrize("command", CHECKS)
def test_one_value_of_every_setting(command: str, composed: Callable[[str], DictConfig], figures: Figures) -> None:
    draw = random.Random(0)
    check(command, composed(command), lambda: (draw.choice(VALUES),), figures)


@pytest.mark.slow
@pytest.mark.parametrize("command", CHECKS)
def test_every_value_of_every_setting(command: str, composed: Callable[[str], DictConfig], figures: Figures) -> None:
    check(command, composed(command), lambda: VALUES, figures)
