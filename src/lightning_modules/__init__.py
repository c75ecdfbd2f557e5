"""Lightning modules: what happens to a batch in training, validation and test."""

from .score_sde_module import ScoreSDEModule

__all__ = ["ScoreSDEModule"]
