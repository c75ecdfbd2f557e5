"""Numerical methods that turn a score into samples, latents and likelihoods."""

from src.sampling.correctors import AnnealedLangevin, Langevin, NoCorrector
from src.sampling.interpolation import slerp, temper
from src.sampling.likelihood import Likelihood, LikelihoodOutput, dequantise, log_likelihood
from src.sampling.ode import ProbabilityFlowODE
from src.sampling.output import SampleOutput, Sampler, Step
from src.sampling.pc import PredictorCorrector
from src.sampling.predictors import AncestralSampling, EulerMaruyama, NoPredictor, ReverseDiffusion
from src.sampling.schedule import KarrasGrid, LinearGrid, LogSNRGrid, TimeGrid

__all__ = [
    "AncestralSampling",
    "AnnealedLangevin",
    "EulerMaruyama",
    "KarrasGrid",
    "Langevin",
    "Likelihood",
    "LikelihoodOutput",
    "LinearGrid",
    "LogSNRGrid",
    "NoCorrector",
    "NoPredictor",
    "PredictorCorrector",
    "ProbabilityFlowODE",
    "ReverseDiffusion",
    "SampleOutput",
    "Sampler",
    "Step",
    "TimeGrid",
    "dequantise",
    "log_likelihood",
    "slerp",
    "temper",
]
