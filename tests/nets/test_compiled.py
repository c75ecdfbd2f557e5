"""The compiled forward pass: number of graphs, and the same values as without compiling."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from src.errors import UserError
from src.nets import NCSNpp
from src.nets.compiled import CompiledForward, compile_mode
from src.nets.layers.resample import FIRUp, double_by_slices, filter_by_slices
from src.runtime.compilation import GRAPHS, many_graphs
from tests.reliability.support.entry import Started

BATCHES = (16, 16, 25, 7, 12)


def forward(x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
    out = x * c_noise.view(-1, 1)
    return out if cond is None else out + cond["labels"].view(-1, 1)


def arguments(batch: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    return torch.randn(batch, 3), torch.rand(batch), {"labels": torch.arange(batch), "shared": torch.zeros(())}


def test_smaller_batches_are_padded_and_reuse_graphs() -> None:
    graphs = CompileCounter()
    compiled = CompiledForward(forward, backend=graphs)
    with torch.no_grad():
        for batch in BATCHES:
            x, c_noise, cond = arguments(batch)
            assert torch.equal(compiled(x, c_noise, cond), forward(x, c_noise, cond))
    assert graphs.frame_count == 2, "one graph for 16, one for 25"


def test_one_noise_level_per_batch_without_labels() -> None:
    compiled = CompiledForward(forward, backend="eager")
    for batch in (4, 3, 1):
        x, level = torch.randn(batch, 3), torch.tensor([0.5])
        assert torch.equal(compiled(x, level), forward(x, level))


def test_training_batches_are_not_padded_to_larger_validation_batches() -> None:
    sizes: list[int] = []

    def counted(x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        return forward(x, c_noise, cond)

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        sizes.append(max(len(value) for value in inputs if isinstance(value, Tensor)))
        return graph.forward

    compiled = CompiledForward(counted, backend=backend)

    def step(batch: int, recording: bool) -> Tensor:
        x, c_noise, cond = arguments(batch)
        with torch.set_grad_enabled(recording):
            return compiled(x.requires_grad_(recording), c_noise, cond)

    step(32, False)  # validation before training
    step(16, True)
    step(9, True)
    step(9, False)
    step(16, False)
    assert sizes == [32, 16, 16]


def test_padding_does_not_reach_the_gradients() -> None:
    compiled = CompiledForward(forward, backend="eager")
    compiled(*arguments(8))
    x, c_noise, cond = arguments(5)
    ours, theirs = c_noise.clone().requires_grad_(), c_noise.clone().requires_grad_()
    compiled(x, ours, cond).square().sum().backward()
    forward(x, theirs, cond).square().sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


def test_too_many_graphs_raise_an_error() -> None:
    compiled = torch.compile(lambda x: x + 1, backend="eager", dynamic=False)
    with many_graphs():
        for size in range(2, GRAPHS + 2):
            compiled(torch.zeros(size))
        with pytest.raises(Exception, match=r"recompile_limit|cache_limit"):
            compiled(torch.zeros(GRAPHS + 2))


@pytest.mark.parametrize(
    ("setting", "mode"), [(False, None), (None, None), (True, "default"), ("reduce-overhead", "reduce-overhead")]
)
def test_compile_settings(setting: bool | str | None, mode: str | None) -> None:
    assert compile_mode(setting) == mode


@pytest.mark.parametrize("setting", ["fast", "true", ""])
def test_unknown_settings_are_refused(setting: Any) -> None:
    with pytest.raises(UserError, match="give true, false or one of default"):
        compile_mode(setting)


def test_a_net_under_torch_compile(tmp_path: Path) -> None:
    # In its own process: the shape checks of the test session break graphs.
    ended = Started(["tests.nets.test_compiled"], tmp_path).wait()
    assert ended.code == 0, ended.err[-2000:]
    found = json.loads(ended.out)
    # Graphs: two batch sizes without gradients, and one with gradients.
    assert found == {"graphs": 3, "error": 0.0, "breaks": 0, "in_autocast": "torch.bfloat16", "slices": 1}


def main() -> dict[str, Any]:
    """Count the graphs of a whole net and compare its output."""
    torch.manual_seed(0)
    net = NCSNpp(
        image_size=8, in_channels=2, nf=8, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), init_scale=1.0
    ).eval()
    graphs = CompileCounter()
    compiled = CompiledForward(net._call_impl, backend=graphs)
    error = 0.0
    with torch.no_grad():
        for batch in BATCHES:
            x, c_noise = torch.randn(batch, 2, 8, 8), torch.rand(batch) + 0.1
            error = max(error, float((compiled(x, c_noise) - net(x, c_noise)).abs().max()))
    compiled(x, c_noise).sum().backward()

    net._compiled_call_impl = compiled
    larger = CompileCounter()
    torch.compile(lambda x: net(x, c_noise).square().mean(), backend=larger, fullgraph=True)(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = torch.compile(net._call_impl, backend=larger, fullgraph=True)(x, c_noise)
    fir, slices = FIRUp([1.0, 3.0, 3.0, 1.0]), CompileCounter()
    torch.compile(
        lambda x: double_by_slices(filter_by_slices(x, fir.taps, 2, 1), fir.taps), backend=slices, fullgraph=True
    )(x)
    return {
        "graphs": graphs.frame_count,
        "error": error,
        "breaks": larger.frame_count - 2,
        "in_autocast": str(out.dtype),
        "slices": slices.frame_count,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main()))
