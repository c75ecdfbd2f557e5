"""Geometric augmentation: identity at p = 0, exact flips, labels that describe the transformation, training only."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from src.datamodules.augmentation.geometric import LABELS, GeometricAugmentation, _inverse, transformed
from src.datamodules.digits import DigitsDataModule
from src.errors import UserError
from src.noise import Address
from tests.conf.test_experiments import composed

MANY = Address(0, 3, torch.arange(20_000))


def label(**parts: float) -> Tensor:
    names = ("mirror", "flip", "scale", "cos", "sin", "b_cos", "b_sin", "x", "y")
    return torch.tensor([[parts.get(name, 0.0) for name in names]])


def smooth(size: int = 32, x0: float = 0.2, y0: float = -0.1) -> Tensor:
    """Return a blob of width 0.2 at (x0, y0), in coordinates from -1 to 1."""
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    return torch.exp(-((axis[None, :] - x0).square() + (axis[:, None] - y0).square()) / (2 * 0.2**2))[None, None]


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return center (2,) and covariance (2, 2) of an image's mass, in (x, y) from -1 to 1."""
    size = x.shape[-1]
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    places = torch.stack(torch.meshgrid(axis, axis, indexing="xy")).flatten(1)
    mass = x[0, 0].flatten() / x.sum()
    center = places @ mass
    away = places - center[:, None]
    return center, (away * mass) @ away.T


def test_probability_zero_is_the_identity() -> None:
    x = torch.rand(8, 3, 16, 16)
    out, labels = GeometricAugmentation(0.0, flip=False)(x, Address(0, 0, torch.arange(8)))
    assert torch.equal(out, x)
    assert labels.shape == (8, LABELS) and not labels.any()


def test_flips_are_exact() -> None:
    x = torch.rand(4, 3, 16, 16)
    labels = torch.cat([label(), label(mirror=1), label(flip=1), label(mirror=1, flip=1)])
    out = transformed(x, labels)
    assert torch.equal(out, torch.cat([x[:1], x[1:2].flip(3), x[2:3].flip(2), x[3:].flip(2, 3)]))
    assert torch.equal(transformed(out, labels), x)


def test_labels_describe_the_transformation() -> None:
    start = torch.tensor([0.2, -0.1])
    angle = math.pi / 2
    for given, center, spread in [
        (label(scale=1.0), start * 2**0.2, [0.2 * 2**0.2] * 2),
        (label(cos=math.cos(angle) - 1, sin=math.sin(angle)), torch.tensor([0.1, 0.2]), [0.2, 0.2]),
        (label(b_cos=1.0), torch.tensor([0.2 * 2**0.2, -0.1 / 2**0.2]), [0.2 * 2**0.2, 0.2 / 2**0.2]),
        (label(b_sin=-1.0), torch.tensor([0.2 / 2**0.2, -0.1 * 2**0.2]), [0.2 / 2**0.2, 0.2 * 2**0.2]),
        (label(x=1.0, y=-0.5), start + torch.tensor([0.25, -0.125]), [0.2, 0.2]),
    ]:
        found, covariance = moments(transformed(smooth(), given))
        torch.testing.assert_close(found, center, rtol=0, atol=0.01)
        torch.testing.assert_close(covariance.diagonal().sqrt(), torch.tensor(spread), rtol=0.05, atol=0)


def test_a_quarter_turn_is_exact_and_four_are_the_identity() -> None:
    x = torch.rand(1, 2, 16, 16)
    quarter = label(cos=-1.0, sin=1.0)
    out = transformed(x, quarter)
    # y points down, so a rotation from x toward y is clockwise.
    torch.testing.assert_close(out, x.rot90(-1, (2, 3)), rtol=0, atol=1e-4)
    for _ in range(3):
        out = transformed(out, quarter)
    torch.testing.assert_close(out, x, rtol=0, atol=1e-3)


