"""Devices, precision, and a file for the figures that the cases measure."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import checks

# cuBLAS reads this once, before its first call; deterministic runs need it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

RECORD = "SCORE_SDE_GPU_RECORD"
"""Environment variable: the file to which measured figures are appended, one JSON object a line."""

Record = Callable[..., None]

_CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
)


def pytest_configure(config: pytest.Config) -> None:
    """Alone, these cases run the code as users do: the checks of shapes would cut compiled graphs into pieces."""
    if alone(config):
        checks.uninstall()


def alone(config: pytest.Config) -> bool:
    """Whether nothing but these cases runs."""
    here = Path(__file__).parent
    paths = [(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args]
    return all(path.is_relative_to(here) for path in paths)


@pytest.fixture(params=["cpu", _CUDA])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device under test."""
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """No TF32, and every global switch that a case turns comes back."""
    # Not at the top, where it would be imported before it is known whether shapes are checked.
    from src.precision import set_float32_precision

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
    """``record(name=value, ...)``: append measured figures to the file that SCORE_SDE_GPU_RECORD names."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"

    def append(**figures: float | str) -> None:
        path = os.environ.get(RECORD)
        if path:
            # Opened and closed for each line: a killed process leaves all lines before it.
            with Path(path).open("a") as file:
                file.write(json.dumps({"case": request.node.name, "device": name, **figures}) + "\n")

    return append


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with every replay of a CUDA graph."""
    counted: list[object] = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: (counted.append(graph), replay(graph))[1])
    torch.compiler.reset()
    return counted
