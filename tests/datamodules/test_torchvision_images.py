import hashlib
import io
import pickle
import tarfile
import urllib.error

import numpy as np
import pytest
import torch
from torchvision import datasets

from src.datamodules.cifar10 import CIFAR10DataModule
from src.datamodules.torchvision_images import TorchvisionDataModule
from src.errors import UserError

CLASSES = list("abcdefghij")


def cifar_file(first, count):
    """Return a CIFAR file: image i has the value first + i in red, its row in green and its column in blue."""
    pixels = np.zeros((count, 3, 32, 32), np.uint8)
    pixels[:, 0] = (first + np.arange(count))[:, None, None]
    pixels[:, 1] = np.arange(32)[:, None]
    pixels[:, 2] = np.arange(32)
    return pickle.dumps({"data": pixels.reshape(count, -1), "labels": [(first + i) % 10 for i in range(count)]})


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.fixture
def cifar(tmp_path, monkeypatch, offline):
    """A tiny archive with the layout and checksums of the real one."""
    files = {f"data_batch_{i}": cifar_file(10 * (i - 1), 10) for i in range(1, 6)}
    files |= {"test_batch": cifar_file(100, 7), "batches.meta": pickle.dumps({"label_names": CLASSES})}
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

    def md5(content):
        return hashlib.md5(content, usedforsecurity=False).hexdigest()

    kind = datasets.CIFAR10
    archive_md5 = md5((tmp_path / "cifar-10-python.tar.gz").read_bytes())
    monkeypatch.setattr(kind, "tgz_md5", archive_md5)
    monkeypatch.setattr(kind, "train_list", [[n, md5(c)] for n, c in files.items() if n.startswith("data")])
    monkeypatch.setattr(kind, "test_list", [["test_batch", md5(files["test_batch"])]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(files["batches.meta"])})
    return tmp_path


def test_cifar10_is_unpacked_decoded_and_cached(cifar):
    module = CIFAR10DataModule(data_dir=cifar, num_classes=10, reference_split="all", global_batch_size=5)
    module.prepare_data()
    module.setup("fit")
    images = module.images("all")
    assert images.shape == (57, 3, 32, 32) and module.class_names == CLASSES
    assert images[:][:, 0, 3, 4].tolist() == [*range(50), *range(100, 107)]
    assert torch.equal(images[0][1], torch.arange(32, dtype=torch.uint8)[:, None].expand(32, 32))
    assert torch.equal(images[0][2], torch.arange(32, dtype=torch.uint8).expand(32, 32))
    assert images.labels.tolist() == [i % 10 for i in [*range(50), *range(100, 107)]]
    assert len(module.images("train")) == 50 and len(module.images("test")) == 7
    for file in (cifar / "cifar-10-batches-py").iterdir():
        file.unlink()
    (cifar / "cifar-10-python.tar.gz").unlink()
    again = CIFAR10DataModule(data_dir=cifar, reference_split="all")
    again.prepare_data()
    assert again.fingerprint("all") == module.fingerprint("all")


def test_training_on_all_images(cifar):
    module = CIFAR10DataModule(data_dir=cifar, train_split="all", global_batch_size=19)
    assert sorted(torch.cat([b["index"] for b in module.train_dataloader()]).tolist()) == list(range(57))


def test_resized_gray_images_have_their_own_cache(cifar):
    small = CIFAR10DataModule(data_dir=cifar, image_size=16, channels=1, train_split="test")
    small.setup("fit")
    assert small.images("test").shape == (7, 1, 16, 16)
    assert CIFAR10DataModule(data_dir=cifar).images("test").shape == (7, 3, 32, 32)


def test_without_network_and_data_one_line_says_what_to_download(tmp_path, offline):
    with pytest.raises(UserError, match=r"CIFAR10 is not complete .* put cifar-10-python\.tar\.gz from") as refused:
        CIFAR10DataModule(data_dir=tmp_path).prepare_data()
    assert "\n" not in str(refused.value) and "no network" in str(refused.value)


def test_a_damaged_archive_is_refused(cifar):
    archive = cifar / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(UserError, match="put cifar"):
        CIFAR10DataModule(data_dir=cifar).prepare_data()
    assert not list((cifar / "decoded").glob("*.partial"))


class Numbers:
    """A torchvision data set of gray 4x4 pictures; unlabeled pictures have the label -1."""

    def __init__(self, root, download, part):
        from PIL import Image

        count = {"few": 3, "unlabeled": 2}[part]
        self.items = [(Image.new("L", (4, 4), 10 + i), i % 2 if part == "few" else -1) for i in range(count)]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


@pytest.fixture
def numbers(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "Numbers", Numbers, raising=False)
    return {
        "dataset": "Numbers",
        "splits": {"train": {"part": "few"}, "rest": {"part": "unlabeled"}},
        "all_splits": ["train"],
        "by_hand": "nothing",
        "data_dir": tmp_path,
        "image_size": 8,
        "channels": 1,
        "pad": 2,
        "val_split": "train",
        "test_split": "train",
    }


def test_any_torchvision_set_with_padding_and_unnamed_classes(numbers):
    module = TorchvisionDataModule(**numbers)
    module.setup("fit")
    images = module.images("train")
    assert images.shape == (3, 1, 8, 8) and images[1].sum() == 16 * 11 and images[1][0, 2, 2] == 11
    assert module.class_names == ["0", "1"] and images.labels.tolist() == [0, 1, 0]


def test_unlabeled_images_need_labels_false(numbers):
    with pytest.raises(UserError, match=r"without label: set datamodule\.labels=false"):
        TorchvisionDataModule(**numbers, train_split="rest").prepare_data()
    module = TorchvisionDataModule(**numbers, train_split="rest+train", labels=False)
    module.setup("fit")
    assert module.images("rest+train").shape[0] == 5 and module.num_classes == 0


def test_an_unknown_data_set_is_refused(numbers):
    with pytest.raises(UserError, match=r"dataset=Nummbers is not a class of torchvision\.datasets"):
        TorchvisionDataModule(**{**numbers, "dataset": "Nummbers"}).prepare_data()
