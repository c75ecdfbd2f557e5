"""Graphs compiled by Inductor: a net, the loss of a training step, a sampler step. The slowest GPU tests."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor

from src.sde import VESDE
from tests.gpu.conftest import Record, alone
from tests.gpu.runs import config, distance, fit, on_cpu
from tests.gpu.test_samplers import compare, net_score
from tests.support.golden import relative


@pytest.fixture
def traced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace graphs and run them without Inductor.

    In a run of the whole suite they are not traced, because the shape checks make tracing slow;
    ``tests/lightning_modules/test_compiled.py`` traces in its own process.
    """
    torch.compiler.reset()
    compiled, here = torch.compile, alone(request.config)

    def trace(function: Any, *, mode: str | None = None, **settings: Any) -> Any:
        return compiled(function, **{**settings, "backend": "eager"}) if here else function

    monkeypatch.setattr(torch, "compile", trace)


@pytest.fixture
def quick_compiler(device: torch.device, request: pytest.FixtureRequest) -> None:
    """Inductor on a GPU; on the CPU, where Inductor is slow and tested elsewhere, ``traced``."""
    torch.compiler.reset()
    if device.type == "cpu":
        request.getfixturevalue("traced")


def test_compiled_net(device: torch.device, record: Record, quick_compiler: None) -> None:
    results = []
    for setting in ("false", "true"):
        torch.manual_seed(0)
        net = instantiate(config(f"net.compile={setting}").net, _convert_="all").to(device)
        x = torch.linspace(-1, 1, 128, device=device).view(2, 1, 8, 8)
        y: Tensor = net(x, torch.tensor([0.5, 2.0], device=device))
        y.square().sum().backward()
        results.append([y.detach(), *(p.grad for p in net.parameters())])
    (out, *expected), (compiled, *found) = results
    # Some gradients are zero up to rounding, such as those of the biases of keys in attention.
    least = 1e-3 * max(float(gradient.norm()) for gradient in expected)
    errors = [float((a - b).norm()) / max(float(b.norm()), least) for a, b in zip(found, expected, strict=True)]
    record(output=relative(compiled, out), worst_gradient=max(errors))
    assert relative(compiled, out) < 1e-4 and 0 <= max(errors) < 1e-2


def test_compiled_loss(device: torch.device, record: Record, traced: None) -> None:
    plain, compiled = fit(device), fit(device, "module.compile=true")
    losses = max(abs(float(a / b) - 1) for a, b in zip(compiled.losses, plain.losses, strict=True))
    weights = distance(compiled.weights(), plain.weights()) / distance(plain.weights(), plain.start)
    record(relative_error_of_losses=losses, weights_relative_to_their_change=weights)
    assert losses < 1e-4 and weights < 0.05


def test_compiled_loss_in_half_precision(device: torch.device, record: Record, quick_compiler: None) -> None:
    """The settings of ``trainer=gpu``, compared with float32 on the CPU."""
    settings = (
        "module.compile=true",
        "trainer.precision=bf16-mixed",
        "trainer.benchmark=true",
        "net.channels_last=true",
    )
    run, expected = fit(device, *settings), on_cpu()
    losses = max(abs(float(a / b) - 1) for a, b in zip(run.losses, expected.losses, strict=True))
    record(relative_error_of_losses=losses)
    assert losses < 0.05
    assert {value.dtype for value in run.everything().values()} == {torch.float32}


def test_inductor_compiles_steps_with_the_net(
    device: torch.device, record: Record, replays: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    if device.type == "cpu":
        # tests/sampling tests compilation on the CPU.
        monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    compare("pc", net_score(VESDE(), device), device, record, replays, 1e-3)
