"""The GPU code that Inductor generates for a training loss, without a GPU: one graph, and kernels that compile."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.generated_kernels import build_driver

ROOT = Path(__file__).parents[2]
NET = ["experiment=digits", "sde.prior_mean=0.0", "net.nf=16", "net.num_res_blocks=1", "net.ch_mult=[1,2]"]


@pytest.mark.slow
@pytest.mark.skipif(torch.version.cuda is None, reason="a build of torch without CUDA")
@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, tests/gpu runs the code itself")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_loss_is_one_graph_of_kernels_that_compile(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.generated_kernels", *NET],
        cwd=ROOT,
        env={**os.environ, **build_driver(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["graphs"] == 2, "one forward and one backward graph"
    assert figures["kernels"] > 50 and not figures["failed"]
    # FIR filters are fused, not grouped convolutions.
    assert figures["groups"] == ["1"]
