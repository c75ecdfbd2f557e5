"""Map weights to the names of yang-song/score_sde_pytorch, for the U-Nets NCSNpp and DDPM.

In the original, every module is in one list in the order of the forward pass (``all_modules.7.Conv_0.weight``). The
code below visits our modules in that order; there is no table per configuration.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from torch import Tensor, nn

from ...errors import UserError, some
from ...nets import NCSNpp
from ...nets.layers.attention import Attention
from ...nets.layers.blocks import Head, ResBlock
from ...nets.layers.embedding import FourierFeatures
from ...nets.layers.level import Level
from ...nets.layers.pyramid import InputResidual, InputSkip, OutputResidual, OutputResidualStart, OutputSkip
from ...nets.layers.resample import ConvDown, ConvUp, FIRConvDown, FIRConvUp

_NAMED_AT_MOST = 5
# A table in the original's state dict; here the noise levels belong to the SDE.
_NOT_WEIGHTS = {"sigmas"}


@dataclass(frozen=True)
class Weight:
    """One tensor of the original net.

    Args:
        theirs: its name in the original, without the prefix ``module.``.
        ours: its name in our state dict; None for a tensor that the original stores and never uses.
        shape: its shape in the original.
        nin: whether it is the (in, out) matrix of a 1x1 convolution.
        trainable: whether the original computes its gradient.
    """

    theirs: str
    ours: str | None
    shape: tuple[int, ...]
    nin: bool = False
    trainable: bool = True


def song_weights(net: NCSNpp) -> list[Weight]:
    """The tensors of the original net of this architecture, in the order of its ``parameters()``.

    The original's exponential average is a list without names in this order, with or without the weights that are not
    ``trainable``.
    """
    ours = {id(tensor): name for name, tensor in (*net.named_parameters(), *net.named_buffers())}
    return [
        _weight(f"all_modules.{position}.{suffix}", tensor, ours.get(id(tensor)))
        for position, tensors in enumerate(_all_modules(net))
        for suffix, tensor in tensors
    ]


def from_song(net: NCSNpp, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of ``net`` with the weights of the original.

    Args:
        net: a net of the same architecture; its own weights are not changed.
        state: the original's tensors; names may carry the prefix ``module.``.

    Raises:
        UserError: tensors are missing, left over or of another shape (the message names them), or the net has class or
            augmentation labels, which the original does not support.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    weights = _checked_weights(net)
    expected = {weight.theirs: weight for weight in weights}
    _refuse("lacks", [name for name in expected if name not in state])
    _refuse("has unknown", [name for name in state if name not in expected and name not in _NOT_WEIGHTS])
    _refuse(
        "has, in other shapes than the net,",
        [
            f"{name} {tuple(state[name].shape)} instead of {weight.shape}"
            for name, weight in expected.items()
            if tuple(state[name].shape) != weight.shape
        ],
    )
    return {
        weight.ours: state[weight.theirs].t()[:, :, None, None].contiguous() if weight.nin else state[weight.theirs]
        for weight in weights
        if weight.ours is not None
    }


def to_song(
    net: NCSNpp, state: Mapping[str, Tensor] | None = None, *, sigmas: Tensor | None = None, prefix: str = ""
) -> dict[str, Tensor]:
    """Return the weights under the original's names, in the original's order.

    Args:
        net: the net, whose architecture gives the names.
        state: tensors under our names, an average for instance; None for the net's own.
        sigmas: (num_scales,) the table of noise levels, largest first, which the original expects.
        prefix: put in front of every name; published checkpoints have ``module.``.

    Raises:
        UserError: tensors are missing (the message names them), or the net has class or augmentation labels.
    """
    weights = _checked_weights(net)
    state = net.state_dict() if state is None else state
    _refuse("lacks", [weight.ours for weight in weights if weight.ours is not None and weight.ours not in state])
    out = {} if sigmas is None else {f"{prefix}sigmas": sigmas}
    like = next(iter(state.values()))
    for weight in weights:
        if weight.ours is None:
            out[prefix + weight.theirs] = like.new_zeros(weight.shape)
        else:
            tensor = state[weight.ours]
            out[prefix + weight.theirs] = tensor[:, :, 0, 0].t().contiguous() if weight.nin else tensor
    return out


def _checked_weights(net: NCSNpp) -> list[Weight]:
    weights = song_weights(net)
    _refuse("cannot hold", sorted(set(net.state_dict()) - {weight.ours for weight in weights if weight.ours}))
    return weights


def _refuse(fault: str, names: list[str]) -> None:
    if names:
        raise UserError(
            f"the weights of the original and the net differ: the original {fault} "
            f"{some(names, _NAMED_AT_MOST)}; check the options of the net"
        )


# A tensor: the end of its name in the original, and the tensor here.
_Tensor = tuple[str, Tensor]


def _weight(theirs: str, tensor: Tensor, ours: str | None) -> Weight:
    # The frequencies of the Fourier embedding are called W too.
    matrix = theirs.endswith(".W") and tensor.ndim == 4
    shape = tuple(tensor.shape)
    return Weight(
        theirs,
        ours,
        (shape[1], shape[0]) if matrix else shape,
        nin=matrix,
        trainable=isinstance(tensor, nn.Parameter),
    )


def _layer(module: Any, name: str = "") -> list[_Tensor]:
    """A convolution, dense layer or GroupNorm called ``name`` in its block."""
    prefix = f"{name}." if name else ""
    return [(f"{prefix}weight", module.weight), (f"{prefix}bias", module.bias)]


def _nin(module: nn.Conv2d, name: str) -> list[_Tensor]:
    """A 1x1 convolution, which is a matrix ``W`` and a vector ``b`` in the original."""
    assert module.bias is not None
    return [(f"{name}.W", module.weight), (f"{name}.b", module.bias)]


@singledispatch
def _entries(module: nn.Module, net: NCSNpp) -> list[list[_Tensor]]:
    """The entries of the original's list for one of the modules of ``net``.

    Resampling without weights still takes a place in the list; its other kinds are below.
    """
    return [[]]


@_entries.register
def _(block: ResBlock, net: NCSNpp) -> list[list[_Tensor]]:
    # Without conditioning the original still makes the dense layer of every block.
    emb = block.emb if block.emb is not None else nn.Linear(4 * net.nf, block.conv1.out_channels, device="meta")
    tensors = _layer(block.norm1, "GroupNorm_0") + _layer(block.conv1, "Conv_0") + _layer(emb, "Dense_0")
    tensors += _layer(block.norm2, "GroupNorm_1") + _layer(block.conv2, "Conv_1")
    if block.shortcut is not None:
        ddpm = net.resblock_type == "ddpm"
        tensors += _nin(block.shortcut, "NIN_0") if ddpm else _layer(block.shortcut, "Conv_2")
    return [tensors]


@_entries.register
def _(layer: ConvDown | ConvUp, net: NCSNpp) -> list[list[_Tensor]]:
    return [_layer(layer, "Conv_0")]


@_entries.register
def _(layer: FIRConvDown | FIRConvUp, net: NCSNpp) -> list[list[_Tensor]]:
    return [_layer(layer.conv, "Conv2d_0")]


@_entries.register
def _(attention: Attention, net: NCSNpp) -> list[list[_Tensor]]:
    layers = (attention.query, attention.key, attention.value, attention.proj)
    tensors = [tensor for i, layer in enumerate(layers) for tensor in _nin(layer, f"NIN_{i}")]
    return [[*_layer(attention.norm, "GroupNorm_0"), *tensors]]


@_entries.register
def _(head: Head, net: NCSNpp) -> list[list[_Tensor]]:
    return [_layer(head.norm), _layer(head.conv)]


# In a progressive path, resampling without weights is not in the list.
@_entries.register
def _(pyramid: InputSkip, net: NCSNpp) -> list[list[_Tensor]]:
    return [_layer(pyramid.conv, "Conv_0")]


@_entries.register
def _(pyramid: InputResidual, net: NCSNpp) -> list[list[_Tensor]]:
    return _entries(pyramid.down, net)


@_entries.register
def _(pyramid: OutputSkip | OutputResidualStart, net: NCSNpp) -> list[list[_Tensor]]:
    return _entries(pyramid.head, net)


@_entries.register
def _(pyramid: OutputResidual, net: NCSNpp) -> list[list[_Tensor]]:
    return _entries(pyramid.up, net)


def _all_modules(net: NCSNpp) -> Iterator[list[_Tensor]]:
    """The entries of the original's list of modules, each with its tensors."""

    def steps(level: Level) -> Iterator[list[_Tensor]]:
        for residual, attention in level.steps():
            yield from _entries(residual, net)
            if attention is not None:
                yield from _entries(attention, net)

    embedding = net.embedding
    if net.embedding_type == "fourier":
        features = FourierFeatures(net.nf) if embedding is None else embedding.features
        yield [("W", features.get_buffer("frequencies"))]
    if embedding is not None:
        yield _layer(embedding.dense1)
        yield _layer(embedding.dense2)

    yield _layer(net.input_conv)
    for level in net.down:
        yield from steps(level)
        for module in (level.resample, level.pyramid):
            if module is not None:
                yield from _entries(module, net)
    for module in net.middle:
        yield from _entries(module, net)
    for level in net.up:
        yield from steps(level)
        for module in (level.pyramid, level.resample):
            if module is not None:
                yield from _entries(module, net)
    if net.output is not None:
        yield from _entries(net.output, net)
