"""Devices, precision, and a file for measured figures."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import checks

# Needed for deterministic runs; cuBLAS reads it at its first call.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

RECORD = "SCORE_SDE_GPU_RECORD"
"""Environment variable with the file for measured figures: one JSON object per line is appended."""

Record = Callable[..., None]

_CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
)


def pytest_configure(config: pytest.Config) -> None:
    """Run only these tests without shape checks, as users do; the checks would break compiled graphs."""
    if alone(config):
        checks.uninstall()


def alone(config: pytest.Config) -> bool:
    """Return whether only tests of this folder run."""
    here = Path(__file__).parent
    paths = [(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args]
    return all(path.is_relative_to(here) for path in paths)


@pytest.fixture(params=["cpu", _CUDA])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device under test."""
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """Disable TF32, and restore global switches that a test changes."""
    # Not at the top: whether shapes are checked must be decided before src is imported.
    from src.runtime.precision import set_float32_precision

    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    set_float32_precision("highest")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    yield
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = convolution
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False


@pytest.fixture
def record(request: pytest.FixtureRequest, device: torch.device) -> Record:
    """``record(name=value, ...)``: append measured figures to the file named by SCORE_SDE_GPU_RECORD."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"

    def append(**figures: float | str) -> None:
        path = os.environ.get(RECORD)
        if path:
            # Opened for each line, so that a killed process loses no earlier line.
            with Path(path).open("a") as file:
                file.write(json.dumps({"case": request.node.name, "device": name, **figures}) + "\n")

    return append


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """List that grows by one for every replay of a CUDA graph."""
    counted: list[object] = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: (counted.append(graph), replay(graph))[1])
    torch.compiler.reset()
    return counted
