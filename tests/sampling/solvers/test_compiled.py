"""Samplers with a compiled step give the same samples as without."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from src.noise import AddressedNoise
from src.sampling import LogSNRGrid, SampleOutput
from src.sampling.solvers.exponential.multistep import integrate
from src.sampling.solvers.run import SolverRun
from src.sampling.solvers.times import TimeTable
from src.sde import VPSDE
from tests.reliability.support.entry import Started
from tests.sampling.solvers.test_sampler_configs import SUITED, VESDE
from tests.support.configs import build, names, read
from tests.support.gaussian import GaussianScore

COMPILABLE = [name for name in names("sampler") if "compile" in read("sampler", name)]
STEPS = 9


def sampled(name: str, **settings: object) -> SampleOutput:
    sde, index = SUITED.get(name, VESDE()), torch.arange(5)
    overrides = {"grid.steps": STEPS, "trajectory_frames": STEPS, **settings}
    noise = AddressedNoise(3, index)
    x_init = sde.prior_sample(noise("prior", 0, torch.empty(5, 7)))
    output: SampleOutput = build("sampler", name, overrides)(GaussianScore(sde), x_init, noise, control=pull)
    return output


def pull(x: Tensor, x_mean: Tensor, t: Tensor, z: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """A control that draws noise, so that its noise addresses are tested too."""
    return x + 0.1 * z(), x_mean


@pytest.mark.parametrize(
    ("name", "corrector_first"),
    [
        (name, order)
        for name in COMPILABLE
        for order in ((True, False) if "corrector_first" in read("sampler", name) else (None,))
    ],
)
def test_compiled_steps_give_the_same_samples(
    name: str, corrector_first: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch.compile replaced by the identity: all values must be equal.
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    settings: dict[str, Any] = {} if corrector_first is None else {"corrector_first": corrector_first}
    if "s_churn" in read("sampler", name):
        settings["s_churn"] = 4.0
    plain, compiled = sampled(name, **settings), sampled(name, compile=True, **settings)
    torch.testing.assert_close(compiled.samples, plain.samples, rtol=0, atol=0)
    torch.testing.assert_close(compiled.trajectory, plain.trajectory, rtol=0, atol=0)
    assert compiled.nfe.tolist() == plain.nfe.tolist()


@pytest.mark.timeout(900)
@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILABLE)
def test_compiled(name: str, tmp_path: Path) -> None:
    # In its own process: the shape checks of the test session break graphs.
    file = tmp_path / "samples.pt"
    ended = Started(["tests.sampling.solvers.test_compiled", name, str(file)], tmp_path).wait()
    assert ended.code == 0, ended.err[-2000:]
    plain, compiled, graphs = torch.load(file, weights_only=True)
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)
    # Graphs for first, middle and last steps, not one per step.
    assert graphs < STEPS - 1


def test_multistep_graphs_use_one_device(tmp_path: Path) -> None:
    # One CPU tensor in a GPU graph would prevent CUDA graphs.
    ended = Started(["tests.sampling.solvers.test_compiled"], tmp_path).wait()
    assert ended.code == 0, ended.err[-2000:]
    assert ended.out.split() == ["meta"]


def devices_of_a_multistep_graph() -> set[str]:
    """Return the devices in the graph of a third-order step with all its arguments on the device ``meta``."""
    from torch._dynamo.backends.common import aot_autograd

    found = set()

    def look(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        values = [node.meta.get("val") for node in graph.graph.nodes]
        found.update(value.device.type for value in values if isinstance(value, Tensor))
        return graph.forward

    sde = VPSDE()
    table = TimeTable.of(sde, LogSNRGrid(6)(sde)).to(torch.device("meta"))
    data = {j: torch.ones(2, 3, device="meta") for j in range(4)}

    def step(table: TimeTable, data: dict[int, Tensor], x: Tensor) -> Tensor:
        return integrate(SolverRun(GaussianScore(sde), table, AddressedNoise(0, index), data=data), x, 2, [2, 1, 0, 3])

    index = torch.arange(2)
    torch.compile(step, backend=aot_autograd(fw_compiler=look), fullgraph=True)(table, data, data[0])
    return found


if __name__ == "__main__" and len(sys.argv) == 1:
    sys.stdout.write(" ".join(devices_of_a_multistep_graph()))
elif __name__ == "__main__":
    from torch._dynamo.utils import counters

    torch.save(
        (sampled(sys.argv[1]).samples, sampled(sys.argv[1], compile=True).samples, counters["stats"]["unique_graphs"]),
        sys.argv[2],
    )