def test_probability_and_spread_of_every_transformation() -> None:
    labels = GeometricAugmentation(0.12).draw(MANY)
    share = (labels != 0).double().mean(0)
    expected = torch.tensor([0.5, 0.06, *[0.12] * 7], dtype=torch.float64)
    torch.testing.assert_close(share, expected, rtol=0, atol=0.012)
    scale = labels[:, 2][labels[:, 2] != 0]
    assert float(scale.std()) == pytest.approx(1, abs=0.05)
    turned = labels[labels[:, 4] != 0]
    torch.testing.assert_close((turned[:, 3] + 1).square() + turned[:, 4].square(), torch.ones(len(turned)))
    # Transformations are independent: four at once are rare.
    together = (labels[:, [2, 4, 5, 7]] != 0).all(1).double().mean()
    assert float(together) < 0.002


def test_the_closed_form_inverts_the_product_of_all_transformations() -> None:
    drawn = GeometricAugmentation(0.7).draw(Address(0, 0, torch.arange(200))).double()
    entries = torch.stack(_inverse(drawn), 1)
    _, _, a, cos, sin, b_cos, b_sin, x, y = drawn.unbind(1)
    rotation = torch.stack([cos + 1, -sin, sin, cos + 1], 1).reshape(-1, 2, 2)
    # The stretch is the exponential of a symmetric matrix with b at twice the angle phi.
    b, phi = torch.hypot(b_cos, b_sin), torch.atan2(b_sin, b_cos)
    generator = torch.stack([(2 * phi).cos(), (2 * phi).sin(), (2 * phi).sin(), -(2 * phi).cos()], 1).reshape(-1, 2, 2)
    strength = 0.2 * math.log(2)
    stretch = torch.matrix_exp(strength * b[:, None, None] * generator)
    forward = stretch @ rotation * (strength * a).exp()[:, None, None]
    matrix, source = entries[:, :4].reshape(-1, 2, 2), entries[:, 4:, None]
    torch.testing.assert_close(matrix @ forward, torch.eye(2).double().expand(200, 2, 2), rtol=0, atol=1e-6)
    # The source of the center pixel is the point that is shifted to the center.
    torch.testing.assert_close(forward @ source, -0.25 * torch.stack([x, y], 1)[..., None], rtol=0, atol=1e-6)


def test_untransformed_images_of_a_batch_keep_their_pixels() -> None:
    x = torch.rand(64, 3, 8, 8)
    out, labels = GeometricAugmentation(0.12, flip=False)(x, Address(0, 0, torch.arange(64)))
    untouched = ~labels.any(1)
    assert 0 < int(untouched.sum()) < 64
    assert torch.equal(out[untouched], x[untouched])
    moved = labels[:, 2:].any(1)
    for i in moved.nonzero().flatten().tolist():
        torch.testing.assert_close(transformed(x[i : i + 1], labels[i : i + 1])[0], out[i], rtol=0, atol=1e-5)
        assert not torch.equal(out[i], x[i])


def test_draws_depend_on_the_address_only() -> None:
    augmentation, some = GeometricAugmentation(0.5), torch.tensor([7, 123, 5])
    assert torch.equal(augmentation.draw(Address(0, 3, some)), augmentation.draw(MANY)[some])
    assert not torch.equal(augmentation.draw(Address(0, 4, some)), augmentation.draw(Address(0, 3, some)))


def test_the_datamodule_augments_only_in_training() -> None:
    data = DigitsDataModule(augmentation=GeometricAugmentation(0.5))
    data.setup()
    batch = next(iter(data.train_dataloader()))
    plain = DigitsDataModule().on_after_batch_transfer(dict(batch), 0)
    seen = data.on_after_batch_transfer(dict(batch), 0)
    torch.testing.assert_close(seen["x"], transformed(plain["x"], seen["augment"]))
    assert seen["augment"].shape == (len(seen["x"]), LABELS) and seen["augment"].any()
    (evaluation, *_) = list(data.val_dataloader())
    assert "augment" not in data.on_after_batch_transfer(evaluation, 0)


def test_cifar10_edm_passes_augmentation_labels_to_the_net() -> None:
    cfg = composed("experiment=cifar10_edm")
    assert cfg.datamodule.augmentation.p == 0.12
    assert cfg.net.augment_dim == LABELS
    # The augmentation's flips have a label; flips of the datamodule would not.
    assert not cfg.datamodule.random_flip


def test_invalid_probabilities_are_refused() -> None:
    with pytest.raises(UserError, match="augmentation"):
        GeometricAugmentation(1.2)
