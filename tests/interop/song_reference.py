"""An independent implementation of NCSN++ and DDPM: plain operations on weights with the original's names.

It reads the numbered modules in order, so a misplaced name, a wrong transpose or another order of operations gives a
different output.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ACTIVATIONS = {"swish": F.silu, "elu": F.elu, "relu": F.relu, "lrelu": lambda x: F.leaky_relu(x, 0.2)}


class Reader:
    """The weights of the numbered modules, in order."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.modules: list[dict[str, Tensor]] = []
        names = [name.split(".", 2)[1:] for name in state]
        for _ in range(1 + max(int(number) for number, _ in names)):
            self.modules.append({})
        for (number, rest), tensor in zip(names, state.values(), strict=True):
            self.modules[int(number)][rest] = tensor
        self.position = 0

    def next(self) -> dict[str, Tensor]:
        self.position += 1
        return self.modules[self.position - 1]


def upfirdn(x: Tensor, taps: list[float], up: int, down: int, pad: tuple[int, int], gain: float) -> Tensor:
    """Insert zeros between pixels, pad, convolve with the outer product of ``taps``, decimate."""
    b, c, h, w = x.shape
    stuffed = x.new_zeros(b, c, h * up, w * up)
    stuffed[:, :, ::up, ::up] = x
    stuffed = F.pad(stuffed, (*pad, *pad))
    k = torch.tensor(taps, dtype=x.dtype)
    kernel = torch.outer(k, k).flip(0, 1) * gain / k.sum() ** 2
    n = len(taps)
    height, width = stuffed.shape[2] - n + 1, stuffed.shape[3] - n + 1
    out = sum(kernel[i, j] * stuffed[:, :, i : i + height, j : j + width] for i in range(n) for j in range(n))
    return out[:, :, ::down, ::down]


