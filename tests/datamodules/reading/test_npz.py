"""Arrays of an .npz file are passed to batches unchanged; other files are refused with one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.datamodules import NpzDataModule
from src.errors import UserError


def arrays() -> dict[str, Any]:
    random = np.random.default_rng(0)
    made: dict[str, Any] = {"class_names": np.array(["cat", "dog", "bird"])}
    for split, count in (("train", 12), ("test", 5)):
        made[f"{split}_images"] = random.integers(256, size=(count, 3, 4, 4), dtype=np.uint8)
        made[f"{split}_labels"] = np.arange(count, dtype=np.uint8) % 3
    return made


def module(path: Path, **changed: Any) -> NpzDataModule:
    np.savez(path / "data.npz", **{key: value for key, value in (arrays() | changed).items() if value is not None})
    return NpzDataModule(path=path / "data.npz", image_size=4, channels=3, global_batch_size=4, eval_batch_size=2)


def test_batches_contain_the_rows_of_the_arrays(tmp_path: Path) -> None:
    data, given = module(tmp_path), arrays()
    data.setup()
    assert data.class_names == ["cat", "dog", "bird"]
    for split, loader in (("train", data.train_dataloader()), ("test", data.test_dataloader())):
        seen = []
        for batch in loader:
            assert np.array_equal(batch["x"], given[f"{split}_images"][batch["index"].numpy()])
            assert np.array_equal(batch["labels"], given[f"{split}_labels"][batch["index"].numpy()])
            seen.append(batch["index"])
        assert torch.cat(seen).sort().values.tolist() == list(range(len(given[f"{split}_images"])))


def test_labels_and_class_names_are_optional(tmp_path: Path) -> None:
    assert module(tmp_path, class_names=None).class_names == ["0", "1", "2"]
    unlabeled = module(tmp_path, train_labels=None, test_labels=None)
    assert unlabeled.class_names == [] and unlabeled.images("train").labels is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_images": np.zeros((2, 3, 4, 4))}, "train_images .* float64 of shape"),
        ({"train_images": np.zeros((2, 4, 4), np.uint8)}, "train_images .* uint8 of shape"),
        ({"train_images": None}, "no train_images"),
        ({"train_labels": np.zeros(3, int)}, "train_labels .* write 12 whole numbers"),
        ({"train_labels": np.full(12, -1)}, "train_labels .* whole numbers from 0"),
        ({"train_labels": np.zeros(12)}, "train_labels .* float64"),
        ({"class_names": np.array(["cat"])}, "only 1 class_names"),
    ],
)
def test_invalid_arrays_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(tmp_path, **changed).setup()


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_an_unreadable_file_is_reported(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.npz (cannot be read|does not exist)"):
        NpzDataModule(path=tmp_path / "x.npz", image_size=4, channels=3).setup()
