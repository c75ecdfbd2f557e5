"""Checkpoints of yang-song/score_sde_pytorch (``song``) and dexin-peng/score_sde_pytorch (``peng``).

Both are dictionaries. ``model`` is a state dict under the names of ``names`` with the prefix ``module.``. ``ema`` has
``shadow_params``, the averages as a list without names in the order of the parameters: the trainable ones in Song's
program, all of them in Peng's. Neither contains a configuration.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...checkpoint.read import NET_PREFIX, OpenCheckpoint, is_step, is_tensor, load_archive
from ...checkpoint.restore import instantiate_node
from ...config.annotations import is_whole
from ...errors import UserError
from ...io.archive import write_archive
from ...nets import NCSNpp
from .adam import moments_from_song, optimizer_to_song
from .names import Weight, from_song, song_weights, to_song

LAYOUTS = ("song", "peng")
PREFIX = "module."
# Means of the priors of the two programs; Peng's are the channel means of CIFAR-10 in [0, 1].
_PRIOR_MEAN: dict[str, Any] = {"song": 0.0, "peng": [0.4914, 0.4822, 0.4465]}
# The noise levels in the table of Song's default configuration, and their number.
_SIGMA_MIN, _SIGMA_MAX, _NUM_SCALES = 0.01, 50.0, 1000
_MOST_SCALES = 10**6
_DECAY = 0.999


def is_song_checkpoint(content: Mapping[str, Any]) -> bool:
    """Return whether the content of a file has the layout of one of the two programs."""
    model = content.get("model")
    return isinstance(model, Mapping) and any(
        str(name).removeprefix(PREFIX).startswith("all_modules.") for name in model
    )


def read_song_checkpoint(path: str | os.PathLike[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint of Song's or Peng's program in the layout of this project.

    Args:
        path: the file.
        config: a resolved training configuration of this project whose ``model`` has the same architecture.

    Returns:
        ``config``, ``state_dict``, ``ema`` with the average ``default``, ``global_step``, and ``foreign`` with what
        has no other place: ``layout``, ``sigmas``, ``decay`` and ``num_updates``.

    Raises:
        UserError: the file is damaged, has another layout, or has tensors that do not fit the net (the message names
            them).
    """
    return convert_song_checkpoint(load_archive(path), config, path)


def convert_song_checkpoint(
    content: Mapping[str, Any], config: Mapping[str, Any], path: str | os.PathLike[str]
) -> dict[str, Any]:
    """What ``read_song_checkpoint`` returns, for content that was read from ``path``."""
    if not is_song_checkpoint(content):
        raise UserError(
            f"{path} holds {', '.join(map(str, content))}, not the model and ema of the original's programs"
        )
    _check_layout(content, path)
    net = architecture(config)
    state = {str(name).removeprefix(PREFIX): tensor for name, tensor in content["model"].items()}
    try:
        raw = from_song(net, state)
        layout, averaged = _averages(net, state, content.get("ema"))
    except UserError as error:
        raise UserError(f"{path}: {error}, or choose another experiment") from error
    sigmas = state.get("sigmas")
    _check_levels(sigmas, config["model"]["sde"], path)
    ema = content.get("ema") or {}
    return {
        "config": _with_prior_mean(config, _PRIOR_MEAN[layout]),
        "state_dict": {f"{NET_PREFIX}{name}": tensor for name, tensor in raw.items()},
        "ema": {} if averaged is None else {"default": averaged},
        "global_step": int(content.get("step", ema.get("num_updates", 0))),
        "foreign": {
            "layout": layout,
            "sigmas": sigmas,
            "decay": ema.get("decay"),
            "num_updates": ema.get("num_updates"),
        },
    }


