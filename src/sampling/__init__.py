"""Numerical methods that turn a score into samples, latents and likelihoods."""

from .interpolation import slerp, temper
from .ode.flow import ProbabilityFlowODE
from .ode.likelihood import Likelihood, LikelihoodOutput, log_likelihood
from .output import SampleOutput, Sampler, SamplerStep
from .solvers.correctors import AnnealedLangevin, Langevin, NoCorrector
from .solvers.exponential.dpm_solver import DPMSolver
from .solvers.exponential.dpm_solver_sde import DPMSolverSDE
from .solvers.exponential.unipc import UniPC
from .solvers.heun import Heun
from .solvers.pc import PredictorCorrector
from .solvers.predictors import AncestralSampling, EulerMaruyama, NoPredictor, ReverseDiffusion
from .solvers.schedule import KarrasGrid, LinearGrid, LogSNRGrid, TimeGrid

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
    "SamplerStep",
    "TimeGrid",
    "UniPC",
    "log_likelihood",
    "slerp",
    "temper",
]
