"""The Python API: a trained model from a checkpoint or a run, with the functions that the commands use.

    from score_sde import load                  # in a checkout: from src import load

    model = load("digits")                      # comes with the package; or a checkpoint, a run, organization/name
    images = model.sample(16, seed=0)           # (16, 1, 8, 8) floats in the range of the data
    model.to_pil(images)[0].save("digit.png")

Sample i of a seed is the image i that ``sample.py`` writes for this checkpoint, seed and settings.
"""

from .model import LoadedModel, load

__all__ = ["LoadedModel", "load"]
