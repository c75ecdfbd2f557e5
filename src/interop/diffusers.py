"""NCSN++ of the VE SDE as a ``ScoreSdeVePipeline`` of the diffusers library: a UNet2DModel and a ScoreSdeVeScheduler.

UNet2DModel supports one form of NCSN++, that of the published models for 256 and 1024 pixels: BigGAN blocks, FIR
resampling, output_skip and input_skip. It divides by sigma itself, so its output is the score.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..checkpoint.restore import restore_model
from ..errors import UserError
from ..io.atomic import replacing
from ..nets import NCSNpp
from ..nets.layers.level import Level
from ..sde import VESDE, ScoreModel
from ..sde.parametrization import SongVE

_log = logging.getLogger(__name__)

# Fixed inside the attention blocks and the image paths of UNet2DModel.
_ATTENTION_GROUPS = 32
_IMAGE_CHANNELS = 3
_NORM_EPS = 1e-6
# Options of a net of this form, with the only values that UNet2DModel can express.
_REQUIRED: dict[str, Any] = {
    "resblock_type": "biggan",
    "progressive": "output_skip",
    "progressive_input": "input_skip",
    "progressive_combine": "sum",
    "embedding_type": "fourier",
    "fourier_log": True,
    "fir": True,
    "fir_kernel": [1.0, 3.0, 3.0, 1.0],
    "skip_rescale": True,
    "conditional": True,
    "nonlinearity": "swish",
    "norm_groups": None,
    "num_classes": None,
    "augment_dim": None,
}
# Options of the published NCSN++, for a configuration that leaves an option out.
_DEFAULTS: dict[str, Any] = {**_REQUIRED, "progressive": "none", "progressive_input": "residual"}

# Our names of the layers of a block, and those of UNet2DModel.
_BLOCK = {
    "norm1": "norm1",
    "conv1": "conv1",
    "emb": "time_emb_proj",
    "norm2": "norm2",
    "conv2": "conv2",
    "shortcut": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "query": "to_q", "key": "to_k", "value": "to_v", "proj": "to_out.0"}


def write_diffusers(checkpoint: Mapping[str, Any], folder: str | os.PathLike[str], weights: str = "ema") -> None:
    """Write a pipeline that ``ScoreSdeVePipeline.from_pretrained(folder)`` loads.

    The prior of the pipeline has mean zero, whatever the mean of the SDE's prior; steps and snr are those of the
    checkpoint's sampler.

    Args:
        checkpoint: from ``open_checkpoint``.
        folder: a new folder; written completely or not at all.
        weights: which weights, named as in ``restore_model``.

    Raises:
        UserError: UNet2DModel cannot express an option (the message names it), diffusers is not installed, or the
            folder exists.
    """
    target = Path(folder)
    if target.exists():
        raise UserError(f"{target} exists: choose a new folder")
    model = restore_model(checkpoint, weights)
    unet = unet_from(model, checkpoint["config"]["model"]["net"])
    scheduler = _scheduler(model.sde, checkpoint["config"].get("sampler") or {})
    pipeline = _diffusers().ScoreSdeVePipeline(unet=unet, scheduler=scheduler)
    with replacing(target) as temporary:
        pipeline.save_pretrained(temporary)


def unet_from(model: ScoreModel, net: Mapping[str, Any]) -> nn.Module:
    """Return the UNet2DModel that computes the same score.

    Args:
        model: a VE model with data in [0, 1].
        net: the node of its net in the configuration: ``_target_`` and arguments.

    Returns:
        In evaluation mode; ``unet(x, sigma).sample`` is the score, x (B, 3, H, W) and sigma (B,).

    Raises:
        UserError: UNet2DModel cannot express an option (the message names it), or diffusers is not installed.
    """
    _check_supported(model, net)
    assert isinstance(model.net, NCSNpp)
    unet: nn.Module = _diffusers().UNet2DModel(**_unet_config(model.net, net))
    ours = model.net.state_dict()
    names = dict(_weight_names(model.net))
    # Attention in UNet2DModel has dense layers instead of 1x1 convolutions.
    shapes = {name: value.shape for name, value in unet.state_dict().items()}
    unet.load_state_dict({theirs: ours[name].reshape(shapes[theirs]) for theirs, name in names.items()})
    return unet.eval()


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise UserError('format=diffusers needs the diffusers library: pip install ".[bench]"') from error
    return diffusers


def _check_supported(model: ScoreModel, node: Mapping[str, Any]) -> None:
    net = model.net
    if type(net) is not NCSNpp or not isinstance(model.sde, VESDE) or not isinstance(model.parametrization, SongVE):
        raise UserError(
            "diffusers supports only NCSNpp with the VE SDE and parametrization=song_ve, not "
            f"{type(net).__name__} with {type(model.sde).__name__} and {type(model.parametrization).__name__}"
        )
    if model.data_range != "unit":
        raise UserError(
            "data_range=centered cannot be expressed in diffusers, whose pipeline generates images in [0, 1]"
        )
    for option, value in _REQUIRED.items():
        here = node.get(option, _DEFAULTS[option])
        if (list(here) if isinstance(here, list | tuple) else here) != value:
            raise UserError(
                f"{option}={here} cannot be expressed by diffusers' UNet2DModel, which has {option}={value}"
            )
    if net.image_shape[0] != _IMAGE_CHANNELS:
        raise UserError(f"in_channels={net.image_shape[0]} cannot be expressed by diffusers' UNet2DModel, which has 3")
    in_levels = [attention for level in (*net.down, *net.up) for _, attention in level.steps()]
    if any(attention is not None and attention.norm.num_groups != _ATTENTION_GROUPS for attention in in_levels):
        raise UserError(
            f"attn_resolutions={list(net.attn_resolutions)} with fewer than 128 channels cannot be expressed by "
            f"diffusers' UNet2DModel, whose attention has {_ATTENTION_GROUPS} groups"
        )
    # At levels with attention, UNet2DModel computes the groups of the up blocks from other channels.
    beside = [block for level in net.up if level.attentions for block, _ in level.steps()]
    if any(block.norm1.num_groups != _ATTENTION_GROUPS for block in beside):
        raise UserError(
            f"nf={net.nf} is too small for diffusers' UNet2DModel, whose blocks beside attention have "
            f"{_ATTENTION_GROUPS} groups"
        )


def _unet_config(net: NCSNpp, node: Mapping[str, Any]) -> dict[str, Any]:
    attends = [bool(level.attentions) for level in net.down]
    blocks = [list(level.blocks) for level in net.down]
    return {
        "sample_size": net.image_shape[1],
        "in_channels": _IMAGE_CHANNELS,
        "out_channels": _IMAGE_CHANNELS,
        "center_input_sample": True,
        "time_embedding_type": "fourier",
        "block_out_channels": [level[-1].conv1.out_channels for level in blocks],
        "layers_per_block": len(blocks[0]),
        "down_block_types": ["AttnSkipDownBlock2D" if attention else "SkipDownBlock2D" for attention in attends],
        "up_block_types": ["AttnSkipUpBlock2D" if attention else "SkipUpBlock2D" for attention in reversed(attends)],
        "mid_block_scale_factor": math.sqrt(2.0),
        "dropout": float(node.get("dropout", 0.0)),
        "act_fn": "silu",
        "attention_head_dim": None,
        "norm_num_groups": None,
        "norm_eps": _NORM_EPS,
    }


def _scheduler(sde: Any, sampler: Mapping[str, Any]) -> Any:
    if torch.as_tensor(sde.prior_mean).any():
        _log.warning("the prior of diffusers' pipeline has mean zero, not %s", sde.prior_mean)
    grid, corrector = sampler.get("grid") or {}, sampler.get("corrector") or {}
    return _diffusers().ScoreSdeVeScheduler(
        num_train_timesteps=int(grid.get("steps", 1000)),
        snr=float(corrector.get("snr", 0.16)),
        sigma_min=float(sde.sigma_min),
        sigma_max=float(sde.sigma_max),
        sampling_eps=float(grid.get("eps", 1e-5)),
        correct_steps=int(corrector.get("steps", 1)),
    )


def _weight_names(net: NCSNpp) -> Iterator[tuple[str, str]]:
    """Pairs of a tensor's name in UNet2DModel and in our net."""
    modules: list[tuple[str, nn.Module]] = []
    embedding = net.embedding
    assert embedding is not None
    modules += [("time_embedding.linear_1", embedding.dense1), ("time_embedding.linear_2", embedding.dense2)]
    modules.append(("conv_in", net.input_conv))
    for i, level in enumerate(net.down):
        modules += _level(f"down_blocks.{i}", level)
        if level.resample is not None:
            modules += _parts(f"down_blocks.{i}.resnet_down", level.resample, _BLOCK)
        if level.pyramid is not None:
            modules.append((f"down_blocks.{i}.skip_conv", level.pyramid.get_submodule("conv")))
    block1, attention, block2 = net.middle
    modules += _parts("mid_block.resnets.0", block1, _BLOCK) + _parts("mid_block.attentions.0", attention, _ATTENTION)
    modules += _parts("mid_block.resnets.1", block2, _BLOCK)
    for i, level in enumerate(net.up):
        modules += _level(f"up_blocks.{i}", level)
        assert level.pyramid is not None
        norm, conv = f"up_blocks.{i}.skip_norm", f"up_blocks.{i}.skip_conv"
        if level.resample is None:
            # In UNet2DModel the finest image comes from the end of the net.
            norm, conv = "conv_norm_out", "conv_out"
        else:
            modules += _parts(f"up_blocks.{i}.resnet_up", level.resample, _BLOCK)
        head = level.pyramid.get_submodule("head")
        modules += [(norm, head.get_submodule("norm")), (conv, head.get_submodule("conv"))]
    prefixes = {module: name for name, module in net.named_modules()}
    yield "time_proj.weight", f"{prefixes[embedding.features]}.frequencies"
    for theirs, module in modules:
        for kind in ("weight", "bias"):
            yield f"{theirs}.{kind}", f"{prefixes[module]}.{kind}"


def _level(theirs: str, level: Level) -> list[tuple[str, nn.Module]]:
    modules: list[tuple[str, nn.Module]] = []
    for i, (block, _) in enumerate(level.steps()):
        modules += _parts(f"{theirs}.resnets.{i}", block, _BLOCK)
    attentions = [attention for _, attention in level.steps() if attention is not None]
    for i, attention in enumerate(attentions):
        modules += _parts(f"{theirs}.attentions.{i}", attention, _ATTENTION)
    return modules


def _parts(theirs: str, module: nn.Module, names: Mapping[str, str]) -> list[tuple[str, nn.Module]]:
    parts = dict(module.named_children())
    return [(f"{theirs}.{other}", parts[ours]) for ours, other in names.items() if ours in parts]
