"""Embeddings of the noise level, of an interval of it, of class labels and of augmentation labels.

Fourier features (Tancik et al. 2020, random w ~ N(0, scale^2)): sin, cos of 2 pi w log(c_noise).
Positional features (Vaswani et al. 2017): sin, cos of c_noise 10000^(-i / (n - 1)), i = 0 .. n - 1.
"""

import math
from collections.abc import Mapping
from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import UserError
from .basic import Linear, autocast_device, choose

EMBEDDINGS = ("fourier", "positional")


class FourierFeatures(nn.Module):
    """Random Fourier features of the logarithm of a positive number, with fixed frequencies.

    Args:
        features: number of frequencies; the output has twice as many.
        scale: standard deviation of the frequencies.
        log_input: take the logarithm of the input (sigma) first.
    """

    def __init__(self, features: int, scale: float = 16.0, log_input: bool = True) -> None:
        super().__init__()
        if not scale > 0:
            raise UserError(f"net.fourier_scale={scale}: give a positive number")
        self.scale = scale
        self.log_input = log_input
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.empty(features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh frequencies."""
        nn.init.normal_(self.frequencies, std=self.scale)

    def forward(self, c_noise: Float[Tensor, " b"]) -> Float[Tensor, "b e"]:
        """(B,) to (B, 2 features), in the dtype of ``c_noise``."""
        level = c_noise.log() if self.log_input else c_noise
        # The order of the products follows the original: in float32 the phase of high frequencies depends on it.
        phase = level[:, None] * self.frequencies.to(level.dtype) * 2 * math.pi
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


class PositionalFeatures(nn.Module):
    """Sinusoidal features with periods from 2 pi to 2 pi 10000; ``features`` >= 4, an odd last one is zero."""

    def __init__(self, features: int, max_period: float = 10000.0) -> None:
        super().__init__()
        if features < 4:
            raise UserError(f"a positional embedding needs at least 4 features, got {features}; raise nf")
        self.features = features
        self.max_period = max_period

    def forward(self, c_noise: Float[Tensor, " b"]) -> Float[Tensor, "b e"]:
        """(B,) to (B, features), in the dtype of ``c_noise``."""
        half = self.features // 2
        index = torch.arange(half, dtype=c_noise.dtype, device=c_noise.device)
        phase = c_noise[:, None] * torch.exp(index * -(math.log(self.max_period) / (half - 1)))
        return F.pad(torch.cat([phase.sin(), phase.cos()], dim=-1), (0, self.features % 2))


def _noise_scales(kind: str, fourier_log: bool) -> tuple[str, ...]:
    """Accepted kinds of c_noise: a logarithm needs positive numbers; positional features resolve steps of about one."""
    if kind.lower() == "positional":
        return "log sigma", "time", "index"
    return ("sigma", "time") if fourier_log else ("sigma", "log sigma", "time", "index")


class NoiseEmbedding(nn.Module):
    """Features of c_noise through two dense layers, plus embeddings of class and augmentation labels.

    Args:
        features: base width of the features (nf).
        width: width E of the embedding.
        kind: fourier (2 ``features`` values) or positional (``features`` values).
        act: nonlinearity.
        fourier_scale: standard deviation of the Fourier frequencies.
        fourier_log: Fourier features of log(c_noise), for c_noise = sigma, rather than of c_noise itself.
        num_classes: number of classes; the table has one more row, for "no label".
        augment_dim: length of the augmentation label (Karras et al. 2022, appendix F.2).
    """

    def __init__(
        self,
        features: int,
        width: int,
        kind: str,
        act: nn.Module,
        *,
        fourier_scale: float = 16.0,
        fourier_log: bool = True,
        num_classes: int | None = None,
        augment_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.act = act
        self.width = width
        self.noise_scales = _noise_scales(kind, fourier_log)
        if num_classes is not None and num_classes < 0:
            raise UserError(f"num_classes={num_classes}: give the number of classes, or null for none")
        self.num_classes = num_classes
        self.augment_dim = augment_dim
        self.features: nn.Module
        if choose("embedding_type", kind, EMBEDDINGS) == "fourier":
            self.features = FourierFeatures(features, fourier_scale, fourier_log)
            self.dense1 = Linear(2 * features, width)
        else:
            self.features = PositionalFeatures(features)
            self.dense1 = Linear(features, width)
        self.dense2 = Linear(width, width)
        self.label = nn.Embedding(num_classes + 1, width) if num_classes is not None else None
        self.augment = Linear(augment_dim, width, bias=False) if augment_dim is not None else None
        self.interval: nn.Sequential | None = None

    def enable_interval(self) -> None:
        """Add the embedding of ``cond["interval"]``, of the same features; it is zero until training changes it.

        Raises:
            UserError: the features are of log(c_noise), and an interval may be zero.
        """
        if "log sigma" not in self.noise_scales:
            raise UserError(
                "the net embeds the logarithm of the noise level, but an interval may be zero: set "
                "net.fourier_log=false, or net.embedding_type=positional"
            )
        features = deepcopy(self.features)
        layers = Linear(self.dense1.in_features, self.width), self.act, Linear(self.width, self.width, init_scale=0.0)
        self.interval = nn.Sequential(features, *layers)

    def forward(self, c_noise: Tensor, cond: Mapping[str, Tensor] | None = None) -> Float[Tensor, "b e"]:
        """Compute the embedding, with the nonlinearity applied, as every block uses it.

        Args:
            c_noise: (), (1,) or (B,).
            cond: ``labels`` (B,) int64 in 0 .. num_classes, ``augment`` (B, augment_dim), ``interval`` like
                ``c_noise``; each may be absent.

        Returns:
            (B, E), or (1, E) if the embedding is the same for the whole batch.
        """
        cond = {} if cond is None else cond
        weight = self.dense1.weight
        # Half precision cannot resolve a phase: no autocast here; a float64 net computes in float64.
        with torch.autocast(autocast_device(weight), enabled=False):
            level = c_noise.reshape(-1).to(weight.device, torch.promote_types(weight.dtype, torch.float32))
            emb: Tensor = self.dense2(self.act(self.dense1(self.features(level).to(weight.dtype))))
            if self.interval is not None:
                interval = cond.get("interval")
                emb = emb + self.interval(
                    level.new_zeros(1) if interval is None else interval.reshape(-1).to(weight.device, level.dtype)
                )
            if self.label is not None and self.num_classes is not None:
                labels = cond.get("labels")
                emb = emb + self.label(
                    torch.full((1,), self.num_classes, device=emb.device) if labels is None else labels
                )
            if self.augment is not None and self.augment_dim is not None:
                augment = cond.get("augment")
                # Zeros, not an omitted term: DDP requires every parameter in every backward pass.
                emb = emb + self.augment(
                    emb.new_zeros(1, self.augment_dim) if augment is None else augment.to(emb.dtype)
                )
            activated: Tensor = self.act(emb)
            return activated
