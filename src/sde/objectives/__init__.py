"""What training minimizes."""

from .base import Objective
from .classification import NoisyClassification
from .consistency import ConsistencyTuning
from .mean_flow import MeanFlow
from .score_matching import (
    EDMWeighting,
    LikelihoodWeighting,
    PaperWeighting,
    ScoreMatching,
    VelocityWeighting,
    Weighting,
)
from .stf import StableTargetField

__all__ = [
    "ConsistencyTuning",
    "EDMWeighting",
    "LikelihoodWeighting",
    "MeanFlow",
    "NoisyClassification",
    "Objective",
    "PaperWeighting",
    "ScoreMatching",
    "StableTargetField",
    "VelocityWeighting",
    "Weighting",
]
