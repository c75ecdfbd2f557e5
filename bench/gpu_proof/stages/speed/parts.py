"""Parts of a training step except convolutions, one by one in eager mode: noise, FIR filters, Adam, averages."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.gpu_proof.clock import allow_tf32, per_call
from bench.gpu_proof.setup import RecordRow, Setup, value_of
from bench.gpu_proof.stages.speed.steps import net
from bench.rows import row
from src.nets.layers import resample
from src.noise import AddressedNoise


def prepare(setup: Setup, record_row: RecordRow) -> Callable[[], None]:
    """Measure milliseconds per step of each part."""
    made = net(setup)

    def measure() -> None:
        allow_tf32(True)
        section = f"Parts of a step, {setup.net}, batch {setup.batch}, eager"
        seconds = 0.05 if setup.small else 0.5
        model = made.to(setup.device).train()
        parameters = list(model.parameters())
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        like = torch.empty(setup.batch, 3, 32, 32, device=setup.device)
        noise = AddressedNoise(0, torch.arange(setup.batch, device=setup.device))
        optimizer = torch.optim.Adam(parameters, fused=True)
        shadow = [parameter.detach().clone() for parameter in parameters]
        weights = [parameter.detach() for parameter in parameters]
        parts: dict[str, Callable[[], object]] = {
            "addressed noise of the images": lambda: noise("loss", 0, like),
            "torch.randn of the images": lambda: torch.randn_like(like),
            "fused Adam": optimizer.step,
            "one average of the weights": lambda: torch._foreach_lerp_(shadow, weights, 1e-3),
            "FIR filters, forward and backward, bf16": _filters(model, like, setup),
        }
        for name, run in parts.items():
            record_row(row(section, name, per_call(run, seconds).scaled(1e3), "ms"))
        for how, bare in (
            ("eager", "ours, bf16, channels_last"),
            ("compiled", "ours, bf16, channels_last, compiled net"),
        ):
            whole = value_of(setup.record, f"train.py's step, {how}, a step")
            alone = value_of(setup.record, f"train, {bare}, a call")
            if whole is not None and alone is not None:
                record_row(row(section, f"train.py's step less the bare one, {how}", whole - alone, "ms"))

    return measure


def _filters(model: nn.Module, like: Tensor, setup: Setup) -> Callable[[], None]:
    """Return a function that runs all resampling layers of a forward pass on their inputs, with backward passes."""
    met: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, _: met.append((layer, inputs[0].detach())))
        for layer in model.modules()
        if type(layer).__module__ == resample.__name__
    ]
    with torch.autocast(setup.device, torch.bfloat16):
        model(like, torch.ones(len(like), device=like.device))
    for hook in hooks:
        hook.remove()

    def run() -> None:
        for layer, x in met:
            x = x.to(torch.bfloat16).requires_grad_()
            with torch.autocast(setup.device, torch.bfloat16):
                y = layer(x)
            y.backward(torch.ones_like(y))

    return run
