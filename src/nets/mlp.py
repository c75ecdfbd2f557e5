"""A time-conditioned perceptron for vectors: two-dimensional toys and latents."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from .base import ScoreNet
from .layers.basic import Linear, activation, check_depth
from .layers.embedding import NoiseEmbedding


class MLPBlock(nn.Module):
    """Residual layer h + W2 act(W1 act(h) + W_e emb)."""

    def __init__(self, width: int, emb_width: int, act: nn.Module) -> None:
        super().__init__()
        self.act = act
        self.dense1 = Linear(width, width)
        self.emb = Linear(emb_width, width)
        self.dense2 = Linear(width, width)

    def forward(self, h: Float[Tensor, "b w"], emb: Float[Tensor, "_ e"]) -> Float[Tensor, "b w"]:
        out: Tensor = h + self.dense2(self.act(self.dense1(self.act(h)) + self.emb(emb)))
        return out


class MLP(ScoreNet):
    """Residual perceptron.

    Args:
        dim: length d of the vectors.
        width: units of the hidden layers and of the embedding.
        depth: residual layers.
        embedding_type: fourier (of log c_noise, so c_noise is sigma) or positional (of c_noise itself).
        fourier_features: number of frequencies.
        fourier_scale: standard deviation of the frequencies; small, because scores of points vary slowly in log sigma.
        fourier_log: set to false for Fourier features of c_noise itself.
        nonlinearity: swish, elu, relu or lrelu.
        init_scale: scale of the initial weights of the output layer; 0 stands for 1e-10.
        num_classes: classes of the label ``cond["labels"]``, whose index ``num_classes`` means "no label".
        settings: ``compile``, ``channels_last``, ``checkpoint_activations`` of ``ScoreNet``.

    Raises:
        UserError: an unknown option, or an input of another length.
    """

    embedding: NoiseEmbedding

    def __init__(
        self,
        *,
        dim: int,
        width: int = 128,
        depth: int = 3,
        embedding_type: str = "fourier",
        fourier_features: int = 32,
        fourier_scale: float = 1.0,
        fourier_log: bool = True,
        nonlinearity: str = "swish",
        init_scale: float = 0.0,
        num_classes: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.dim = dim
        check_depth(depth, "depth")
        self.num_classes = num_classes
        self.act = act = activation(nonlinearity)
        self.embedding = NoiseEmbedding(
            fourier_features,
            width,
            embedding_type,
            act,
            fourier_scale=fourier_scale,
            fourier_log=fourier_log,
            num_classes=num_classes,
        )
        self.noise_scales = self.embedding.noise_scales
        self.input = Linear(dim, width)
        self.blocks = nn.ModuleList(MLPBlock(width, width, act) for _ in range(depth))
        self.output = Linear(width, dim, init_scale=init_scale)
        self.apply_settings()

    def forward(
        self, x: Float[Tensor, "b d"], c_noise: Tensor, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "b d"]:
        if x.shape[1] != self.dim:
            raise UserError(f"the net is built for vectors of length {self.dim}, got {x.shape[1]}")
        emb = self.embedding(c_noise, cond)
        h = self.input(x)
        for block in self.blocks:
            h = self.run(block, h, emb)
        out: Tensor = self.output(self.act(h))
        return out
