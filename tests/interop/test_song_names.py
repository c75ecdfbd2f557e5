import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.interop.song.config import build_net, net_kwargs_from_song
from src.interop.song.names import from_song, song_weights, to_song
from src.nets import NCSNpp
from tests.interop.song_reference import reference
from tests.nets import goldens
from tests.support.golden import relative

BASE: dict[str, Any] = {
    "name": "ncsnpp",
    "nf": 8,
    "ch_mult": (1, 2, 2),
    "num_res_blocks": 1,
    "attn_resolutions": (8, 4),
    "dropout": 0.1,
    "resamp_with_conv": True,
    "nonlinearity": "swish",
    "resblock_type": "biggan",
    "fir": True,
    "fir_kernel": [1, 3, 3, 1],
    "skip_rescale": True,
    "progressive": "none",
    "progressive_input": "residual",
    "progressive_combine": "sum",
    "embedding_type": "fourier",
    "fourier_scale": 16,
    "conditional": True,
    "init_scale": 0.0,
}
PATHS = [
    {"resblock_type": block, "fir": fir, "progressive": out, "progressive_input": inp, "progressive_combine": combine}
    for block, fir, out, (inp, combine) in itertools.product(
        ("biggan", "ddpm"),
        (True, False),
        ("none", "output_skip", "residual"),
        (("none", "sum"), ("input_skip", "sum"), ("input_skip", "cat"), ("residual", "sum")),
    )
]
OPTIONS = [
    {"embedding_type": "positional"},
    {"embedding_type": "positional", "nf": 5, "ch_mult": (1, 1, 1)},
    {"conditional": False},
    {"conditional": False, "embedding_type": "positional", "resblock_type": "ddpm"},
    {"skip_rescale": False},
    {"nonlinearity": "elu"},
    {"nonlinearity": "relu"},
    {"nonlinearity": "lrelu"},
    {"resblock_type": "ddpm", "resamp_with_conv": False},
    {"resblock_type": "ddpm", "resamp_with_conv": False, "fir": False, "progressive": "output_skip"},
    {"num_res_blocks": 2, "ch_mult": (2, 1, 3)},
    {"attn_resolutions": ()},
    {"ch_mult": (2,), "attn_resolutions": (8,), "progressive": "output_skip", "progressive_input": "input_skip"},
    {"fir_kernel": [1, 1]},
    {"fir_kernel": [1, 2, 1], "progressive": "residual"},
    {"fir_kernel": [1, 2, 5], "progressive": "output_skip", "progressive_input": "input_skip"},
    {"fir_kernel": [1, 4, 6, 4, 1], "resblock_type": "ddpm"},
    {"fir_kernel": [3, 1, 1, 2, 5, 4], "progressive": "residual", "resblock_type": "ddpm"},
    {"name": "ddpm", "nf": 32, "ch_mult": (1, 2)},
    {"name": "ddpm", "nf": 32, "ch_mult": (1, 2), "resamp_with_conv": False, "num_res_blocks": 2},
]


