"""Forward processes, their reversal, the score model and what it is trained on."""

from src.sde.base import SDE, ReverseSDE, expand
from src.sde.edm import EDMSDE
from src.sde.flow import FlowSDE
from src.sde.score_model import ScoreModel, tweedie
from src.sde.subvp import SubVPSDE
from src.sde.ve import VESDE
from src.sde.vp import VPSDE

__all__ = ["EDMSDE", "SDE", "VESDE", "VPSDE", "FlowSDE", "ReverseSDE", "ScoreModel", "SubVPSDE", "expand", "tweedie"]
