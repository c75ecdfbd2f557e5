import hashlib

import pytest
import torch

from src.errors import UserError
from src.noise import permutation, uniform
from tests.datamodules.support.memory import MemoryDataModule


def first_batch(module, loader="train_dataloader"):
    return module.on_after_batch_transfer(next(iter(getattr(module, loader)())), 0)


def test_a_batch_contains_the_images_and_labels_of_its_index():
    module = MemoryDataModule()
    module.setup("fit")
    batch = first_batch(module)
    index = permutation(0, "data order", 0, 40)[:8]
    assert torch.equal(batch["index"], index) and torch.equal(batch["labels"], index % 5)
    assert batch["position"].tolist() == list(range(8)) and (batch["step"], batch["epoch"]) == (0, 0)
    expected = index.float()[:, None, None, None].repeat(1, 3, 4, 4) / 255
    expected[..., 0] = 0
    assert batch["x"].dtype == torch.float32 and torch.equal(batch["x"], expected)
    assert torch.equal(module.images("train")[batch["index"]].float() / 255, batch["x"])


def test_flips_depend_on_seed_epoch_and_index():
    module = MemoryDataModule(random_flip=True, seed=3)
    for epoch in (0, 1, 5):
        module.completed_steps = lambda epoch=epoch: 5 * epoch
        for batch in (module.on_after_batch_transfer(b, 0) for b in module.train_dataloader()):
            decided = uniform(3, "flip", epoch, batch["index"]) < 0.5
            assert batch["epoch"] == epoch
            # The black column shows whether an image is mirrored; image 0 is all black.
            seen = (batch["x"][:, 0, 0, 3] == 0) & (batch["index"] != 0)
            assert torch.equal(seen, decided & (batch["index"] != 0))


def test_dequantization_noise_is_addressed_and_stays_within_the_byte():
    plain, noisy = MemoryDataModule(count=256, seed=1), MemoryDataModule(count=256, seed=1, dequantize=True)
    a, b = first_batch(plain), first_batch(noisy)
    u = uniform(1, "dequantize", 0, a["index"], (3, 4, 4))
    assert torch.allclose(b["x"], (a["x"] * 255 + u) / 256, atol=1e-6)
    noisy.completed_steps = lambda: 32
    again = first_batch(noisy)
    assert again["epoch"] == 1
    assert torch.equal((b["x"] * 256).floor(), (a["x"] * 255).round())


def test_evaluation_does_not_flip_or_dequantize_by_default():
    module = MemoryDataModule(random_flip=True, dequantize=True, eval_batch_size=3)
    batches = [module.on_after_batch_transfer(b, 0) for b in module.val_dataloader()]
    assert torch.cat([b["index"] for b in batches]).tolist() == list(range(7))
    assert all(torch.equal(b["index"], b["position"]) and "step" not in b for b in batches)
    x = torch.cat([b["x"] for b in batches])
    assert torch.equal(x, module.images("test")[:].float() / 255)
    module.dequantize_eval = True
    u = uniform(0, "dequantize evaluation", 0, torch.arange(3), (3, 4, 4))
    assert torch.allclose(first_batch(module, "val_dataloader")["x"], (x[:3] * 255 + u) / 256, atol=1e-6)


def test_channel_mean_of_the_training_images():
    for data_range, scale, shift in (("unit", 1, 0), ("centered", 2, -1)):
        module = MemoryDataModule(data_range=data_range)
        expected = scale * module.images("train")[:].double().mean((0, 2, 3)) / 255 + shift
        assert module.channel_mean == pytest.approx(expected.tolist(), abs=1e-12)


def test_joined_and_unknown_splits():
    module = MemoryDataModule()
    assert torch.equal(module.images("all")[:], torch.cat([module.images("train")[:], module.images("test")[:]]))
    assert torch.equal(module.images("test+train").labels[:7], module.images("test").labels)
    with pytest.raises(UserError, match="no split 'nix': choose from train, test, all"):
        module.images("nix")
    assert len(MemoryDataModule(limit=10).images("all")) == 10


def test_a_wrong_configured_shape_is_refused():
    for settings, message in (
        ({"image_size": 32}, r"3 channel\(s\) of 4x4 pixels, but datamodule.channels=3 and datamodule.image_size=32"),
        ({"channels": 1}, "datamodule.channels=1"),
        ({"num_classes": 10}, "5 classes, but datamodule.num_classes=10"),
    ):
        with pytest.raises(UserError, match=message):
            MemoryDataModule(**settings).setup("fit")
    assert MemoryDataModule(num_classes=None).num_classes == 5


def test_invalid_settings_are_refused():
    with pytest.raises(Exception, match="data_range"):
        MemoryDataModule(data_range="bytes")
    with pytest.raises(UserError, match="limit=0"):
        MemoryDataModule(limit=0)
    with pytest.raises(UserError, match="overfit_batches"):
        MemoryDataModule().train_dataloader().dataset[0]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_reference_batches_contain_each_image_once_over_all_ranks(world_size):
    module = MemoryDataModule(reference_split="all")
    ranks = [list(module.reference_batches(5, rank, world_size)) for rank in range(world_size)]
    assert all(1 <= len(batch) <= 5 and batch.dtype == torch.uint8 for batches in ranks for batch in batches)
    for rank, batches in enumerate(ranks):
        assert torch.equal(torch.cat(batches), module.images("all")[rank::world_size])


def test_the_fingerprint_is_computed_once(monkeypatch):
    module = MemoryDataModule()
    images = module.images("train")
    content = images[:].numpy().tobytes() + images.labels.numpy().tobytes()
    expected = hashlib.sha256(repr(images.shape).encode() + content)
    assert module.fingerprint("train") == expected.hexdigest() != module.fingerprint("test")
    monkeypatch.setattr(images, "fingerprint", None)
    assert module.fingerprint("train") == expected.hexdigest()


def test_an_empty_evaluation_split_is_skipped_with_a_warning(caplog):
    assert MemoryDataModule(held_out=0).val_dataloader() == []
    assert "evaluation is skipped: 0 sample(s) for 1 process(es)" in caplog.text


def test_resuming_with_another_data_seed_gives_a_warning(caplog):
    module = MemoryDataModule(seed=1)
    module.load_state_dict(module.state_dict())
    assert not caplog.text
    module.load_state_dict(MemoryDataModule(seed=2).state_dict())
    assert "seed=2 and resumes with 1" in caplog.text
