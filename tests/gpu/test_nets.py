"""Nets of the original code on the device: outputs in every precision, and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from src.interop.song.config import build_net
from src.interop.song.names import from_song
from src.nets import NCSNpp
from src.runtime.precision import set_float32_precision
from tests.gpu.conftest import Record
from tests.nets import goldens

# Products are rounded to 11 bits (TF32) and 8 bits (bfloat16): loose bounds; the errors are recorded.
BOUNDS = {"float32": 1e-4, "tf32": 2e-2, "bf16": 0.2}


def golden(name: str) -> tuple[NCSNpp, dict[str, Tensor], dict[str, Tensor]]:
    """Return the net, the state it was loaded from, and x, cond and y."""
    state, case = goldens.load(name)
    net = build_net(goldens.CONFIGS[name])
    assert isinstance(net, NCSNpp)
    net.load_state_dict(from_song(net, state))
    return net.eval(), state, case


def on(device: torch.device, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", goldens.CONFIGS)
def test_outputs_match_the_original_code(
    device: torch.device, record: Record, name: str, precision: str, channels_last: bool
) -> None:
    net, state, case = golden(name)
    net.to(device)
    net.channels_last = channels_last
    net.apply_settings()
    set_float32_precision("high" if precision == "tf32" else "highest")
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        out = goldens.forward(net, name, state, on(device, case)).float().cpu()
    error = goldens.error(out, case["y"])
    record(net=name, precision=precision, relative_error=error)
    assert error <= BOUNDS[precision]


@pytest.mark.parametrize("name", goldens.CONFIGS)
def test_gradients_match_float64_on_the_cpu(device: torch.device, record: Record, name: str) -> None:
    net, state, case = golden(name)
    found = _gradients(net.to(device), name, state, on(device, case))
    expected = _gradients(net.to("cpu", torch.float64), name, state, case | {"x": case["x"].double()})
    length = sum(float(value.square().sum()) for value in expected.values()) ** 0.5
    error = sum(float((found[key] - expected[key]).square().sum()) for key in expected) ** 0.5 / length
    record(net=name, gradient_error=error)
    assert error <= 1e-4


def _gradients(net: NCSNpp, name: str, state: dict[str, Tensor], case: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return gradients of the mean squared output, as float64 on the CPU."""
    net.zero_grad()
    goldens.forward(net, name, state, case).square().mean().backward()
    return {name: p.grad.double().cpu() for name, p in net.named_parameters() if p.grad is not None}
