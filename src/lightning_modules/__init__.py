"""Lightning modules: training, validation and test of a batch."""

from .score_sde_module import ScoreSDEModule

__all__ = ["ScoreSDEModule"]
