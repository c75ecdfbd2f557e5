from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from src.errors import UserError
from src.nets import DDPM, NCSNpp
from src.nets.layers.attention import Attention
from src.nets.layers.blocks import ResBlock
from tests.support.pairwise import pairwise

TINY: dict[str, Any] = {
    "image_size": 8,
    "in_channels": 2,
    "nf": 8,
    "ch_mult": (1, 2),
    "num_res_blocks": 1,
    "attn_resolutions": (4,),
    "dropout": 0.0,
}
COMBINATIONS = [
    {
        "resblock_type": block,
        "fir": fir,
        "progressive": out,
        "progressive_input": inp,
        "progressive_combine": combine,
        "resamp_with_conv": with_conv,
        "conditional": conditional,
    }
    for (block, with_conv), fir, out, (inp, combine), conditional in pairwise(
        (("biggan", True), ("ddpm", True), ("ddpm", False)),
        (True, False),
        ("none", "output_skip", "residual"),
        (("none", "sum"), ("input_skip", "sum"), ("input_skip", "cat"), ("residual", "sum")),
        (True, False),
    )
]


def tiny(**overrides: Any) -> NCSNpp:
    """Build a small float64 net with init_scale 1, so that every layer affects the output."""
    torch.manual_seed(0)
    return NCSNpp(**{**TINY, "init_scale": 1.0, **overrides}).double()


def images(seed: int = 1, size: int = 8) -> Tensor:
    return torch.randn(3, 2, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


SIGMA = torch.tensor([0.02, 0.7, 40.0], dtype=torch.float64)


@pytest.mark.parametrize("overrides", COMBINATIONS, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_every_option_combination_gives_every_weight_a_gradient(overrides: dict[str, Any]) -> None:
    net = tiny(**overrides, ch_mult=(1, 2, 1), attn_resolutions=(8, 2))
    out = net(images(), SIGMA)
    out.square().sum().backward()
    assert out.shape == (3, 2, 8, 8) and out.isfinite().all()
    # DDP waits forever for a weight without a gradient.
    untouched = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # The key bias adds a constant to all softmax arguments, which has no effect.
    assert all(name.endswith("key.bias") for name in untouched)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_gradients() -> None:
    net = tiny(nf=4, image_size=4, ch_mult=(1, 1), attn_resolutions=(2,), fourier_scale=0.3)
    parameters = dict(net.named_parameters())
    sizes = [p.numel() for p in parameters.values()]

    def output(x: Tensor, sigma: Tensor, vector: Tensor) -> Tensor:
        pieces = zip(parameters.items(), vector.split(sizes), strict=True)
        return functional_call(net, {name: piece.view_as(p) for (name, p), piece in pieces}, (x, sigma))

    x, sigma = images(size=4)[:2].requires_grad_(), SIGMA[1:].clone().requires_grad_()
    vector = torch.cat([p.detach().flatten() for p in parameters.values()]).requires_grad_()
    assert torch.autograd.gradcheck(output, (x, sigma, vector), fast_mode=True)


@pytest.mark.parametrize("embedding_type", ["fourier", "positional"])
@pytest.mark.parametrize("resblock_type", ["biggan", "ddpm"])
def test_one_noise_level_for_the_batch_is_embedded_once(embedding_type: str, resblock_type: str) -> None:
    net = tiny(embedding_type=embedding_type, resblock_type=resblock_type)
    widths: list[int] = []
    for module in net.modules():
        if isinstance(module, ResBlock):
            module.emb.register_forward_hook(lambda _module, args, _out: widths.append(len(args[0])))
    level = torch.tensor(0.7, dtype=torch.float64)
    for shape in ((), (1,), (3,)):
        torch.testing.assert_close(net(images(), level.expand(shape)), net(images(), level), rtol=0, atol=1e-12)
    per_call = len(widths) // 6
    assert widths[: 2 * per_call] == [1] * (2 * per_call)
    assert widths[4 * per_call : 5 * per_call] == [3] * per_call
    # The checks above would also pass if the net ignored the level.
    assert (net(images(), level) - net(images(), 2 * level)).abs().max() > 1e-3


@pytest.mark.parametrize("setting", ["channels_last", "checkpoint_activations"])
@pytest.mark.parametrize("resblock_type", ["biggan", "ddpm"])
def test_memory_settings_keep_the_values(setting: str, resblock_type: str) -> None:
    results = []
    for value in (False, True):
        # Dropout draws its mask in memory order, so memory formats are compared without dropout.
        dropout = 0.3 if setting == "checkpoint_activations" else 0.0
        net = tiny(dropout=dropout, resblock_type=resblock_type, **{setting: value})
        assert net.input_conv.weight.is_contiguous(memory_format=torch.channels_last) == net.channels_last
        torch.manual_seed(2)
        out = net(images(), SIGMA)
        out.square().sum().backward()
        results.append([out, *(p.grad for p in net.parameters())])
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)


def test_checkpointing_saves_fewer_activations() -> None:
    kept = []
    for value in (False, True):
        net = tiny(checkpoint_activations=value)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            net(images(), SIGMA)
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


def test_compiling_keeps_the_parameter_names() -> None:
    plain, compiled = tiny(), tiny(compile=True)
    assert compiled._compiled_call_impl is not None and plain._compiled_call_impl is None
    assert list(compiled.state_dict()) == list(plain.state_dict())


def test_embedding_is_float32_under_autocast() -> None:
    net = tiny().float()
    sigma = SIGMA.float()
    expected = net.embedding(sigma)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net.embedding(sigma), expected)
        out = net(images().float(), sigma)
    torch.testing.assert_close(out.float(), net(images().float(), sigma), rtol=0.1, atol=0.1)


