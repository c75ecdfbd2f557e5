"""Checkpoints of older versions name classes by the modules they were in then."""

import pytest
from hydra.utils import get_class

from src.checkpoint.older import _MOVED, up_to_date

CLASSES = [
    ("src.sampling.pc.PredictorCorrector", "src.sampling.solvers.pc.PredictorCorrector"),
    ("src.sampling.schedule.LinearGrid", "src.sampling.solvers.schedule.LinearGrid"),
    ("src.sampling.bits_per_dim.BitsPerDim", "src.sampling.ode.bits_per_dim.BitsPerDim"),
    ("src.sampling.ode.ProbabilityFlowODE", "src.sampling.ode.flow.ProbabilityFlowODE"),
    ("src.sampling.control.Inpainting", "src.sampling.conditioning.control.Inpainting"),
    ("src.sampling.ode.flow.ProbabilityFlowODE", "src.sampling.ode.flow.ProbabilityFlowODE"),
    ("src.sde.ve.VESDE", "src.sde.ve.VESDE"),
]


@pytest.mark.parametrize(("old", "new"), CLASSES)
def test_moved_class_is_found_at_any_depth(old: str, new: str) -> None:
    updated = up_to_date({"a": [{"_target_": old, "b": {"_target_": old}}], "text": old})
    assert updated == {"a": [{"_target_": new, "b": {"_target_": new}}], "text": old}
    assert get_class(new)


def test_no_present_name_counts_as_old() -> None:
    assert not any(new.startswith(old) for new in _MOVED.values() for old in _MOVED)


@pytest.mark.parametrize(("word", "switch"), [("corrector_first", True), ("predictor_first", False)])
def test_renamed_settings_of_a_class_keep_their_meaning(word: str, switch: bool) -> None:
    sampler = {"_target_": "src.sampling.pc.PredictorCorrector", "order": word, "denoise": True}
    assert up_to_date(sampler) == {
        "_target_": "src.sampling.solvers.pc.PredictorCorrector",
        "corrector_first": switch,
        "denoise": True,
    }
    # The same word is something else for another class.
    multistep = {"_target_": "src.sampling.solvers.dpm_solver.DPMSolver", "order": 2}
    assert up_to_date(multistep) == multistep
    bits = {"_target_": "src.sampling.bits_per_dim.BitsPerDim", "dequantise": False}
    assert up_to_date(bits) == {"_target_": "src.sampling.ode.bits_per_dim.BitsPerDim", "dequantize": False}
