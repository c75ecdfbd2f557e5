"""Properties of every net in conf/net, built small."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from src.config.build import build
from src.errors import UserError
from src.nets import ScoreNet
from src.sde import VESDE, ScoreModel
from src.sde.parametrization import SongVE
from tests.support.configs import CONF, names

SMALL = {
    "nf": 32,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [4],
    "width": 32,
    "depth": 2,
    "heads": 2,
    "dropout": 0.0,
    "init_scale": 1.0,
    "compile": False,
    "channels_last": False,
}
CLASSES = 3


@functools.cache
def options_of(name: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base=None):
        data = [f"+datamodule.{key}={value}" for key, value in {"image_size": 8, "channels": 3, "dim": 6}.items()]
        options: dict[str, Any] = OmegaConf.to_container(compose(f"net/{name}", overrides=data), resolve=True)["net"]
    return options


def net(name: str, **settings: Any) -> ScoreNet:
    options = options_of(name)
    torch.manual_seed(0)
    made = build(options | {key: value for key, value in (SMALL | settings).items() if key in options})
    assert isinstance(made, ScoreNet)
    with torch.no_grad():
        # Layers initialized to zero would hide the layers before them.
        for parameter in made.parameters():
            if parameter.abs().max() < 1e-3:
                parameter.normal_(std=0.1)
    return made.eval()


def batch(made: ScoreNet, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    shape = made.image_shape or (6,)
    draw = torch.Generator().manual_seed(1)
    # Values in (0, 1) suit every embedding.
    return torch.randn(4, *shape, generator=draw).to(dtype), torch.tensor([0.9, 0.1, 0.5, 0.3], dtype=dtype)


@pytest.mark.parametrize("name", names("net"))
def test_output_shape_and_gradients_of_all_parameters(name: str) -> None:
    made = net(name)
    x, level = batch(made)
    out = made(x, level)
    assert out.shape == x.shape and out.dtype == x.dtype and out.isfinite().all()
    out.square().sum().backward()
    without = [key for key, p in made.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert all(p.grad.isfinite().all() for p in made.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", names("net"))
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    made = net(name)
    x, level = batch(made, torch.float64)
    made = made.double()
    together = made(x, level)
    for i in range(len(x)):
        torch.testing.assert_close(made(x[i : i + 1], level[i : i + 1])[0], together[i], rtol=0, atol=1e-10)
    torch.testing.assert_close(made(x, level[0]), made(x, level[:1].expand(len(x))), rtol=0, atol=1e-10)
    if made.noise_scales is not None:
        assert not torch.allclose(made(x, level[0]), made(x, level[1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", names("net"))
def test_class_labels_change_the_output(name: str) -> None:
    made = net(name, num_classes=CLASSES)
    x, level = batch(made)
    ScoreModel(made, VESDE(), SongVE()).check_labels(x.shape[1:])
    if made.num_classes is None:
        return
    assert made.num_classes == CLASSES
    first, second, none = (made(x, level, {"labels": torch.full((4,), label)}) for label in (0, 1, CLASSES))
    assert not torch.allclose(first, second, rtol=0, atol=1e-6)
    torch.testing.assert_close(none, made(x, level))
    made.num_classes = None
    with pytest.raises(UserError, match="declares no classes"):
        ScoreModel(made, VESDE(), SongVE()).check_labels(x.shape[1:])


@pytest.mark.parametrize("name", names("net"))
def test_memory_format_and_recomputation_keep_the_values(name: str) -> None:
    plain = net(name).double().train()
    other = net(name, channels_last=True, checkpoint_activations=True).double().train()
    other.load_state_dict(plain.state_dict())
    x, level = batch(plain, torch.float64)
    for made in (plain, other):
        made(x, level).square().sum().backward()
    torch.testing.assert_close(plain(x, level), other(x, level), rtol=0, atol=1e-10)
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", names("net"))
def test_forward_mode_derivative_with_an_interval(name: str) -> None:
    """In training mode, where memory-saving functions without forward-mode rules are used."""
    made = net(name, fourier_log=False)
    if "log sigma" not in made.noise_scales:
        with pytest.raises(UserError, match="embeds the logarithm"):
            made.enable_interval()
        return
    made.enable_interval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    made = made.double().train()
    x, level = batch(made, torch.float64)
    along, step = torch.cos(3 * x), 1e-6

    def moved(by: Tensor) -> Tensor:
        return made(x + by * along, level + by, {"interval": level / 2 + by})

    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        _, slope = torch.func.jvp(moved, (torch.zeros(()).double(),), (torch.ones(()).double(),))
        forth, back = (moved(torch.tensor(by).double()) for by in (step, -step))
        assert not torch.allclose(made(x, level), made(x, level, {"interval": level / 2}), rtol=0, atol=1e-6)
    torch.testing.assert_close(slope, (forth - back) / (2 * step), rtol=1e-4, atol=1e-5)
