"""The installed wheel in a fresh environment: train, sample, evaluate, report and the Python API."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.package.wheel import Installed, build_wheel

TINY = ("net.nf=8", "net.ch_mult=[1]", "net.num_res_blocks=1", "net.attn_resolutions=[]", "sampler.grid.steps=4")
API = """
from pathlib import Path
import numpy as np
import score_sde
from PIL import Image
model = score_sde.load("logs/digits")
made = [np.array(image) for image in model.to_pil(model.sample(4, seed=0))]
written = [np.array(Image.open(path)) for path in sorted(Path("out").rglob("images/**/*.png"))]
assert len(written) == 4 and all(map(np.array_equal, made, written))
assert model.score(model.sample(2), 0.5).isfinite().all()
assert score_sde.load("digits").sample(2, sampler="dpm_solver_sde", steps=5).isfinite().all()
print(score_sde.__file__)
"""


@pytest.mark.slow
def test_the_wheel_trains_samples_and_evaluates_from_an_empty_folder(tmp_path: Path) -> None:
    installed = Installed(tmp_path / "env", build_wheel(tmp_path / "wheel"))
    home = tmp_path / "empty"
    home.mkdir()
    train = ("experiment=digits", "trainer=cpu", "trainer.max_steps=3", "scheduler.steps=1", *TINY)
    installed.run("score-sde", "train", *train, "~callbacks.fid", "~callbacks.sample_images", cwd=home)
    installed.run("score-sde", "sample", "ckpt_path=last", "num_samples=4", "output_dir=out", "devices=2", cwd=home)
    installed.run("score-sde", "evaluate", "ckpt_path=last", "num_samples=100", "metrics=[frechet]", cwd=home)
    (report,) = home.glob("logs/digits/*/report.html")
    report.unlink()
    installed.run("score-sde", "report", "logs/digits", cwd=home)
    assert report.stat().st_size > 1_000_000
    assert str(installed.packages) in installed.run("python", "-c", API, cwd=home)
