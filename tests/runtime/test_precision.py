"""One setting for both precision switches of torch, and full precision inside ``full_precision``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from src.errors import UserError
from src.metrics import PixelFeatures
from src.runtime.precision import full_precision, set_float32_precision, widest_float
from src.tasks.devices import launch


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = switches()
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def switches() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("precision", "tf32"), [("highest", False), ("high", True), ("medium", True)])
def test_products_and_convolutions_follow_one_setting(precision: str, tf32: bool) -> None:
    set_float32_precision(precision)
    assert switches() == (precision, tf32)
    # torch raises here if old and new ways of setting precision are mixed.
    assert torch.backends.cuda.matmul.allow_tf32 is tf32


@pytest.mark.parametrize(("precision", "tf32"), [("highest", False), ("high", True)])
def test_sampling_and_evaluation_apply_the_setting(precision: str, tf32: bool) -> None:
    set_float32_precision("high" if precision == "highest" else "highest")
    launch("cpu", 1, "32-true", precision)
    assert switches() == (precision, tf32)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(UserError, match="float32_matmul_precision=low: choose one of highest, high, medium"):
        set_float32_precision("low")


def test_full_precision_is_restored_after_an_error() -> None:
    set_float32_precision("high")
    with pytest.raises(ZeroDivisionError), torch.autocast("cpu", torch.bfloat16), full_precision("cpu"):
        assert switches() == ("highest", False)
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        _ = 1 / 0
    assert switches() == ("high", True)


def test_features_are_computed_in_full_precision() -> None:
    seen = []

    class Looking(PixelFeatures):
        def features(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(switches())
            return super().features(images)

    set_float32_precision("high")
    Looking((1, 4, 4))(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    assert seen == [("highest", False)]
    assert switches() == ("high", True)


def test_devices_without_float64_use_float32() -> None:
    assert widest_float(torch.device("mps")) == torch.float32
    assert widest_float(torch.device("cpu")) == widest_float(torch.device("cuda")) == torch.float64
