"""Convert networks of NVlabs/edm to checkpoints: the U-Nets ``ddpmpp`` and ``ncsnpp`` without class labels.

Their SongUNet is the net of Song et al. 2021 under other names. Its augmentation label enters before the two dense
layers of the embedding, and here after them; it is zero if nothing is augmented, so its weights are left out. A class
label enters at the same place and is never zero, so nets with classes are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...checkpoint.read import NET_PREFIX
from ...errors import UserError
from ...nets import NCSNpp
from ..song.checkpoint import architecture
from ..song.experiments import composed
from .unpickle import ForeignObject, read_pickle

SUFFIX = ".pkl"
_PRECONDITIONING, _NET = "EDMPrecond", "SongUNet"
_LEFT_OUT = ("map_augment.", "resample_filter")


def read_edm(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a published network in the layout of this project; no code in the file is run.

    Args:
        path: a pickle with the key ``ema``.

    Returns:
        ``config``, ``state_dict``, ``ema`` with the average ``default`` (both are the published average) and
        ``global_step``, 0 because the file does not tell it.

    Raises:
        UserError: the file is not such a pickle, or its net is not supported.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"checkpoint {file} does not exist: give a file")
    content = read_pickle(file)
    model = content.get("ema") if isinstance(content, dict) else content
    if not isinstance(model, ForeignObject):
        raise UserError(f"{file} has no network under `ema`: give a network-snapshot of NVlabs/edm")
    try:
        return _converted(model)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except (KeyError, IndexError) as error:
        raise UserError(f"{file}: the network lacks {error.args[0]}: only a whole {_NET} can be read") from error
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        # Names and shapes are free in such a file.
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: the network is no {_NET} ({reason[:200]}): download it again") from error


def _converted(model: ForeignObject) -> dict[str, Any]:
    if model.kind != _PRECONDITIONING:
        raise UserError(
            f"a {model.kind} is not the preconditioning of EDM ({_PRECONDITIONING}): networks of EDM2 and the "
            "retrained baselines have other layouts, which this project does not support"
        )
    net = _child(model, "model")
    if not isinstance(net, ForeignObject) or net.kind != _NET:
        kind = net.kind if isinstance(net, ForeignObject) else "nothing"
        raise UserError(f"the network is a {kind}: only {_NET} (arch=ddpmpp or ncsnpp) is supported")
    state = dict(_tensors(net))
    if "map_label.weight" in state:
        raise UserError(
            "the network has class labels, which enter before the dense layers of its embedding, but here after them: "
            "only unconditional networks have a counterpart"
        )
    shape = _Shape.of(state)
    config = composed(
        [
            "experiment=cifar10_edm",
            *([] if shape.size == 32 else ["datamodule=image_folder"]),
            *(f"{key}={value}" for key, value in shape.settings().items()),
            f"parametrization.sigma_data={_number(model, 'sigma_data', 0.5)}",
        ]
    )
    ours = _named(architecture(config), shape.size, state)
    return {
        "config": config,
        "state_dict": {f"{NET_PREFIX}{name}": tensor for name, tensor in ours.items()},
        "ema": {"default": {name: tensor for name, tensor in ours.items() if not name.endswith("frequencies")}},
        "global_step": 0,
    }


@dataclass(frozen=True)
class _Shape:
    """The net's options, as far as names and shapes of the tensors determine them."""

    size: int
    channels: int
    nf: int
    ch_mult: list[int]
    blocks: int
    attention: list[int]
    fourier: bool
    residual: bool
    taps: list[float]

    @staticmethod
    def of(state: Mapping[str, Tensor]) -> _Shape:
        levels: dict[int, list[str]] = {}
        for name in state:
            part = name.split(".")
            if part[0] == "enc":
                levels.setdefault(int(part[1].split("x")[0]), []).append(name)
        if not levels:
            raise UserError("the network has no encoder")
        sizes = sorted(levels, reverse=True)
        first = state[f"enc.{sizes[0]}x{sizes[0]}_conv.weight"]
        nf = first.shape[0]
        blocks = len({name for name in levels[sizes[0]] if "_block" in name and name.endswith("conv0.weight")})
        outs = [state[f"enc.{size}x{size}_block0.conv1.weight"].shape[0] for size in sizes]
        if any("aux_skip" in name for name in state):
            raise UserError("encoder_type=skip is not supported")
        filters = [tensor for name, tensor in state.items() if name.endswith("resample_filter")]
        return _Shape(
            size=sizes[0],
            channels=first.shape[1],
            nf=nf,
            ch_mult=[out // nf for out in outs],
            blocks=blocks,
            attention=[size for size in sizes if f"enc.{size}x{size}_block0.qkv.weight" in state],
            fourier="map_noise.freqs" in state,
            residual=any("aux_residual" in name for name in state),
            taps=_taps(filters[0]) if filters else [1.0, 1.0],
        )

    def settings(self) -> dict[str, Any]:
        fir = self.taps != [1.0, 1.0]
        return {
            "datamodule.image_size": self.size,
            "datamodule.channels": self.channels,
            # The net gets no augmentation label.
            "datamodule.augmentation": "null",
            "net.augment_dim": "null",
            "net.nf": self.nf,
            "net.ch_mult": self.ch_mult,
            "net.num_res_blocks": self.blocks,
            "net.attn_resolutions": self.attention,
            "net.embedding_type": "fourier" if self.fourier else "positional",
            "net.fourier_log": "false",
            "net.progressive_input": "residual" if self.residual else "none",
            "net.fir": str(fir).lower(),
            "net.fir_kernel": self.taps if fir else [1.0, 3.0, 3.0, 1.0],
        }


def _named(net: NCSNpp, size: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``net``; every tensor of the file is used, or is known to be unnecessary."""
    out: dict[str, Tensor] = {}
    used: set[str] = set()
    expected = net.state_dict()
    for ours, theirs in _pairs(net, size):
        source, _, part = theirs.partition("#")
        if source not in state:
            raise UserError(f"the network lacks {source}")
        used.add(source)
        # Queries, keys and values are interleaved along the channels.
        tensor = state[source] if not part else state[source][int(part) :: 3]
        if tensor.shape != expected[ours].shape:
            raise UserError(f"{source} is {tuple(tensor.shape)} instead of {tuple(expected[ours].shape)}")
        out[ours] = tensor.float().contiguous()
    unused = [name for name in state if name not in used and not any(part in name for part in _LEFT_OUT)]
    if unused or out.keys() != expected.keys():
        raise UserError(f"the network's layers differ from this project's: {', '.join(unused[:3]) or 'fewer'}")
    return out


def _pairs(net: NCSNpp, size: int) -> Iterator[tuple[str, str]]:
    """Our name and their name of every tensor."""
    for kind in ("weight", "bias"):
        yield f"embedding.dense1.{kind}", f"map_layer0.{kind}"
        yield f"embedding.dense2.{kind}", f"map_layer1.{kind}"
        yield f"input_conv.{kind}", f"enc.{size}x{size}_conv.{kind}"
        yield f"output.norm.{kind}", f"dec.{size}x{size}_aux_norm.{kind}"
        yield f"output.conv.{kind}", f"dec.{size}x{size}_aux_conv.{kind}"
    if net.embedding_type == "fourier":
        yield "embedding.features.frequencies", "map_noise.freqs"
    names = set(net.state_dict())
    down, up = list(net.down), list(net.up)
    for i, level in enumerate(down):
        res = f"{size >> i}x{size >> i}"
        for j, _ in enumerate(level.steps()):
            yield from _block(names, f"down.{i}.blocks.{j}", f"down.{i}.attentions.{j}", f"enc.{res}_block{j}")
        if level.resample is not None:
            half = f"{size >> (i + 1)}x{size >> (i + 1)}"
            yield from _block(names, f"down.{i}.resample", "", f"enc.{half}_down")
            if level.pyramid is not None:
                for name in sorted(n for n in names if n.startswith(f"down.{i}.pyramid.")):
                    yield name, f"enc.{half}_aux_residual.{name.rsplit('.', 1)[-1]}"
    last = f"{size >> (len(down) - 1)}x{size >> (len(down) - 1)}"
    yield from _block(names, "middle.0", "middle.1", f"dec.{last}_in0")
    yield from _block(names, "middle.2", "", f"dec.{last}_in1")
    for i, level in enumerate(up):
        side = size >> (len(up) - 1 - i)
        for j, _ in enumerate(level.steps()):
            yield from _block(names, f"up.{i}.blocks.{j}", f"up.{i}.attentions.{j}", f"dec.{side}x{side}_block{j}")
        if level.resample is not None:
            yield from _block(names, f"up.{i}.resample", "", f"dec.{2 * side}x{2 * side}_up")


def _block(names: set[str], block: str, attention: str, theirs: str) -> Iterator[tuple[str, str]]:
    """A residual block with its attention, which their blocks include."""
    layers = (("norm1", "norm0"), ("conv1", "conv0"), ("emb", "affine"), ("norm2", "norm1"), ("conv2", "conv1"))
    for kind in ("weight", "bias"):
        for ours, other in (*layers, ("shortcut", "skip")):
            if f"{block}.{ours}.{kind}" in names:
                yield f"{block}.{ours}.{kind}", f"{theirs}.{other}.{kind}"
        if f"{attention}.norm.{kind}" in names:
            yield f"{attention}.norm.{kind}", f"{theirs}.norm2.{kind}"
            yield f"{attention}.proj.{kind}", f"{theirs}.proj.{kind}"
            for i, ours in enumerate(("query", "key", "value")):
                yield f"{attention}.{ours}.{kind}", f"{theirs}.qkv.{kind}#{i}"


def _child(record: ForeignObject, name: str) -> Any:
    modules = record.fields.get("_modules")
    return modules.get(name) if isinstance(modules, Mapping) else None


def _tensors(record: ForeignObject, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a module by their dotted names; each module is visited once."""
    seen = set() if seen is None else seen
    if id(record) in seen:
        raise UserError("a module of the network is in two places")
    seen.add(id(record))
    for group in ("_parameters", "_buffers"):
        entries = record.fields.get(group)
        for name, tensor in entries.items() if isinstance(entries, Mapping) else ():
            if isinstance(tensor, Tensor):
                if not tensor.is_floating_point():
                    raise UserError(f"{prefix}{name} holds {tensor.dtype} values instead of floats")
                yield f"{prefix}{name}", tensor
    modules = record.fields.get("_modules")
    for name, module in modules.items() if isinstance(modules, Mapping) else ():
        if isinstance(module, ForeignObject):
            yield from _tensors(module, f"{prefix}{name}.", seen)


def _number(record: ForeignObject, name: str, default: float) -> float:
    value = record.fields.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UserError(f"{name} is {value!r}, not a number")
    return float(value)


def _taps(kernel: Tensor) -> list[float]:
    """The taps of a separable filter whose outer product is ``kernel`` (1, 1, n, n), smallest one."""
    square = kernel.reshape(kernel.shape[-2:]).double()
    taps = square.diagonal().clamp(min=0).sqrt()
    taps = taps / taps[taps > 0].min()
    if not torch.allclose(torch.outer(taps, taps) / taps.sum() ** 2, square, rtol=1e-5, atol=1e-7):
        raise UserError("the resampling filter is not separable")
    return [round(float(tap), 6) for tap in taps]
