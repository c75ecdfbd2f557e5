"""Checkpoints of older versions, which name classes by their former modules."""

from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from src.checkpoint.legacy import _CLASSES, _MOVED, upgrade_node
from src.metrics import MetricSuite

ROOT = Path(__file__).parents[2]

CLASSES = [
    ("src.sampling.pc.PredictorCorrector", "src.sampling.solvers.pc.PredictorCorrector"),
    ("src.sampling.schedule.LinearGrid", "src.sampling.solvers.schedule.LinearGrid"),
    ("src.sampling.bits_per_dim.BitsPerDim", "src.sampling.ode.bits_per_dim.BitsPerDim"),
    ("src.sampling.ode.ProbabilityFlowODE", "src.sampling.ode.flow.ProbabilityFlowODE"),
    ("src.sampling.control.Inpainting", "src.sampling.conditioning.control.Inpainting"),
    ("src.sampling.ode.flow.ProbabilityFlowODE", "src.sampling.ode.flow.ProbabilityFlowODE"),
    ("src.metrics.Frechet", "src.metrics.FrechetDistance"),
    ("src.metrics.FrechetDistance", "src.metrics.FrechetDistance"),
    ("src.callbacks.averages.PowerAverage", "src.checkpoint.averages.PowerAverage"),
    ("src.sampling.dpm_solver.DPMSolver", "src.sampling.solvers.exponential.dpm_solver.DPMSolver"),
    ("src.sampling.solvers.unipc.UniPC", "src.sampling.solvers.exponential.unipc.UniPC"),
    ("src.sde.stf.StableTargetField", "src.sde.objectives.stf.StableTargetField"),
    ("src.sde.classifier_objective.NoisyClassification", "src.sde.objectives.classification.NoisyClassification"),
    ("src.sde.objectives.ScoreMatching", "src.sde.objectives.ScoreMatching"),
    ("src.callbacks.fid.FID", "src.callbacks.monitors.fid.FID"),
    ("src.sde.ve.VESDE", "src.sde.ve.VESDE"),
]


@pytest.mark.parametrize(("old", "new"), CLASSES)
def test_moved_classes_are_renamed_at_any_depth(old: str, new: str) -> None:
    updated = upgrade_node({"a": [{"_target_": old, "b": {"_target_": old}}], "text": old})
    assert updated == {"a": [{"_target_": new, "b": {"_target_": new}}], "text": old}
    assert get_class(new)


def test_no_present_name_is_in_the_table_of_old_names() -> None:
    assert not any(new.startswith(old) for new in _MOVED.values() for old in _MOVED)
    assert not set(_CLASSES) & set(_CLASSES.values())


@pytest.mark.parametrize(("word", "switch"), [("corrector_first", True), ("predictor_first", False)])
def test_renamed_settings_of_a_class_keep_their_meaning(word: str, switch: bool) -> None:
    sampler = {"_target_": "src.sampling.pc.PredictorCorrector", "order": word, "denoise": True}
    assert upgrade_node(sampler) == {
        "_target_": "src.sampling.solvers.pc.PredictorCorrector",
        "corrector_first": switch,
        "denoise": True,
    }
    # ``order`` has another meaning in other classes.
    multistep = {"_target_": "src.sampling.solvers.exponential.dpm_solver.DPMSolver", "order": 2}
    assert upgrade_node(multistep) == multistep
    bits = {"_target_": "src.sampling.bits_per_dim.BitsPerDim", "dequantise": False}
    assert upgrade_node(bits) == {"_target_": "src.sampling.ode.bits_per_dim.BitsPerDim", "dequantize": False}


def test_joined_extractors_are_converted() -> None:
    """Metric of a quickstart checkpoint from the release before metrics were torchmetrics."""

    def of(part: str, name: str, **settings: object) -> dict[str, object]:
        metric = {"_target_": f"src.metrics.{name}", **settings}
        return {"_target_": "src.metrics.OfPart", "part": part, "metric": metric}

    old = {
        "_target_": "src.metrics.MetricSuite",
        "extractor": {
            "_target_": "src.metrics.JoinedFeatures",
            "parts": {
                "digits": {"_target_": "src.metrics.DigitFeatures", "weights_path": None},
                "pixel": {"_target_": "src.metrics.PixelFeatures", "shape": [1, 8, 8]},
            },
        },
        "metrics": {
            "frechet_pixel": of("pixel", "Frechet"),
            "frechet": of("digits", "Frechet"),
            "kid": of("digits", "KernelDistance", subsets=20, subset_size=500, seed=0),
            "classifier": of("digits", "ClassifierReport", confidence=0.9, presence=0.01),
            "precision_recall": of("digits", "PrecisionRecall", neighbours=3, batch=1024),
        },
        "cache_dir": "data/statistics",
        "statistics_path": None,
    }
    present = upgrade_node({"metric": old, "callbacks": {"fid": {"suite": old}}})
    assert present["callbacks"]["fid"]["suite"] == present["metric"]
    now = OmegaConf.load(ROOT / "conf" / "metric" / "digits.yaml")
    del now.metrics.density_coverage  # added later
    assert present["metric"] == OmegaConf.to_container(now)
    assert isinstance(instantiate(present["metric"], _convert_="all"), MetricSuite)
