"""Classes and splits: from the names of folders, from the ``dataset.json`` of StyleGAN and EDM, from arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ...errors import UserError

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Folders, arrays and files of these names are splits."""

INDEX = "dataset.json"
_NAMED = 3
_CLASSES = 1_000_000


def in_order(names: Sequence[str]) -> list[str]:
    """Class names without repetition, sorted as numbers if all are whole numbers, else alphabetically."""
    unique = set(names)
    return sorted(unique, key=int) if all(name.isdecimal() for name in unique) else sorted(unique)


def split_folders(names: Sequence[str]) -> list[str] | None:
    """The split of every file, if the first folders that differ are called ``train`` and ``test`` or ``val``."""
    level = _shared(names)
    folders = [parts[level].lower() if len(parts) > level else "" for parts in map(_folders, names)]
    if not set(folders) <= SPLIT_NAMES.keys() or not folders:
        return None
    splits = [SPLIT_NAMES[folder] for folder in folders]
    return splits if "train" in splits else None


def class_folders(names: Sequence[str], splits: Sequence[str] | None) -> tuple[list[str], list[int]]:
    """Find the class folder of every file, and the files outside of class folders.

    Folders that all files share are not classes: the class is the first folder below them, and below the split.

    Args:
        names: names of the files.
        splits: result of ``split_folders``.

    Returns:
        The names of the folders, all empty if there are no classes, and the numbers of files outside of classes.
    """
    level = _shared(names) + (splits is not None)
    folders = [parts[level] if len(parts) > level else "" for parts in map(_folders, names)]
    stray = [i for i, folder in enumerate(folders) if not folder]
    if len(stray) == len(names) or len(set(folders)) == 1:
        return [""] * len(names), []
    return folders, stray


def refuse_stray(names: Sequence[str], stray: Sequence[int], path: object) -> None:
    """Raise UserError that names files outside of class folders."""
    listed = ", ".join(names[i] for i in stray[:_NAMED]) + (", ..." if len(stray) > _NAMED else "")
    raise UserError(
        f"{len(stray)} of {len(names)} files in {path} are in no class folder ({listed}): move or remove them, or set "
        "datamodule.labels=false to train without classes"
    )


def read_index(content: bytes, names: Sequence[str], base: str, path: object) -> np.ndarray | None:
    """Labels (N,) int64 of ``names`` by a ``dataset.json``; None if it has no labels.

    Args:
        content: content of the file: ``{"labels": [["00000/img00000000.png", 6], ...]}``, or labels null.
        names: names of the files.
        base: the folder of the file within ``path``, empty or ending with a slash.
        path: path for messages.

    Raises:
        UserError: the file is damaged or lacks a label.
    """
    try:
        listed = json.loads(content)["labels"]
        if listed is None:
            return None
        known = {base + str(name).replace("\\", "/"): label for name, label in listed}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{INDEX} in {path} is damaged ({error!r}): write it again, or remove it") from error
    missing = [name for name in names if name not in known]
    if missing:
        raise UserError(
            f"{INDEX} in {path} has no label for {len(missing)} of {len(names)} images, first {missing[0]}: add them, "
            "or set datamodule.labels=false"
        )
    values = [known[name] for name in names]
    if not all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _CLASSES for value in values):
        raise UserError(f"{INDEX} in {path} has labels that are not whole numbers from 0: set datamodule.labels=false")
    return np.array(values, np.int64)


def _folders(name: str) -> tuple[str, ...]:
    return PurePosixPath(name).parent.parts


def _shared(names: Sequence[str]) -> int:
    """Number of leading folders that all files share."""
    if not names:
        return 0
    first, shared = _folders(names[0]), 0
    while all(
        len(parts) > shared and shared < len(first) and parts[shared] == first[shared] for parts in map(_folders, names)
    ):
        shared += 1
    return shared


def numbered(
    labels: np.ndarray | None, count: int, names: list[str], path: Path
) -> tuple[np.ndarray | None, list[str]]:
    """Return labels as numbers from 0, with their names.

    Args:
        labels: (N,) numbers or names, or (N, K) with a single 1 in each row; None for none.
        count: N.
        names: names of the numbers, as far as they are known.
        path: path for messages.

    Raises:
        UserError: the labels have another form.
    """
    if labels is None:
        return None, []
    labels = np.squeeze(labels, -1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim == 2 and labels.shape == (count, labels.shape[1]) and set(np.unique(labels)) <= {0, 1}:
        labels = labels.argmax(1)
    if labels.shape != (count,):
        raise UserError(f"{path} has {count} rows and labels of shape {labels.shape}: set datamodule.labels=false")
    if labels.dtype.kind in "US":
        texts = [str(label) for label in labels.astype(str)]
        names = in_order(texts)
        known = {name: i for i, name in enumerate(names)}
        return np.array([known[text] for text in texts], np.int64), names
    # NaN and infinity cannot be converted to whole numbers; they are refused below.
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64) if labels.dtype.kind in "iufb" else None
    if whole is None or (whole != labels).any() or whole.min() < 0:
        raise UserError(f"{path} has labels that are not whole numbers from 0: set datamodule.labels=false")
    classes = max(int(whole.max()) + 1, len(names))
    if classes > max(count, len(names)):
        raise UserError(f"{path} has labels up to {classes - 1} for {count} rows: set datamodule.labels=false")
    return whole, names + [str(i) for i in range(len(names), classes)]


def rows_of_splits(ends: np.ndarray, splits: Sequence[str]) -> dict[str, np.ndarray]:
    """Rows of each split.

    Args:
        ends: (P,) one more than the last row of each part.
        splits: the split of each part; an empty name, or none, for parts without a split.
    """
    starts = [0, *ends[:-1].tolist()]
    parts = [(name, np.arange(a, b)) for name, a, b in zip(splits, starts, ends.tolist(), strict=False)]
    return {
        name: np.concatenate([rows for split, rows in parts if split == name])
        for name in ("train", "val", "test")
        if any(split == name for split, _ in parts)
    }
