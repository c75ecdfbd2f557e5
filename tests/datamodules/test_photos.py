import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from src.datamodules.photos import PhotosDataModule
from src.errors import UserError


def shrunk() -> list[np.ndarray]:
    """Return the photographs at a quarter of their size, (106, 160, 3), by a loop over blocks."""
    photos = []
    for photo in load_sample_images().images:
        small = np.empty((106, 160, 3))
        for i in range(106):
            for j in range(160):
                small[i, j] = photo[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].reshape(16, 3).mean(0)
        photos.append(np.rint(small).astype(np.uint8))
    return photos


@pytest.fixture(scope="module")
def places() -> dict[bytes, list[tuple[int, int]]]:
    """Positions of each 16 x 16 patch: photograph and first row."""
    found: dict[bytes, list[tuple[int, int]]] = {}
    for label, photo in enumerate(shrunk()):
        for row in range(106 - 15):
            for column in range(160 - 15):
                patch = photo[row : row + 16, column : column + 16].transpose(2, 0, 1)
                found.setdefault(np.ascontiguousarray(patch).tobytes(), []).append((label, row))
    return found


def test_train_and_test_patches_do_not_overlap(places: dict[bytes, list[tuple[int, int]]]) -> None:
    module = PhotosDataModule(num_classes=2)
    module.setup("fit")
    for split in ("train", "test"):
        images = module.images(split)
        labels = images.labels
        assert labels is not None and set(labels.tolist()) == {0, 1}
        for image, label in zip(images[:], labels.tolist(), strict=True):
            for photo, first in places[image.numpy().tobytes()]:
                in_the_band, beside_it = 52 <= first <= 76 - 16, first <= 52 - 16 or first >= 76
                assert photo == label and (in_the_band if split == "test" else beside_it)
    assert len(module.images("train")) > 10_000 and len(module.images("test")) > 150


def test_patches_are_not_uniform() -> None:
    for split in ("train", "test"):
        gray = PhotosDataModule().images(split)[:].double().mean(1).flatten(1)
        assert float(gray.std(1, correction=0).min()) >= 6


def test_the_order_is_shuffled_and_does_not_depend_on_the_seed() -> None:
    module = PhotosDataModule(seed=0)
    assert module.fingerprint("test") == PhotosDataModule(seed=9).fingerprint("test")
    labels = module.images("train").labels
    assert labels is not None and 0.3 < float(labels[:500].double().mean()) < 0.8


@pytest.mark.parametrize("size", [1, 25])
def test_patches_larger_than_the_test_band_are_refused(size: int) -> None:
    with pytest.raises(UserError, match="2 to 24 pixels"):
        PhotosDataModule(image_size=size)
    assert PhotosDataModule(image_size=24).images("test").shape[1:] == (3, 24, 24)