def reference(model: dict[str, Any], image_size: int, state: dict[str, Tensor], u: Tensor, cond: Tensor) -> Tensor:
    """Return the output before the division by sigma, for an input ``u`` in [-1, 1]."""
    reader = Reader(state)
    act = ACTIVATIONS[model["nonlinearity"]]
    plus = model["name"] == "ncsnpp"
    levels, blocks = len(model["ch_mult"]), model["num_res_blocks"]
    biggan = plus and model["resblock_type"] == "biggan"
    fir = plus and model["fir"]
    taps = model.get("fir_kernel", [1])
    p = len(taps) - 2
    rescale = 2**-0.5 if plus and model["skip_rescale"] else 1.0
    progressive = model["progressive"] if plus else "none"
    progressive_input = model["progressive_input"] if plus else "none"

    def norm(x: Tensor, w: dict[str, Tensor], name: str = "") -> Tensor:
        groups = min(x.shape[1] // 4, 32) if plus else 32
        return F.group_norm(x, groups, w[name + "weight"], w[name + "bias"], eps=1e-6)

    def conv(x: Tensor, w: dict[str, Tensor], name: str = "") -> Tensor:
        weight = w[name + "weight"]
        return F.conv2d(x, weight, w[name + "bias"], padding=weight.shape[-1] // 2)

    def nin(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
        return torch.einsum("bchw,cd->bdhw", x, w[name + "W"]) + w[name + "b"][:, None, None]

    def plain_up(x: Tensor) -> Tensor:
        if fir:
            return upfirdn(x, taps, 2, 1, ((p + 1) // 2 + 1, p // 2), 4.0)
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def plain_down(x: Tensor) -> Tensor:
        if fir:
            return upfirdn(x, taps, 1, 2, ((p + 1) // 2, p // 2), 1.0)
        return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4

    def conv_up(x: Tensor) -> Tensor:
        w = reader.next()
        if not fir:
            return conv(plain_up(x), w, "Conv_0.")
        b, c, height, width = x.shape
        stuffed = x.new_zeros(b, c, 2 * height - 1, 2 * width - 1)
        stuffed[:, :, ::2, ::2] = x
        h = F.conv2d(stuffed, w["Conv2d_0.weight"], padding=2)
        q = p - 2
        return upfirdn(h, taps, 1, 1, ((q + 1) // 2 + 1, q // 2 + 1), 4.0) + w["Conv2d_0.bias"][:, None, None]

    def conv_down(x: Tensor) -> Tensor:
        w = reader.next()
        if not fir:
            return F.conv2d(F.pad(x, (0, 1, 0, 1)), w["Conv_0.weight"], w["Conv_0.bias"], stride=2)
        q = p + 2
        h = upfirdn(x, taps, 1, 1, ((q + 1) // 2, q // 2), 1.0)
        return F.conv2d(h, w["Conv2d_0.weight"], w["Conv2d_0.bias"], stride=2)

    def residual(x: Tensor, resample: Any = None) -> Tensor:
        w = reader.next()
        h = act(norm(x, w, "GroupNorm_0."))
        if resample is not None:
            h, x = resample(h), resample(x)
        h = conv(h, w, "Conv_0.")
        if temb is not None:
            h = h + F.linear(act(temb), w["Dense_0.weight"], w["Dense_0.bias"])[:, :, None, None]
        h = conv(act(norm(h, w, "GroupNorm_1.")), w, "Conv_1.")
        if "Conv_2.weight" in w:
            x = conv(x, w, "Conv_2.")
        elif "NIN_0.W" in w:
            x = nin(x, w, "NIN_0.")
        return (x + h) * rescale

    def attention(x: Tensor) -> Tensor:
        w = reader.next()
        h = norm(x, w, "GroupNorm_0.")
        q, k, v = (nin(h, w, f"NIN_{i}.").flatten(2) for i in range(3))
        weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) / x.shape[1] ** 0.5, dim=-1)
        h = torch.einsum("bij,bcj->bci", weights, v).reshape(x.shape)
        return (x + nin(h, w, "NIN_3.")) * rescale

    def resample(x: Tensor, plain: Any, with_conv: Any) -> Tensor:
        if biggan:
            return residual(x, plain)
        if model["resamp_with_conv"]:
            return with_conv(x)
        reader.next()
        return plain(x)

    def attends(x: Tensor) -> bool:
        return x.shape[-1] in model["attn_resolutions"]

    temb: Tensor | None = None
    if plus and model["embedding_type"] == "fourier":
        phase = cond.log()[:, None] * reader.next()["W"] * 2 * torch.pi
        features = torch.cat([phase.sin(), phase.cos()], dim=1)
    else:
        half = model["nf"] // 2
        rates = torch.tensor([10000 ** (-i / (half - 1)) for i in range(half)], dtype=u.dtype)
        phase = cond.to(u.dtype)[:, None] * rates
        features = F.pad(torch.cat([phase.sin(), phase.cos()], dim=1), (0, model["nf"] % 2))
    if model["conditional"] or not plus:
        first, second = reader.next(), reader.next()
        hidden = act(F.linear(features, first["weight"], first["bias"]))
        temb = F.linear(hidden, second["weight"], second["bias"])

    pyramid = u
    skips = [conv(u, reader.next())]
    for level in range(levels):
        for _ in range(blocks):
            h = residual(skips[-1])
            skips.append(attention(h) if attends(h) else h)
        if level < levels - 1:
            h = resample(skips[-1], plain_down, conv_down)
            if progressive_input == "input_skip":
                pyramid = plain_down(pyramid)
                image = conv(pyramid, reader.next(), "Conv_0.")
                h = torch.cat([image, h], 1) if model["progressive_combine"] == "cat" else image + h
            elif progressive_input == "residual":
                pyramid = h = (conv_down(pyramid) + h) * rescale
            skips.append(h)

    h = residual(attention(residual(skips[-1])))

    for level in reversed(range(levels)):
        for _ in range(blocks + 1):
            h = residual(torch.cat([h, skips.pop()], 1))
        if attends(h):
            h = attention(h)
        coarsest = level == levels - 1
        if progressive == "output_skip" or (progressive == "residual" and coarsest):
            upsampled = 0.0 if coarsest else plain_up(pyramid)
            pyramid = upsampled + conv(act(norm(h, reader.next())), reader.next())
        elif progressive == "residual":
            pyramid = h = (conv_up(pyramid) + h) * rescale
        if level > 0:
            h = resample(h, plain_up, conv_up)

    if progressive != "output_skip":
        pyramid = conv(act(norm(h, reader.next())), reader.next())
    # >=: resampling layers without weights at the end are not in the state dict.
    assert reader.position >= len(reader.modules), f"{len(reader.modules) - reader.position} modules were not used"
    return pyramid
