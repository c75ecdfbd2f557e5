import pytest
import torch

from src.data_range import to_uint8
from src.datamodules.transforms import dequantize, flip, flip_decisions, to_model

BYTES = torch.arange(256, dtype=torch.uint8)


def test_the_ranges_map_their_ends_and_middle():
    ends = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert to_model(ends, "unit").tolist() == pytest.approx([0, 0.2, 1])
    assert to_model(ends, "centered").tolist() == pytest.approx([-1, -0.6, 1])


@pytest.mark.parametrize("data_range", ["unit", "centered"])
def test_rounding_inverts_the_scaling_of_every_byte(data_range):
    assert torch.equal(to_uint8(to_model(BYTES, data_range), data_range), BYTES)


def test_round_and_truncate_differ_by_the_fraction():
    x = torch.tensor([10.2, 10.6, 10.9, -3.0, 300.0]) / 255
    assert to_uint8(x, "unit", "round").tolist() == [10, 11, 11, 0, 255]
    assert to_uint8(x, "unit", "truncate").tolist() == [10, 10, 10, 0, 255]
    assert to_uint8(2 * x - 1, "centered", "round").tolist() == [10, 11, 11, 0, 255]
    # As in Karras et al. 2022: (127.5 x + 128) clipped and cut.
    y = torch.linspace(-1.1, 1.1, 997)
    assert torch.equal(to_uint8(y, "centered"), (y * 127.5 + 128).clip(0, 255).to(torch.uint8))
    with pytest.raises(Exception, match="floor"):
        to_uint8(x, "unit", "floor")


def test_dequantised_bytes_tile_the_range():
    u = torch.tensor([0.0, 0.25, 0.999])
    for data_range, low, width in (("unit", 0.0, 1.0), ("centered", -1.0, 2.0)):
        for byte in (0, 100, 255):
            x = dequantize(torch.full((3,), byte, dtype=torch.uint8), data_range, u)
            assert torch.allclose(x, low + width * (byte + u) / 256, atol=1e-7)
            assert torch.equal(((x - low) / width * 256).floor(), torch.full((3,), float(byte)))


def test_flip_mirrors_the_chosen_images_only():
    x = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mirrored = torch.tensor([True, False, False, True, False])
    y = flip(x, mirrored)
    for i in range(5):
        assert torch.equal(y[i], x[i].flip(-1) if mirrored[i] else x[i])


def test_flip_decisions_are_fair_and_depend_on_seed_and_epoch():
    a = flip_decisions(0, 0, 10000, torch.device("cpu"))
    assert abs(a.float().mean().item() - 0.5) < 0.02
    for b in (flip_decisions(0, 1, 10000, torch.device("cpu")), flip_decisions(1, 0, 10000, torch.device("cpu"))):
        assert abs((a == b).float().mean().item() - 0.5) < 0.02
    assert torch.equal(flip_decisions(0, 0, 100, torch.device("cpu")), a[:100])