def test_noise_level_of_any_dtype() -> None:
    net = tiny(embedding_type="positional").float()
    index = torch.tensor([3, 500, 999])
    torch.testing.assert_close(net(images().float(), index), net(images().float(), index.double()), rtol=0, atol=0)


def test_class_labels_and_no_labels() -> None:
    net = tiny(num_classes=10)
    labels = torch.tensor([0, 9, 4])
    x = images()
    nothing = net(x, SIGMA)
    torch.testing.assert_close(net(x, SIGMA, {"labels": torch.full((3,), 10)}), nothing, rtol=0, atol=1e-12)
    some = net(x, SIGMA, {"labels": torch.tensor([0, 10, 4])})
    torch.testing.assert_close(some[1], nothing[1], rtol=0, atol=1e-12)
    difference = (net(x, SIGMA, {"labels": labels}) - nothing).flatten(1).abs().amax(1)
    assert (difference > 1e-3).all()
    # One level for the batch, several classes.
    torch.testing.assert_close(
        net(x, SIGMA[1], {"labels": labels}), net(x, SIGMA[1].expand(3), {"labels": labels}), rtol=0, atol=1e-12
    )
    assert torch.equal(tiny()(x, SIGMA, {"labels": labels}), tiny()(x, SIGMA))


def test_augmentation_labels_and_no_labels() -> None:
    net = tiny(augment_dim=9)
    x = images()
    zero, one = torch.zeros(3, 9), torch.eye(9)[:3]
    torch.testing.assert_close(net(x, SIGMA, {"augment": zero}), net(x, SIGMA), rtol=0, atol=1e-12)
    assert (net(x, SIGMA, {"augment": one}) - net(x, SIGMA)).abs().amax((1, 2, 3)).min() > 1e-3
    net(x, SIGMA).sum().backward()
    assert net.embedding.augment.weight.grad is not None


def test_initial_weights() -> None:
    torch.manual_seed(0)
    net = NCSNpp(image_size=8, nf=64, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), fourier_scale=16.0)

    def variance_times_fan(weight: Tensor) -> float:
        area = weight[0, 0].numel()
        return float(weight.detach().var() * area * (weight.shape[0] + weight.shape[1]) / 2)

    for name, module in net.named_modules():
        if isinstance(module, ResBlock):
            assert variance_times_fan(module.conv1.weight) == pytest.approx(1, rel=0.1), name
            assert variance_times_fan(module.conv2.weight) == pytest.approx(1e-10, rel=0.1), name
            assert variance_times_fan(module.emb.weight[:, :, None]) == pytest.approx(1, rel=0.1), name
            # Uniform on [-b, b]: the maximum is sqrt(3) standard deviations.
            assert float((module.conv1.weight.abs().max() / module.conv1.weight.std()).detach()) == pytest.approx(
                3**0.5, rel=0.02
            )
        elif isinstance(module, Attention):
            for layer in (module.query, module.key, module.value):
                assert variance_times_fan(layer.weight) == pytest.approx(0.1, rel=0.1), name
            assert variance_times_fan(module.proj.weight) == pytest.approx(1e-10, rel=0.1), name
    assert all(not p.any() for name, p in net.named_parameters() if name.endswith("bias"))
    assert float(net.embedding.features.frequencies.std()) == pytest.approx(16, rel=0.3)
    assert net(torch.randn(1, 3, 8, 8), torch.ones(())).abs().max() < 1e-3
    ddpm = tiny(resblock_type="ddpm")
    shortcuts = [m.shortcut.weight for m in ddpm.modules() if isinstance(m, ResBlock) and m.shortcut is not None]
    for weight in shortcuts:  # bound sqrt(3 * 0.1 / fan)
        assert weight.abs().max() <= (0.3 / ((weight.shape[0] + weight.shape[1]) / 2)) ** 0.5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"image_size": 9}, r"image_size=9 must be divisible by 2\^\(levels - 1\) = 2"),
        ({"image_size": 0}, "image_size=0"),
        ({"ch_mult": ()}, r"ch_mult=\[\]"),
        ({"attn_resolutions": (16,)}, r"no level is 16 pixels wide; the levels are \[8, 4\]"),
        ({"nf": 33}, "GroupNorm cannot divide 33 channels into 8 groups"),
        ({"nf": 2}, "GroupNorm cannot divide 2 channels"),
        ({"resblock_type": "resnet"}, "resblock_type='resnet' is unknown; choose one of ddpm, biggan"),
        ({"progressive": "input_skip"}, "choose one of none, output_skip, residual"),
        ({"progressive_input": "output_skip"}, "choose one of none, input_skip, residual"),
        ({"progressive_combine": "mean"}, "choose one of sum, cat"),
        ({"embedding_type": "learned"}, "choose one of fourier, positional"),
        ({"nonlinearity": "gelu"}, "choose one of swish, elu, relu, lrelu"),
        ({"ch_mult": (1,), "attn_resolutions": (), "progressive": "residual"}, "at least two levels"),
        ({"conditional": False, "num_classes": 10}, "conditional=true"),
        ({"fir_kernel": [1.0]}, "fir_kernel"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_arguments_give_one_line(overrides: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=message) as error:
        NCSNpp(**{**TINY, **overrides})
    assert "\n" not in str(error.value)


def test_wrong_image_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"shape \(2, 8, 8\), got \(2, 16, 16\)"):
        tiny()(images(size=16), SIGMA)


def test_ddpm_refuses_channels_not_divisible_by_its_groups() -> None:
    with pytest.raises(UserError, match="48 channels into 32 groups"):
        DDPM(image_size=8, nf=48, attn_resolutions=(4,), ch_mult=(1, 2))
