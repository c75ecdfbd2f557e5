"""What training minimizes."""

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
    "PaperWeighting",
    "ScoreMatching",
    "StableTargetField",
    "VelocityWeighting",
    "Weighting",
]
