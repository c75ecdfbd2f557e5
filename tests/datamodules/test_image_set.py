import pickle

import numpy as np
import pytest
import torch

from src.datamodules.image_set import ImageSet, ImageStore
from src.errors import UserError


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (11, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def file(tmp_path, pixels):
    np.save(tmp_path / "images.npy", pixels.numpy())
    return tmp_path / "images.npy"


def test_files_tensors_and_selections_have_the_same_indexing(pixels, file):
    labels = torch.arange(11)
    rows = torch.tensor([7, 2, 3, 0, 10])
    for source in (pixels, file):
        whole = ImageSet(source, labels)
        assert torch.equal(whole[:], pixels) and torch.equal(whole[-1], pixels[-1])
        assert torch.equal(whole[2:9:3], pixels[2:9:3])
        some = ImageSet(source, labels, rows)
        assert some.shape == (5, 3, 5, 4) and torch.equal(some[:], pixels[rows]) and torch.equal(some.labels, rows)
        assert torch.equal(some.first(2)[:], pixels[[7, 2]]) and some.first(2).labels.tolist() == [7, 2]
        joined = ImageSet.concatenate([some, whole])
        index = torch.tensor([5, 0, 15, 4])
        assert torch.equal(joined.gather(index), pixels[[0, 7, 10, 10]])
        assert joined.labels.tolist() == [7, 2, 3, 0, 10, *range(11)]
        assert torch.equal(joined.first(6)[:], torch.cat([pixels[rows], pixels[:1]]))
        with pytest.raises(IndexError):
            whole[11]
        with pytest.raises(ValueError, match="rows repeat"):
            ImageSet(source, labels, torch.tensor([7, 2, 2]))


def test_counts_and_fingerprint_do_not_depend_on_the_storage(pixels, file, monkeypatch):
    expected = torch.stack([torch.bincount(pixels[:, c].flatten().long(), minlength=256) for c in range(3)])
    prints = set()
    for chunk in (1, 1 << 20):
        monkeypatch.setattr("src.datamodules.image_set._CHUNK_BYTES", chunk)
        halves = ImageSet.concatenate([ImageSet(pixels[:4]), ImageSet(pixels[4:])])
        for images in (ImageSet(pixels), ImageSet(file), halves):
            assert torch.equal(images.byte_counts(), expected)
            prints.add(images.fingerprint())
    assert len(prints) == 1
    changed = pixels.clone()
    changed[3, 1, 2, 2] ^= 1
    turned = ImageSet(pixels.reshape(11, 3, 4, 5))
    others = [ImageSet(changed), ImageSet(pixels, torch.arange(11)), turned, ImageSet(pixels.flip(0))]
    assert len(prints | {other.fingerprint() for other in others}) == 5


def test_a_pickled_mapped_file_is_reopened_and_not_copied(file, pixels):
    store = pickle.dumps(ImageStore(file))
    assert len(store) < pixels.numel()
    assert torch.equal(pickle.loads(store).data, pixels)


def test_writing_to_mapped_images_does_not_change_the_file(file, pixels):
    ImageStore(file).data.zero_()
    assert np.array_equal(np.load(file), pixels.numpy())


def test_a_damaged_file_is_reported(file):
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"images\.npy is damaged .* delete the folder"):
        ImageSet(file)


def test_sets_of_different_shape_are_not_joined(pixels):
    with pytest.raises(ValueError, match="different shapes"):
        ImageSet.concatenate([ImageSet(pixels), ImageSet(pixels[..., :3])])
