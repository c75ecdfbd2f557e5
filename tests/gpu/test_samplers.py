"""Every sampler in conf/sampler on the device: eager, captured in CUDA graphs, and without host waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from src.nets import NCSNpp
from src.noise import AddressedNoise
from src.sampling.output import SampleOutput, Sampler, SamplerStep
from src.sde import EDMSDE, SDE, VESDE, VPSDE, ScoreModel
from src.sde.parametrization import EDM, SongVE, SongVP
from src.sde.score_model import Model
from tests.gpu.conftest import Record
from tests.gpu.syncs import Watch
from tests.support.configs import build, names, read
from tests.support.gaussian import GaussianScore
from tests.support.golden import relative

STEPS = 7
"""Enough for first, middle and last steps of a third-order method; the middle steps replay one graph."""

COMPILABLE = [name for name in names("sampler") if "compile" in read("sampler", name)]
CPU = torch.device("cpu")
SUITED: dict[str, SDE] = {"pc_vp": VPSDE(), "euler_maruyama": VPSDE(), "ancestral": VPSDE(), "heun": EDMSDE()}
# For each SDE: the parametrization, and an embedding that fits its noise levels.
NETS: dict[type[SDE], tuple[Any, dict[str, Any]]] = {
    VESDE: (SongVE(), {"embedding_type": "fourier", "fourier_scale": 1.0}),
    VPSDE: (SongVP(), {"embedding_type": "positional"}),
    EDMSDE: (EDM(), {"embedding_type": "fourier", "fourier_scale": 1.0, "fourier_log": False}),
}


def sampler(name: str, **settings: object) -> Sampler:
    overrides: dict[str, Any] = (
        {"grid.steps": STEPS} if "grid" in read("sampler", name) else {"rtol": 1e-2, "atol": 1e-2}
    )
    built: Sampler = build("sampler", name, {**overrides, **settings})
    return built


def net_score(sde: SDE, device: torch.device) -> ScoreModel:
    parametrization, embedding = NETS[type(sde)]
    torch.manual_seed(0)
    net = NCSNpp(
        image_size=8,
        in_channels=1,
        nf=8,
        ch_mult=(1, 2),
        num_res_blocks=1,
        attn_resolutions=(4,),
        init_scale=1.0,
        **embedding,
    )
    return ScoreModel(net, sde, parametrization, "centered" if isinstance(sde, EDMSDE) else "unit").to(device).eval()


def sampled(
    sampler: Sampler, model: Model, index: Tensor, callback: Callable[[SamplerStep], None] | None = None
) -> SampleOutput:
    noise = AddressedNoise(3, index)
    x_init = model.sde.prior_sample(noise("prior", 0, torch.empty(len(index), 1, 8, 8, device=index.device)))
    return sampler(model, x_init, noise, callback=callback)


@pytest.mark.parametrize("name", names("sampler"))
def test_samples_match_the_cpu(device: torch.device, record: Record, name: str) -> None:
    sde = SUITED.get(name, VESDE())
    out = sampled(sampler(name), net_score(sde, device), torch.arange(4, device=device))
    # Another batch: samples do not depend on it.
    expected = sampled(sampler(name), net_score(sde, CPU), torch.arange(1, 3))
    assert out.samples.device.type == device.type
    error = relative(out.samples[1:3].cpu(), expected.samples)
    record(sampler=name, relative_error=error)
    assert error < 1e-3
    assert out.nfe.cpu()[1:3].tolist() == expected.nfe.tolist()


@pytest.mark.parametrize("name", COMPILABLE)
def test_captured_steps_match_eager_steps(
    device: torch.device, record: Record, name: str, replays: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # CUDA graphs without Inductor, which is slow; on the CPU nothing is compiled.
    compiled = torch.compile

    def capture(function: Any, mode: str, **settings: Any) -> Any:
        return compiled(function, backend="cudagraphs", **settings) if device.type == "cuda" else function

    monkeypatch.setattr(torch, "compile", capture)
    compare(name, GaussianScore(SUITED.get(name, VESDE())), device, record, replays, 1e-5)


def compare(
    name: str, model: Model, device: torch.device, record: Record, replays: list[object], tolerance: float
) -> None:
    """Assert that two runs of a compiled sampler equal a run without compiling."""
    index, compiled = torch.arange(4, device=device), sampler(name, compile=True)
    plain = sampled(sampler(name), model, index)
    runs = [sampled(compiled, model, index) for _ in range(2)]
    error = max(relative(run.samples, plain.samples) for run in runs)
    record(sampler=name, relative_error=error, replays=len(replays))
    assert error < tolerance
    assert all(run.nfe.tolist() == plain.nfe.tolist() for run in runs)
    if device.type == "cuda":
        # Of two times six steps, every graph runs once eagerly and once for recording.
        assert len(replays) >= 4


@pytest.mark.parametrize("name", COMPILABLE)
def test_steps_do_not_wait_for_the_device(device: torch.device, name: str) -> None:
    watch = Watch(device)

    def after(step: SamplerStep) -> None:
        # The first step copies the time table to the device; after the last step the NFE is read.
        watch.end()
        if 2 <= step.index < step.total:
            watch.begin()

    try:
        sampled(sampler(name), net_score(SUITED.get(name, VESDE()), device), torch.arange(4, device=device), after)
    finally:
        watch.end()
    assert watch.steps >= STEPS - 2
