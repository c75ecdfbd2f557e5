"""Weights under the names of yang-song/score_sde_pytorch, for the U-Nets NCSNpp and DDPM.

There, every module sits in one list in the order of the forward pass (``all_modules.7.Conv_0.weight``). The walk
below visits our modules in that order; nothing is tabulated per configuration.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ...errors import UserError
from ...nets import NCSNpp
from ...nets.layers.attention import Attention
from ...nets.layers.blocks import Head, ResBlock
from ...nets.layers.embedding import FourierFeatures
from ...nets.layers.pyramid import InputResidual, InputSkip, OutputResidual, OutputResidualStart, OutputSkip
from ...nets.layers.resample import ConvDown, ConvUp, FIRConvDown, FIRConvUp

_NAMED_AT_MOST = 5
# A table that the original keeps in its state dict; the noise levels belong to the SDE here.
_NOT_WEIGHTS = {"sigmas"}


@dataclass(frozen=True)
class Weight:
    """One tensor of the original net.

    Args:
        theirs: its name there, without the prefix ``module.``.
        ours: its name in our state dict; None for a tensor that the original holds and never reads.
        shape: its shape there.
        nin: whether it is the (in, out) matrix of a 1x1 convolution.
        trainable: whether its gradient is asked for there.
    """

    theirs: str
    ours: str | None
    shape: tuple[int, ...]
    nin: bool = False
    trainable: bool = True


def song_weights(net: NCSNpp) -> list[Weight]:
    """The tensors of the original net of this architecture, in the order of its ``parameters()``.

    An exponential average there is a list without names in this order, with or without the weights that are not
    ``trainable``.
    """
    prefixes = {module: name for name, module in net.named_modules()}
    weights = []
    for position, tensors in enumerate(_all_modules(net)):
        for suffix, module, attribute in tensors:
            theirs = ".".join(filter(None, ("all_modules", str(position), suffix)))
            weights.append(_weight(theirs, module, attribute, prefixes.get(module)))
    return weights


def from_song(net: NCSNpp, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``net`` with the weights of the original.

    Args:
        net: a net of the same architecture (its own weights are left alone).
        state: the original's tensors; names may carry the prefix ``module.``.

    Raises:
        UserError: tensors that are missing, left over or of another shape, by name; a net with class or
            augmentation labels, which the original does not know.
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
    """The weights under the original's names, in the original's order.

    Args:
        net: the net, whose architecture gives the names.
        state: tensors under our names, an average for instance; None for the net's own.
        sigmas: (num_scales,) the table of noise levels, largest first, which the original wants to find there.
        prefix: put in front of every name; published checkpoints have ``module.``.

    Raises:
        UserError: tensors that are missing, by name; a net with class or augmentation labels.
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
        more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
        raise UserError(
            f"the weights of the original and the net differ: the original {fault} "
            f"{', '.join(names[:_NAMED_AT_MOST])}{more}; check the options of the net"
        )


# A tensor on the walk: what follows the position in its name, the module that holds it here, the attribute there.
_Tensor = tuple[str, nn.Module, str]


def _weight(theirs: str, module: nn.Module, attribute: str, prefix: str | None) -> Weight:
    tensor: Tensor = getattr(module, attribute)
    nin = theirs.endswith((".W", ".b")) and not isinstance(module, FourierFeatures)
    shape = tuple(tensor.shape)
    matrix = nin and attribute == "weight"
    return Weight(
        theirs,
        None if prefix is None else f"{prefix}.{attribute}",
        (shape[1], shape[0]) if matrix else shape,
        nin=matrix,
        trainable=isinstance(tensor, nn.Parameter),
    )


def _layer(module: nn.Module, name: str = "") -> list[_Tensor]:
    """A convolution, dense layer or GroupNorm called ``name`` in its block."""
    return [(f"{name}.{kind}" if name else kind, module, kind) for kind in ("weight", "bias")]


def _nin(module: nn.Module, name: str) -> list[_Tensor]:
    """A 1x1 convolution that is a matrix ``W`` and a vector ``b`` there."""
    return [(f"{name}.W", module, "weight"), (f"{name}.b", module, "bias")]


def _res_block(block: ResBlock, ddpm: bool, unread: nn.Module | None) -> list[_Tensor]:
    emb = block.emb if block.emb is not None else unread
    tensors = _layer(block.norm1, "GroupNorm_0") + _layer(block.conv1, "Conv_0")
    tensors += [] if emb is None else _layer(emb, "Dense_0")
    tensors += _layer(block.norm2, "GroupNorm_1") + _layer(block.conv2, "Conv_1")
    if block.shortcut is not None:
        tensors += _nin(block.shortcut, "NIN_0") if ddpm else _layer(block.shortcut, "Conv_2")
    return tensors


def _attention(attention: Attention) -> list[_Tensor]:
    tensors = _layer(attention.norm, "GroupNorm_0")
    for i, layer in enumerate((attention.query, attention.key, attention.value, attention.proj)):
        tensors += _nin(layer, f"NIN_{i}")
    return tensors


def _resampling(module: nn.Module) -> list[_Tensor]:
    """A resampling layer; one without weights still takes a place in the list."""
    if isinstance(module, FIRConvDown | FIRConvUp):
        return _layer(module.conv, "Conv2d_0")
    return _layer(module, "Conv_0") if isinstance(module, ConvDown | ConvUp) else []


def _head(head: Head) -> list[list[_Tensor]]:
    return [_layer(head.norm), _layer(head.conv)]


def _pyramid(pyramid: nn.Module | None) -> list[list[_Tensor]]:
    """The layers of a progressive path; resampling without weights is not in the list here."""
    match pyramid:
        case InputSkip():
            return [_layer(pyramid.conv, "Conv_0")]
        case InputResidual():
            return [_resampling(pyramid.down)]
        case OutputSkip() | OutputResidualStart():
            return _head(pyramid.head)
        case OutputResidual():
            return [_resampling(pyramid.up)]
    return []


def _all_modules(net: NCSNpp) -> Iterator[list[_Tensor]]:
    """The entries of the original's list of modules, each with its tensors."""
    ddpm = net.resblock_type == "ddpm"

    def block(module: nn.Module) -> list[_Tensor]:
        if isinstance(module, ResBlock):
            # Without conditioning the original still makes the dense layer of every block.
            unread = (
                None if net.embedding is not None else nn.Linear(4 * net.nf, module.conv1.out_channels, device="meta")
            )
            return _res_block(module, ddpm, unread)
        return _attention(module) if isinstance(module, Attention) else _resampling(module)

    embedding = net.embedding
    if embedding is None:
        if net.embedding_type == "fourier":
            yield [("W", FourierFeatures(net.nf), "frequencies")]
    else:
        if isinstance(embedding.features, FourierFeatures):
            yield [("W", embedding.features, "frequencies")]
        yield _layer(embedding.dense1)
        yield _layer(embedding.dense2)

    yield _layer(net.input_conv)
    for level in net.down:
        for residual, attention in level.steps():
            yield block(residual)
            if isinstance(attention, Attention):
                yield block(attention)
        if level.resample is not None:
            yield block(level.resample)
        yield from _pyramid(level.pyramid)
    for module in net.middle:
        yield block(module)
    for level in net.up:
        for residual, attention in level.steps():
            yield block(residual)
            if isinstance(attention, Attention):
                yield block(attention)
        yield from _pyramid(level.pyramid)
        if level.resample is not None:
            yield block(level.resample)
    if net.output is not None:
        yield from _head(net.output)
