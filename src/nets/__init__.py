"""Score networks: raw backbones that know neither an SDE nor a data range."""

from .base import ScoreNet
from .ddpm import DDPM
from .dit import DiT
from .mlp import MLP
from .ncsnpp import NCSNpp

__all__ = ["DDPM", "MLP", "DiT", "NCSNpp", "ScoreNet"]
