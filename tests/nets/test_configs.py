import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf
from torch import nn

from src.errors import UserError
from src.nets import ScoreNet

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "net").glob("*.yaml"))
CIFAR10, FACES, HIGH, FULL = 32, 64, 256, 1024

# Trainable parameters of the published models, from running the original.
PUBLISHED = [
    ("ncsnpp", CIFAR10, 62_758_787),
    ("ncsnpp_deep", CIFAR10, 107_586_947),
    ("ncsnpp_positional", CIFAR10, 62_693_251),
    ("ncsnpp_positional", FACES, 62_693_251),
    ("ncsnpp_positional_deep", CIFAR10, 107_521_411),
    ("ddpmpp", CIFAR10, 61_804_419),
    ("ddpmpp_deep", CIFAR10, 106_632_579),
    ("ddpm", CIFAR10, 35_218_947),
    ("ncsnpp_256", HIGH, 65_574_421),
    ("ncsnpp_1024", FULL, 105_785_880),
    ("ddpm_256", HIGH, 111_569_923),
]


def config(name: str, image_size: int) -> Any:
    datamodule = {"image_size": image_size, "channels": 3, "dim": 2}
    with initialize_config_dir(str(CONF), version_base=None):
        return compose(f"net/{name}", overrides=[f"+datamodule.{key}={value}" for key, value in datamodule.items()])


def build(name: str, image_size: int) -> nn.Module:
    with torch.device("meta"):
        options = OmegaConf.to_container(config(name, image_size), resolve=True)["net"]
        return get_class(options.pop("_target_"))(**options)


@pytest.mark.parametrize(("name", "image_size", "count"), PUBLISHED)
def test_published_parameter_counts(name: str, image_size: int, count: int) -> None:
    assert sum(p.numel() for p in build(name, image_size).parameters() if p.requires_grad) == count


@pytest.mark.parametrize("name", NAMES)
def test_every_config_builds_and_shows_all_options(name: str) -> None:
    sizes = [8, 16, 32, 64, 128, 256, 512, 1024]
    for size in sizes:
        try:
            net = build(name, size)
            break
        except UserError:
            assert size < sizes[-1], f"conf/net/{name}.yaml fits no image size"
    assert isinstance(net, ScoreNet)
    options = config(name, size).net
    cls = get_class(options._target_)
    arguments = {
        parameter.name
        for owner in (cls, ScoreNet)
        for parameter in inspect.signature(owner.__init__).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert set(options) - {"_target_"} == arguments


def test_digits_net_is_small() -> None:
    assert sum(p.numel() for p in build("ncsnpp_digits", 8).parameters()) < 800_000
