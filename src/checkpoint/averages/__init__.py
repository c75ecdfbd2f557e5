"""Averages of weights: their decay during training, and averages of other lengths built after training."""

from .functions import Average, ExponentialAverage, HalfLifeAverage, PowerAverage

__all__ = ["Average", "ExponentialAverage", "HalfLifeAverage", "PowerAverage"]
