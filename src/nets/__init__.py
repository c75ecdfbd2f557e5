"""Score networks: raw backbones that know neither an SDE nor a data range."""

from src.nets.base import ScoreNet
from src.nets.ddpm import DDPM
from src.nets.mlp import MLP
from src.nets.ncsnpp import NCSNpp

__all__ = ["DDPM", "MLP", "NCSNpp", "ScoreNet"]
