"""A net that reads class labels must declare ``num_classes``; otherwise its samples would have no class."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from src.checkpoint import restore_model
from src.errors import UserError
from src.nets import MLP, ScoreNet
from src.sde import VESDE, ScoreModel
from src.sde.parametrization import SongVE
from src.tasks.train.checks import check_model
from tests.checkpoint.example import checkpoint
from tests.support.configs import CONF

Reading = Callable[[Mapping[str, Tensor]], object]
READINGS: list[Reading] = [
    lambda cond: cond["labels"],
    lambda cond: cond.get("labels"),
    lambda cond: cond["labels"] if "labels" in cond else cond["augment"],
]


class Planted(ScoreNet):
    """Shift the input by a learned number per class."""

    def __init__(self, classes: int = 3, declared: int | None = None, reading: Reading = READINGS[0], **settings: bool):
        super().__init__(**settings)
        self.num_classes = declared
        self.shift = nn.Embedding(classes + 1, 1)
        self.register_buffer("scale", torch.ones(1), persistent=False)
        self.reading = reading
        self.apply_settings()

    def forward(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        labels = self.reading(cond) if cond else None
        return x * self.scale if labels is None else x * self.scale + self.shift(labels)


def model(net: nn.Module) -> ScoreModel:
    return ScoreModel(net, VESDE(), SongVE())


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("compile", [False, True])
def test_a_net_that_reads_labels_must_declare_its_classes(reading: Reading, compile: bool) -> None:
    with pytest.raises(UserError, match=r"Planted reads cond\['labels'\] but declares no classes.*self.num_classes"):
        model(Planted(reading=reading, compile=compile)).check_labels((2,))
    model(Planted(declared=3, reading=reading)).check_labels((2,))


def test_nets_that_do_not_read_labels_are_accepted() -> None:
    model(Planted(reading=lambda cond: cond.get("augment"))).check_labels((2,))
    model(nn.Identity()).check_labels((2,))
    model(MLP(dim=2, width=8, depth=1)).check_labels((2,))
    # Not callable on meta tensors: the check cannot tell, so it accepts.
    model(Planted(reading=lambda cond: cond["augment"].item())).check_labels((2,))


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> str:
    """Dotted name of the net, in a module of the project."""
    module = types.ModuleType("src.nets.planted")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(module, "Planted", Planted, raising=False)
    monkeypatch.setattr(Planted, "__module__", module.__name__)
    return f"{module.__name__}.Planted"


def test_training_with_undeclared_classes_is_refused(planted: str) -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose("train", ["experiment=digits", "net=mlp"])
    cfg.net = {"_target_": planted, "declared": None}
    with pytest.raises(UserError, match="declares no classes"):
        check_model(cfg)
    cfg.net.declared = 3
    check_model(cfg)


def test_a_checkpoint_with_undeclared_classes_is_refused(planted: str) -> None:
    content = checkpoint()
    content["config"]["model"]["net"] = {"_target_": planted}
    content["config"]["datamodule"] = {"dim": 2}
    content["state_dict"] = {"model.net.shift.weight": torch.zeros(4, 1)}
    with pytest.raises(UserError, match="declares no classes"):
        restore_model(content, "raw")
    content["config"]["model"]["net"]["declared"] = 3
    assert restore_model(content, "raw").num_classes == 3
