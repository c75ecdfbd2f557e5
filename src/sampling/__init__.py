"""Numerical methods that turn a score into samples, latents and likelihoods."""

from src.sampling.correctors import AnnealedLangevin, Langevin, NoCorrector
from src.sampling.dpm_solver import DPMSolver
from src.sampling.dpm_solver_sde import DPMSolverSDE
from src.sampling.heun import Heun
from src.sampling.interpolation import slerp, temper
from src.sampling.likelihood import Likelihood, LikelihoodOutput, dequantise, log_likelihood
from src.sampling.ode import ProbabilityFlowODE
from src.sampling.output import SampleOutput, Sampler, Step
from src.sampling.pc import PredictorCorrector
from src.sampling.predictors import AncestralSampling, EulerMaruyama, NoPredictor, ReverseDiffusion
from src.sampling.schedule import KarrasGrid, LinearGrid, LogSNRGrid, TimeGrid
from src.sampling.unipc import UniPC

__all__ = [
    "AncestralSampling",
    "AnnealedLangevin",
    "DPMSolver",
    "DPMSolverSDE",
    "EulerMaruyama",
    "Heun",
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
    "UniPC",
    "dequantise",
    "log_likelihood",
    "slerp",
    "temper",
]
