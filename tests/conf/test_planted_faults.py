"""A planted fault in a new net, sampler or SDE makes the tests over conf fail; the correct file passes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import copy_of_project

NET = '''"""A net that is an embedding of the noise level."""

from torch import nn

from .base import ScoreNet
from .layers.embedding import NoiseEmbedding


class {name}(ScoreNet):
    """Scales by a function of the noise level."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.embedding = NoiseEmbedding(8, 1, "fourier", nn.SiLU(), fourier_scale=1.0, fourier_log=False)
        self.noise_scales = self.embedding.noise_scales
        self.apply_settings()

    def forward(self, x, c_noise, cond=None):
        {fault}
        return x * (1 + self.embedding(c_noise, cond).reshape(-1, *(1,) * (x.ndim - 1)))
'''
SAMPLER = '''"""DDIM under another name."""

from .exponential.ddim import DDIM


class {name}(DDIM):
    """DDIM."""

    @property
    def convergence_order(self):
        return {fault}
'''
SDE = '''"""The variance-preserving process under another name."""

from dataclasses import dataclass

from .vp import VPSDE


@dataclass(frozen=True)
class {name}(VPSDE):
    """VP."""

    def diffusion_squared(self, t):
        return {fault} * self.beta(t)
'''
GRID = "grid:\n  _target_: src.sampling.solvers.schedule.LogSNRGrid\n  steps: 50\n  eps: 1.0e-3\n"
SETTINGS = "compile: false\nchannels_last: false\ncheckpoint_activations: false\n"
KINDS = {
    "net": (NET, "src/nets", SETTINGS, "pass", "raise RuntimeError('planted')"),
    "sampler": (SAMPLER, "src/sampling/solvers", GRID, "1", "2"),
    "sde": (SDE, "src/sde", "T: 1.0\nbeta_min: 0.1\nbeta_max: 20.0\n", "1.0", "1.1"),
}
TESTS = {
    "net": "tests/nets/test_every_net.py",
    "sampler": "tests/sampling/solvers/test_every_sampler.py",
    "sde": "tests/sde/test_every_sde.py",
}


def plant(project: Path, kind: str, file: str, fault: str) -> None:
    """Write one code file and one yaml file."""
    code, folder, settings, *_ = KINDS[kind]
    name = file.title().replace("_", "")
    (project / folder / f"{file}.py").write_text(code.format(name=name, fault=fault), encoding="utf-8")
    target = f"_target_: {folder.replace('/', '.')}.{file}.{name}\n"
    (project / "conf" / kind / f"{file}.yaml").write_text(target + settings, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_suite_fails_for_faulty_files_only(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    for kind, (*_, sound, fault) in KINDS.items():
        plant(project, kind, f"sound_{kind}", sound)
        plant(project, kind, f"faulty_{kind}", fault)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        *TESTS.values(),
        "-k",
        "sound_ or faulty_",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    outcomes = re.findall(
        r"^(\S+)::(\w+)\[\S*?((?:sound|faulty)_\w+?)(?:-\S+)?\] (PASSED|FAILED|SKIPPED)", done.stdout, re.M
    )
    failed = {(path, file) for path, _, file, outcome in outcomes if outcome == "FAILED"}
    assert failed == {(path, f"faulty_{kind}") for kind, path in TESTS.items()}, done.stdout[-3000:]
    passed = {(path, file) for path, _, file, outcome in outcomes if outcome == "PASSED"}
    assert {(path, f"sound_{kind}") for kind, path in TESTS.items()} <= passed
