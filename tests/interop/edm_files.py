"""Files as NVlabs/edm writes them (modules that pickle their own source), and a forward pass written from the paper."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("code in the file was called")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


@contextmanager
def their_modules() -> Iterator[None]:
    """Give the function its original module name while pickling."""
    module = types.ModuleType("torch_utils.persistence")
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    added = {"torch_utils": types.ModuleType("torch_utils"), "torch_utils.persistence": module}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


class Persistent(nn.Module):
    """A module that pickles as a call with its class name, source and state."""

    def __init__(self, kind: str, **fields: Any) -> None:
        super().__init__()
        self.kind = kind
        self._init_kwargs = fields
        for name, value in fields.items():
            setattr(self, name, value)

    def __reduce__(self) -> Any:
        source = "import os\nos.system('touch source-was-run')\n"
        meta = {
            "type": "class",
            "version": 6,
            "module_src": source,
            "class_name": self.kind,
            "state": dict(self.__dict__),
        }
        return _reconstruct_persistent_obj, (meta,), None


def _layer(kind: str, **shapes: tuple[int, ...]) -> Persistent:
    layer = Persistent(kind)
    for name, shape in shapes.items():
        tensor = torch.randn(shape) * (shape[-1] if len(shape) == 2 else max(1, len(shape) * 9)) ** -0.5
        layer.register_parameter(name, nn.Parameter(tensor if len(shape) > 1 else 0.5 + torch.rand(shape)))
    return layer


def _conv(cin: int, cout: int, kernel: int, taps: Tensor | None = None) -> Persistent:
    layer = _layer("Conv2d", weight=(cout, cin, kernel, kernel), bias=(cout,))
    if taps is not None:
        layer.register_buffer("resample_filter", torch.outer(taps, taps)[None, None] / taps.sum() ** 2)
    return layer


def _norm(channels: int) -> Persistent:
    return _layer("GroupNorm", weight=(channels,), bias=(channels,))


def _block(cin: int, cout: int, emb: int, attention: bool, taps: Tensor | None) -> Persistent:
    block = Persistent("UNetBlock", in_channels=cin, out_channels=cout, num_heads=int(attention))
    block.norm0, block.conv0 = _norm(cin), _conv(cin, cout, 3, taps)
    block.affine = _layer("Linear", weight=(cout, emb), bias=(cout,))
    block.norm1, block.conv1 = _norm(cout), _conv(cout, cout, 3)
    if cin != cout or taps is not None:
        block.skip = _conv(cin, cout, 1, taps)
    if attention:
        block.norm2, block.qkv, block.proj = _norm(cout), _conv(cout, 3 * cout, 1), _conv(cout, cout, 1)
    return block


def network(
    size: int = 16,
    nf: int = 16,
    ch_mult: tuple[int, ...] = (2, 1),
    blocks: int = 2,
    attention: tuple[int, ...] = (8,),
    ncsnpp: bool = False,
    classes: int = 0,
) -> Persistent:
    """Build a SongUNet with EDM's preconditioning and random weights; ``ncsnpp``: arch=ncsnpp, else ddpmpp."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0] if ncsnpp else [1.0, 1.0])
    emb, features = 4 * nf, (2 if ncsnpp else 1) * nf
    net = Persistent("SongUNet", label_dim=classes, augment_dim=9)
    net.map_noise = Persistent("FourierEmbedding" if ncsnpp else "PositionalEmbedding")
    if ncsnpp:
        net.map_noise.register_buffer("freqs", torch.randn(features // 2))
    if classes:
        net.map_label = _layer("Linear", weight=(features, classes), bias=(features,))
    net.map_augment = _layer("Linear", weight=(features, 9))
    net.map_layer0 = _layer("Linear", weight=(emb, features), bias=(emb,))
    net.map_layer1 = _layer("Linear", weight=(emb, emb), bias=(emb,))
    enc, dec, channels, skips, aux = nn.ModuleDict(), nn.ModuleDict(), nf, [nf], 3
    for level, multiple in enumerate(ch_mult):
        res = f"{size >> level}x{size >> level}"
        if level == 0:
            enc[f"{res}_conv"] = _conv(3, nf, 3)
        else:
            enc[f"{res}_down"] = _block(channels, channels, emb, False, taps)
            skips.append(channels)
            if ncsnpp:
                enc[f"{res}_aux_residual"] = _conv(aux, channels, 3, taps)
                aux = channels
        for i in range(blocks):
            enc[f"{res}_block{i}"] = _block(channels, nf * multiple, emb, size >> level in attention, None)
            channels = nf * multiple
            skips.append(channels)
    for level, multiple in reversed(list(enumerate(ch_mult))):
        res = f"{size >> level}x{size >> level}"
        if level == len(ch_mult) - 1:
            dec[f"{res}_in0"] = _block(channels, channels, emb, True, None)
            dec[f"{res}_in1"] = _block(channels, channels, emb, False, None)
        else:
            dec[f"{res}_up"] = _block(channels, channels, emb, False, taps)
        for i in range(blocks + 1):
            attends = i == blocks and size >> level in attention
            dec[f"{res}_block{i}"] = _block(channels + skips.pop(), nf * multiple, emb, attends, None)
            channels = nf * multiple
        if level == 0:
            dec[f"{res}_aux_norm"], dec[f"{res}_aux_conv"] = _norm(channels), _conv(channels, 3, 3)
    net.enc, net.dec = enc, dec
    whole = Persistent("EDMPrecond", img_resolution=size, img_channels=3, sigma_data=0.5, label_dim=classes)
    whole.model = net
    return whole


def written(model: Any, **more: Any) -> bytes:
    """Return the bytes of a file that contains ``model``."""
    with their_modules():
        return pickle.dumps({"ema": model, "loss_fn": Persistent("EDMLoss", P_mean=-1.2), **more})


def denoised(model: Persistent, x: Tensor, sigma: Tensor) -> Tensor:
    """Return D(x; sigma) of Karras et al. 2022, eq. 7, with their network; x (B, 3, H, W), sigma (B,)."""
    with torch.no_grad():
        total = (sigma**2 + 0.25).sqrt()
        scale = [value[:, None, None, None] for value in (0.25 / total**2, 0.5 * sigma / total, 1 / total)]
        return scale[0] * x + scale[1] * _forward(model.model, scale[2] * x, sigma.log() / 4)


def _forward(net: Any, x: Tensor, level: Tensor) -> Tensor:
    half = net.map_layer0.weight.shape[1] // 2
    if hasattr(net.map_noise, "freqs"):
        rates = 2 * torch.pi * net.map_noise.freqs
    else:
        rates = torch.tensor([10000 ** (-i / (half - 1)) for i in range(half)], dtype=x.dtype)
    # EDM swaps cosines and sines before the dense layers.
    phase = torch.outer(level, rates)
    emb = torch.cat([phase.sin(), phase.cos()], 1)
    for layer in (net.map_layer0, net.map_layer1):
        emb = F.silu(emb @ layer.weight.T + layer.bias)
    skips, aux = [], x
    for name, block in net.enc.items():
        if "aux_residual" in name:
            x = aux = skips[-1] = (_strided(block, aux) + x) * 0.5**0.5
        else:
            x = _conv2d(block, x) if name.endswith("conv") else _residual(block, x, emb)
            skips.append(x)
    for name, block in net.dec.items():
        if name.endswith("aux_norm"):
            x = _group_norm(block, x)
        elif name.endswith("aux_conv"):
            x = _conv2d(block, F.silu(x))
        else:
            widest_float = x.shape[1] != block.in_channels
            x = _residual(block, torch.cat([x, skips.pop()], 1) if widest_float else x, emb, up=name.endswith("_up"))
    return x


def _group_norm(layer: Any, x: Tensor) -> Tensor:
    return F.group_norm(x, min(32, x.shape[1] // 4), layer.weight, layer.bias, eps=1e-6)


def _resampled(layer: Any, x: Tensor, up: bool) -> Tensor:
    if not hasattr(layer, "resample_filter"):
        return x
    taps = layer.resample_filter
    pad, kernel = (taps.shape[-1] - 1) // 2, taps.expand(x.shape[1], 1, -1, -1)
    if up:
        return F.conv_transpose2d(x, 4 * kernel, groups=x.shape[1], stride=2, padding=pad)
    return F.conv2d(x, kernel, groups=x.shape[1], stride=2, padding=pad)


def _conv2d(layer: Any, x: Tensor, up: bool = False) -> Tensor:
    return F.conv2d(_resampled(layer, x, up), layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)


def _strided(layer: Any, x: Tensor) -> Tensor:
    """Apply convolution and filter, which share one padding."""
    taps = layer.resample_filter
    x = F.conv2d(x, layer.weight, padding=1 + (taps.shape[-1] - 1) // 2)
    x = F.conv2d(x, taps.expand(x.shape[1], 1, -1, -1), groups=x.shape[1], stride=2)
    return x + layer.bias[:, None, None]


def _residual(block: Any, x: Tensor, emb: Tensor, up: bool = False) -> Tensor:
    h = _conv2d(block.conv0, F.silu(_group_norm(block.norm0, x)), up)
    h = h + (emb @ block.affine.weight.T + block.affine.bias)[:, :, None, None]
    h = _conv2d(block.conv1, F.silu(_group_norm(block.norm1, h)))
    x = (h + (_conv2d(block.skip, x, up) if hasattr(block, "skip") else x)) * 0.5**0.5
    if block.num_heads:
        b, c, height, width = x.shape
        qkv = _conv2d(block.qkv, _group_norm(block.norm2, x)).reshape(b, c, 3, -1)
        weights = torch.einsum("bcq,bck->bqk", qkv[:, :, 0], qkv[:, :, 1] / c**0.5).softmax(2)
        mixed = torch.einsum("bqk,bck->bcq", weights, qkv[:, :, 2]).reshape(b, c, height, width)
        x = (_conv2d(block.proj, mixed) + x) * 0.5**0.5
    return x
