"""The compared nets and a training step of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.utils.flop_counter import FlopCounterMode

from bench.speed.textbook import textbook
from src.config.location import CONFIG_DIR

Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Variant:
    """A net with all settings that affect its speed.

    Attributes:
        build: returns the net on the CPU in training mode; call it with a batch (B, C, H, W) and noise levels (B,) or
            ().
        optimizer: returns the optimizer of its training step.
        autocast: precision of the products.
        tf32: whether float32 products may run in TF32.
        channels_last: memory format of the input.
    """

    build: Callable[[], nn.Module]
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    autocast: torch.dtype | None = None
    tf32: bool = False
    channels_last: bool = False

    def precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context for calls of the net."""
        return nullcontext() if self.autocast is None else torch.autocast(device.type, self.autocast)


class Diffusers(nn.Module):
    """UNet2DModel of Hugging Face diffusers in its NCSN++ configuration, as wide and deep as our CIFAR-10 net.

    It combines images with the input and output pyramids by 1x1 convolutions of three channels (``input_skip`` and
    ``output_skip``); the CIFAR-10 net of the paper has a residual input pyramid.
    """

    def __init__(self) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        plain_down, plain_up = "SkipDownBlock2D", "SkipUpBlock2D"
        self.net = UNet2DModel(
            sample_size=32,
            block_out_channels=(128, 256, 256, 256),
            layers_per_block=4,
            down_block_types=(plain_down, "AttnSkipDownBlock2D", plain_down, plain_down),
            up_block_types=(plain_up, plain_up, "AttnSkipUpBlock2D", plain_up),
            time_embedding_type="fourier",
            center_input_sample=True,
            attention_head_dim=None,
            mid_block_scale_factor=2**0.5,
            norm_num_groups=None,
            norm_eps=1e-6,
            dropout=0.1,
        )

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Includes the division by sigma."""
        out: Tensor = self.net(x, sigma, return_dict=False)[0]
        return out


def cifar_net(**settings: bool) -> nn.Module:
    """Return NCSN++ of CIFAR-10 as in ``conf/net/ncsnpp.yaml``, with performance ``settings``."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", overrides=[f"net.{name}={value}" for name, value in settings.items()])
    net: nn.Module = instantiate(cfg.net, _convert_="all")
    return net


def configured_adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return Adam as in ``conf/optimizer/adam.yaml``."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train")
    optimizer: Optimizer = instantiate(cfg.optimizer, _convert_="all")(parameters)
    return optimizer


def _library_adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    return Adam(parameters, lr=2e-4)


def variants() -> dict[str, Variant]:
    """Return the variants compared on a CPU, in float32."""
    ours: Callable[..., Variant] = partial(Variant, optimizer=configured_adam)
    return {
        "textbook": Variant(lambda: textbook(cifar_net()), _library_adam),
        "diffusers": Variant(Diffusers, _library_adam),
        "ours": ours(cifar_net),
        "ours, channels_last": ours(partial(cifar_net, channels_last=True), channels_last=True),
        "ours, checkpoint_activations": ours(partial(cifar_net, checkpoint_activations=True)),
        "ours, compiled": ours(partial(cifar_net, compile=True)),
    }


class Step:
    """Training steps on one batch: denoising score matching, backward pass, clipping, Adam.

    Args:
        variant: the net.
        batch: images per step.
        device: device of the step.
    """

    def __init__(self, variant: Variant, batch: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.variant = variant
        self.device = device
        self.net = variant.build().to(device).train()
        self.parameters = list(self.net.parameters())
        self.optimizer: Optimizer | None = None
        generator = torch.Generator().manual_seed(0)
        self.x = torch.rand(batch, 3, 32, 32, generator=generator).to(device)
        self.noise = torch.randn(batch, 3, 32, 32, generator=generator).to(device)
        self.sigma = (0.01 * 5000 ** torch.rand(batch, generator=generator)).to(device)
        if variant.channels_last:
            self.x = self.x.contiguous(memory_format=torch.channels_last)

    def forward(self) -> Tensor:
        """Run the net without gradients, in evaluation mode."""
        self.net.eval()
        with torch.inference_mode(), self.variant.precision(self.device):
            out: Tensor = self.net(self.x, self.sigma)
        return out

    def train(self) -> None:
        """Run a whole training step."""
        if self.optimizer is None:
            self.optimizer = self.variant.optimizer(self.parameters)
        self.net.train()
        self.optimizer.zero_grad()
        self.loss().backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()

    def loss(self) -> Tensor:
        """Return |sigma score + z|^2, with the net's output as sigma times the score."""
        noisy = self.x + self.sigma[:, None, None, None] * self.noise
        with self.variant.precision(self.device):
            out = self.net(noisy, self.sigma)
        return (out.float() + self.noise).square().sum() / (2 * len(self.x))

    def flops_per_image(self) -> dict[str, float]:
        """Return floating-point operations of the products in a forward pass and in a training step."""
        counts = {}
        for what, run in (("forward", self.forward), ("train", lambda: self.loss().backward())):
            with FlopCounterMode(display=False) as counter:
                run()
            counts[what] = counter.get_total_flops() / len(self.x)
        return counts