def scrambled(net: NCSNpp) -> NCSNpp:
    """Return ``net`` in float64 with weights of order one, so that every tensor affects the output."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in net.double().eval().state_dict().items():
        if tensor.ndim > 1:
            tensor.normal_(std=(tensor[0].numel()) ** -0.5, generator=generator)
        elif "frequencies" not in name:
            tensor.uniform_(0.5, 1.5, generator=generator)
    return net


def noise_levels(model: dict[str, Any]) -> Tensor:
    fourier = model["embedding_type"] == "fourier"
    return torch.tensor([0.05, 7.5] if fourier else [3.3, 700.25], dtype=torch.float64)


@pytest.mark.parametrize("overrides", PATHS + OPTIONS, ids=str)
def test_net_matches_the_reference_implementation(overrides: dict[str, Any]) -> None:
    model = BASE | overrides
    net = scrambled(build_net({"model": model, "image_size": 8}))
    u = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    cond = noise_levels(model)
    with torch.no_grad():
        actual = net(u, cond)
    # Both run in float64 and differ only in the order of summation.
    assert relative(actual, reference(model, 8, to_song(net), u, cond)) < 1e-11


@pytest.mark.parametrize("name", goldens.CONFIGS)
def test_outputs_match_the_original_code(name: str) -> None:
    config = goldens.CONFIGS[name]
    state, case = goldens.load(name)
    net = build_net(config).eval()
    assert sum(parameter.numel() for parameter in net.parameters()) == config["params"]
    net.load_state_dict(from_song(net, state))
    with torch.no_grad():
        y = goldens.forward(net, name, state, case)
    # float32 rounding over about thirty layers, 2e-6 in practice.
    assert goldens.error(y, case["y"]) < 1e-5


@pytest.mark.parametrize("name", goldens.CONFIGS)
def test_round_trip_is_exact_and_keeps_the_order(name: str) -> None:
    state, _ = goldens.load(name)
    net = build_net(goldens.CONFIGS[name])
    net.load_state_dict(from_song(net, {f"module.{key}": tensor for key, tensor in state.items()}))
    back = to_song(net, sigmas=state["sigmas"])
    assert list(back) == list(state)
    assert all(torch.equal(back[key], state[key]) for key in state)
    assert list(to_song(net, prefix="module.")) == [f"module.{key}" for key in list(state)[1:]]


def test_averages_have_the_order_of_the_weights() -> None:
    net = build_net(goldens.CONFIGS["ncsnpp_ve_continuous"])
    weights = song_weights(net)
    assert [weight.theirs for weight in weights if not weight.trainable] == ["all_modules.0.W"]
    # The two checkpoint layouts of this net: 156 averages of trainable tensors, 157 with the frequencies.
    assert len(weights) == 157
    average = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    assert all(torch.equal(to_song(net, average)[w.theirs], to_song(net)[w.theirs] + 1) for w in weights)


def test_mismatched_tensors_are_listed() -> None:
    net = build_net({"model": BASE, "image_size": 8})
    state = to_song(net)
    missing = {key: tensor for key, tensor in state.items() if key != "all_modules.3.bias"}
    with pytest.raises(UserError, match=r"lacks all_modules\.3\.bias;"):
        from_song(net, missing)
    with pytest.raises(UserError, match=r"unknown all_modules\.99\.W;"):
        from_song(net, state | {"all_modules.99.W": torch.zeros(1)})
    with pytest.raises(UserError, match=r"all_modules\.0\.W \(9,\) instead of \(8,\)"):
        from_song(net, state | {"all_modules.0.W": torch.zeros(9)})
    deeper = build_net({"model": BASE | {"num_res_blocks": 2}, "image_size": 8})
    with pytest.raises(UserError, match=r"all_modules.* and \d+ more"):
        from_song(deeper, state)


def test_class_conditional_nets_cannot_be_exported() -> None:
    net = NCSNpp(image_size=8, nf=8, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), num_classes=10)
    with pytest.raises(UserError, match=r"cannot hold embedding\.label\.weight"):
        to_song(net)


def test_net_arguments_from_an_original_configuration() -> None:
    data = {"image_size": 16, "num_channels": 1}
    target, kwargs = net_kwargs_from_song({"model": BASE | {"attn_resolutions": (8, 64)}, "data": data})
    assert target == "src.nets.NCSNpp"
    assert (kwargs["image_size"], kwargs["in_channels"], kwargs["attn_resolutions"]) == (16, 1, [8])
    with pytest.raises(UserError, match=r"'ncsnv2' .* choose one of ncsnpp, ddpm"):
        net_kwargs_from_song({"model": {"name": "ncsnv2"}, "image_size": 8})
    with pytest.raises(UserError, match="lacks nf"):
        net_kwargs_from_song({"model": {k: v for k, v in BASE.items() if k != "nf"}, "image_size": 8})
