"""Adam's moments in the original's checkpoints, numbered in the order of ``score_model.parameters()``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from ...nets import NCSNpp
from .names import Weight, song_weights

_MOMENTS = ("exp_avg", "exp_avg_sq")
_LR = 2e-4


def moments_from_song(net: NCSNpp, optimizer: Any) -> dict[str, dict[str, Tensor]] | None:
    """State of ``torch.optim.Adam`` by the names of our parameters; None if there is none.

    Args:
        net: a net of the same architecture.
        optimizer: the entry ``optimizer`` of the original's checkpoint: the ``state_dict`` of its Adam.

    Raises:
        UserError: the state is not an Adam state for the parameters of this net.
    """
    states = optimizer.get("state") if isinstance(optimizer, Mapping) else None
    if not isinstance(states, Mapping) or not states:
        return None
    out: dict[str, dict[str, Tensor]] = {}
    for number, weight, ours in _trained(net):
        state = states.get(number)
        if not isinstance(state, Mapping) or not {"step", *_MOMENTS} <= state.keys():
            raise UserError(f"optimizer.state.{number} lacks the moments of Adam of {weight.theirs}")
        moments = {key: state[key] for key in _MOMENTS}
        for key, moment in moments.items():
            if not isinstance(moment, Tensor) or tuple(moment.shape) != weight.shape:
                raise UserError(f"optimizer.state.{number}.{key} is not a tensor of shape {weight.shape}")
        # Older versions of torch store a plain number.
        step = torch.as_tensor(state["step"], dtype=torch.float32).reshape(())
        out[ours] = {"step": step, **{key: _ours(moment, weight) for key, moment in moments.items()}}
    return out


def optimizer_to_song(net: NCSNpp, moments: Mapping[str, Mapping[str, Tensor]], lr: float | None) -> dict[str, Any]:
    """Return the ``state_dict`` of the original's Adam.

    Args:
        net: the net.
        moments: state by the names of our parameters; empty for a new optimizer.
        lr: the learning rate; None for the original's.
    """
    # The original's optimizer also holds the frozen weights, which never get a state.
    parameters = [torch.zeros(()) for _ in song_weights(net)]
    out = torch.optim.Adam(parameters, lr=_LR if lr is None else lr).state_dict()
    out["state"] = {
        number: {
            "step": moments[ours]["step"],
            **{key: _theirs(moments[ours][key], weight) for key in _MOMENTS},
        }
        for number, weight, ours in _trained(net)
        if ours in moments
    }
    return out


def _trained(net: NCSNpp) -> Iterator[tuple[int, Weight, str]]:
    """The original's number, the weight, and our name, of every weight with a gradient."""
    for number, weight in enumerate(song_weights(net)):
        if weight.trainable and weight.ours is not None:
            yield number, weight, weight.ours


def _ours(tensor: Tensor, weight: Weight) -> Tensor:
    return tensor.t()[:, :, None, None].contiguous() if weight.nin else tensor


def _theirs(tensor: Tensor, weight: Weight) -> Tensor:
    return tensor[:, :, 0, 0].t().contiguous() if weight.nin else tensor