def open_song_training(opened: OpenCheckpoint, config: Mapping[str, Any]) -> OpenCheckpoint:
    """Read a training of the original that is to be resumed: raw weights, averages, step and the state of Adam.

    Args:
        opened: a file of the original, from ``open_archive``.
        config: the resolved configuration of the resumed run.

    Returns:
        ``opened`` with the content of ``read_song_checkpoint`` and, under ``adam``, the state of the optimizer by the
        names of the parameters of the net.

    Raises:
        UserError: as ``read_song_checkpoint``, or the file has no optimizer state or no step.
    """
    content = convert_song_checkpoint(opened.content, config, opened.path)
    try:
        moments = moments_from_song(architecture(config), opened.content.get("optimizer"))
    except UserError as error:
        raise UserError(f"{opened.path}: {error}; start from its averages with init_from={opened.path}") from error
    if moments is None or "num_updates" not in (opened.content.get("ema") or {}):
        lacking = "state of the optimizer" if moments is None else "averages"
        raise UserError(
            f"{opened.path} has no {lacking}, so training cannot be resumed exactly: start from its weights with "
            f"init_from={opened.path}"
        )
    return replace(opened, content=content | {"adam": moments})


def _check_layout(content: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Raise UserError unless the parts of a file that are used have the types that the two programs write."""
    ema = content.get("ema") or {}
    shadow = ema.get("shadow_params", []) if isinstance(ema, Mapping) else None
    sigmas = content["model"].get(f"{PREFIX}sigmas", content["model"].get("sigmas"))
    kinds = {
        "model with tensors by name": all(isinstance(k, str) and is_tensor(v) for k, v in content["model"].items()),
        "ema with a list of tensors": isinstance(shadow, list | tuple) and all(map(is_tensor, shadow)),
        "step": is_step(content.get("step", ema.get("num_updates", 0) if isinstance(ema, Mapping) else 0)),
        "levels of noise": sigmas is None
        or (is_tensor(sigmas) and sigmas.numel() > 0 and bool(sigmas.isfinite().all())),
    }
    wrong = [name for name, fits in kinds.items() if not fits]
    if wrong:
        raise UserError(f"{path} has no usable {', '.join(wrong)}: copy it again, or give another file")


def write_song_checkpoint(checkpoint: Mapping[str, Any], path: str | os.PathLike[str], layout: str = "song") -> None:
    """Write a checkpoint of this project so that the original's programs can resume from it.

    The file includes the state of Adam if the checkpoint is from a training of this project; otherwise the original
    starts with a new optimizer. Without an average the raw weights are written in its place.

    Args:
        checkpoint: from ``read_checkpoint`` or ``read_song_checkpoint``.
        path: the file; written completely or not at all.
        layout: ``song`` or ``peng``.

    Raises:
        UserError: the original does not support the net, the layout is unknown, or the file cannot be written.
    """
    if layout not in LAYOUTS:
        raise UserError(f"layout={layout} is unknown: choose one of {', '.join(LAYOUTS)}")
    channels = checkpoint["config"]["model"]["net"].get("in_channels", 3)
    if layout == "peng" and channels != 3:
        raise UserError(
            f"Peng's program has no prior for nets with {channels} channel(s), only for color images: use song"
        )
    net = architecture(checkpoint["config"])
    raw = {
        name.removeprefix(NET_PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(NET_PREFIX)
    }
    foreign = checkpoint.get("foreign") or {}
    sigmas = foreign.get("sigmas")
    if sigmas is None:
        sigmas = _levels(checkpoint["config"])
    averages = checkpoint.get("ema") or {}
    averaged = raw | dict(next(iter(averages.values()), {}))
    named = to_song(net, averaged)
    shadow = [named[weight.theirs] for weight in _averaged(song_weights(net), layout)]
    step = int(checkpoint["global_step"])
    decay, updates = foreign.get("decay"), foreign.get("num_updates")
    content: dict[str, Any] = {
        "optimizer": optimizer_to_song(net, *_optimizer(checkpoint, net)),
        "model": to_song(net, raw, sigmas=sigmas, prefix=PREFIX),
        "ema": {
            "decay": _decay(checkpoint["config"]) if decay is None else decay,
            "num_updates": step if updates is None else updates,
            "shadow_params": shadow,
        },
    }
    if layout == "song":
        content["step"] = step
    else:
        content["ema"]["collected_params"] = None
    write_archive(path, content)


def architecture(config: Mapping[str, Any]) -> NCSNpp:
    """Build the net of a training configuration without memory for its weights; UserError if it is not a U-Net."""
    with torch.device("meta"):
        net = instantiate_node(config["model"]["net"])
    if not isinstance(net, NCSNpp):
        raise UserError(f"a {type(net).__name__} has no counterpart in the original: only NCSNpp and DDPM do")
    return net


def _averaged(weights: Sequence[Weight], layout: str) -> list[Weight]:
    return [weight for weight in weights if weight.trainable or layout == "peng"]


def _averages(
    net: NCSNpp, state: Mapping[str, Tensor], ema: Mapping[str, Any] | None
) -> tuple[str, dict[str, Tensor] | None]:
    """The layout, and the averages under our names."""
    if not ema:
        return "song", None
    shadow = ema.get("shadow_params")
    weights = song_weights(net)
    lists = {layout: _averaged(weights, layout) for layout in LAYOUTS}
    # For a net without frozen weights both lists are equal; only Peng's program also stores the weights it swapped out.
    order = reversed(LAYOUTS) if "collected_params" in ema else LAYOUTS
    layout = next((name for name in order if shadow is not None and len(lists[name]) == len(shadow)), None)
    if layout is None:
        raise UserError(
            f"ema.shadow_params is a list of {len(shadow or [])} tensors, but the net has {len(lists['song'])} "
            f"trainable ones and {len(lists['peng'])} in all; check the options of the net"
        )
    named = {weight.theirs: tensor for weight, tensor in zip(lists[layout], shadow or [], strict=True)}
    averaged = from_song(net, dict(state) | named)
    return layout, {name: averaged[name] for name, _ in net.named_parameters()}


def _with_prior_mean(config: Mapping[str, Any], mean: Any) -> dict[str, Any]:
    """Replace ``prior_mean: data``, which cannot be computed without data, by the mean that the file's program samples
    with.
    """
    out = {**config, "model": {**config["model"]}}
    for holder in (out, out["model"]):
        sde = holder.get("sde")
        if isinstance(sde, Mapping) and sde.get("prior_mean") == "data":
            holder["sde"] = {**sde, "prior_mean": mean}
    return out


def _check_levels(sigmas: Tensor | None, sde: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    # A VP model's table contains default values and is not used.
    if sigmas is None or "sigma_max" not in sde:
        return
    for name, value in (("sigma_max", float(sigmas.max())), ("sigma_min", float(sigmas.min()))):
        if not math.isclose(value, float(sde[name]), rel_tol=1e-3):
            raise UserError(
                f"{path} was trained with {name}={value:.6g}, but the configuration says {sde[name]}: "
                "choose the experiment it was trained with"
            )


def _levels(config: Mapping[str, Any]) -> Tensor:
    """(N,) float64, largest first: the levels of a VE configuration, the original's defaults for other SDEs."""
    sde = config["model"]["sde"]
    count = config["model"].get("parametrization", {}).get("num_scales")
    if count is None:
        count = ((config.get("sampler") or {}).get("grid") or {}).get("steps", _NUM_SCALES)
    if not is_whole(count) or not 1 <= count <= _MOST_SCALES:
        raise UserError(f"the configuration has {count} noise levels: give another checkpoint")
    largest, smallest = float(sde.get("sigma_max", _SIGMA_MAX)), float(sde.get("sigma_min", _SIGMA_MIN))
    return torch.linspace(math.log(largest), math.log(smallest), count, dtype=torch.float64).exp()


def _decay(config: Mapping[str, Any]) -> float:
    averages: Mapping[str, Any] = config.get("ema") or {}
    first: Mapping[str, Any] = next(iter(averages.values()), {})
    return float(first.get("decay", _DECAY))


def _optimizer(checkpoint: Mapping[str, Any], net: NCSNpp) -> tuple[Mapping[str, Any], float | None]:
    """State by the names of the parameters of ``net``, and the learning rate."""
    rate = (checkpoint["config"].get("optimizer") or {}).get("lr")
    names = [name for name, _ in net.named_parameters()]
    states = [state for optimizer in checkpoint.get("optimizer_states", ()) for state in optimizer["state"].items()]
    return {names[i]: state for i, state in states if "exp_avg_sq" in state}, rate
