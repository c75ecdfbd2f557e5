"""Minibatch optimal transport finds the best permutation and does not depend on the batch layout."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.nets.mlp import MLP
from src.noise import normal
from src.sde import FlowSDE, ScoreModel
from src.sde.objectives import coupling
from src.sde.objectives.coupling import OptimalTransport
from src.sde.prediction import VelocityPrediction

POSITION = torch.arange(6)
X0, NOISE = (normal(0, purpose, 0, POSITION, (2, 3)) for purpose in ("data", "z"))


def test_the_coupling_has_the_lowest_cost_of_all_permutations() -> None:
    coupled = OptimalTransport()(X0, NOISE, POSITION)
    costs = [float((X0 - NOISE[list(order)]).square().sum()) for order in permutations(range(6))]
    assert min(costs) < costs[0]
    assert float((X0 - coupled).square().sum()) == pytest.approx(min(costs), rel=1e-6)
    assert sorted(map(tuple, coupled.flatten(1).tolist())) == sorted(map(tuple, NOISE.flatten(1).tolist()))


def test_two_processes_couple_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process holds every other position, so gathered rows come in another order."""
    whole, parts = OptimalTransport()(X0, NOISE, POSITION), (POSITION[1::2], POSITION[0::2])

    def gather(rows: Tensor) -> Tensor:
        of_all = next(kept for kept in (POSITION, X0.flatten(1), NOISE.flatten(1)) if torch.equal(kept[mine], rows))
        return torch.cat([of_all[part] for part in parts])

    monkeypatch.setattr(coupling, "gather_rows", gather)
    for mine in parts:
        assert torch.equal(OptimalTransport()(X0[mine], NOISE[mine], POSITION[mine]), whole[mine])


def test_a_class_conditional_net_is_refused() -> None:
    for classes in (None, 3):
        model = ScoreModel(MLP(dim=2, width=8, num_classes=classes), FlowSDE(), VelocityPrediction(), "centered")
        if classes is None:
            OptimalTransport().check(model)
        else:
            with pytest.raises(UserError, match=r"net\.num_classes=null"):
                OptimalTransport().check(model)
