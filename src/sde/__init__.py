"""Forward processes, their reversal, the score model and what it is trained on."""

from .base import SDE, ReverseSDE, expand
from .cosine_vp import CosineVPSDE
from .edm import EDMSDE
from .flow import FlowSDE
from .score_model import ScoreModel, tweedie
from .subvp import SubVPSDE
from .ve import VESDE
from .vp import VPSDE

__all__ = [
    "EDMSDE",
    "SDE",
    "VESDE",
    "VPSDE",
    "CosineVPSDE",
    "FlowSDE",
    "ReverseSDE",
    "ScoreModel",
    "SubVPSDE",
    "expand",
    "tweedie",
]
