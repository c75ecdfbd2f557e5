import torch

from src.datamodules.augmentation.flips import flip, flip_decisions


def test_flip_mirrors_only_the_chosen_images():
    x = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mirrored = torch.tensor([True, False, False, True, False])
    y = flip(x, mirrored)
    for i in range(5):
        assert torch.equal(y[i], x[i].flip(-1) if mirrored[i] else x[i])


def test_flip_decisions_have_probability_half_and_depend_on_seed_and_epoch():
    a = flip_decisions(0, 0, 10000, torch.device("cpu"))
    assert abs(a.float().mean().item() - 0.5) < 0.02
    for b in (flip_decisions(0, 1, 10000, torch.device("cpu")), flip_decisions(1, 0, 10000, torch.device("cpu"))):
        assert abs((a == b).float().mean().item() - 0.5) < 0.02
    assert torch.equal(flip_decisions(0, 0, 100, torch.device("cpu")), a[:100])
