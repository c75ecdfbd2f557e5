import numpy as np
import torch
from sklearn.datasets import load_digits

from src.datamodules.digits import DigitsDataModule


def test_every_digit_is_in_exactly_one_split():
    module = DigitsDataModule(num_classes=10)
    module.setup("fit")
    gray, labels = load_digits(return_X_y=True)
    images = module.images("all")
    rows = np.rint(gray * 255 / 16).astype(np.uint8)
    expected = {(row.tobytes(), label) for row, label in zip(rows, labels, strict=True)}
    seen = [(image.numpy().tobytes(), int(label)) for image, label in zip(images[:], images.labels, strict=True)]
    assert len(seen) == 1797 and set(seen) == expected
    assert (len(module.images("train")), len(module.images("test"))) == (1500, 297)
    assert int(images[:].max()) == 255 and set(images[:].unique().tolist()) == {round(v * 255 / 16) for v in range(17)}


def test_the_split_is_fixed_and_contains_every_class():
    a, b = DigitsDataModule(seed=0), DigitsDataModule(seed=9)
    assert a.fingerprint("test") == b.fingerprint("test")
    assert int(a.images("test").labels.bincount(minlength=10).min()) >= 15


def test_training_on_all_digits():
    module = DigitsDataModule(train_split="all", global_batch_size=599)
    seen = torch.cat([batch["index"] for batch in module.train_dataloader()])
    assert sorted(seen.tolist()) == list(range(1797))
