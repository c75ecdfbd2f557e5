"""Read data from outside, from any supported kind of file."""

from __future__ import annotations

from pathlib import Path

from ...errors import UserError
from .labels import SPLIT_NAMES
from .listing import WANTED, Listing, check_file, list_files
from .numpy_files import map_npy, open_npy, open_npys, open_npz
from .pictures import PictureSource, open_pictures
from .source import Source
from .tables import open_tables
from .zarr_store import is_zarr, open_zarr

_TABLES = (".parquet", ".arrow")


def open_source(path: str | Path, setting: str = "datamodule.path", layout: str | None = None) -> Source:
    """Open the rows at ``path``: a folder or zip archive of pictures, a npy, npz, parquet or arrow file, or a zarr
    store.

    Args:
        path: the file or folder.
        setting: name of the setting, for messages.
        layout: ``NHWC`` or ``NCHW`` of arrays; None to derive it from the shape.

    Raises:
        UserError: there is no readable data.
    """
    from ...pictures import SUFFIXES

    path = Path(path).expanduser()
    check_file(path, setting)
    if path.is_file():
        return _open_file(path, setting, layout)
    if is_zarr(path):
        return open_zarr(path, layout)
    found = list_files(path, SUFFIXES | {".npy", ".npz", *_TABLES})
    kinds = {Path(name).suffix.lower() for name in found.names}
    if kinds & SUFFIXES:
        return open_pictures(path)
    for suffixes, opener in (((".npz",), open_npz), ((".npy",), open_npys), (_TABLES, open_tables)):
        names = [name for name in found.names if name.lower().endswith(suffixes) and name not in found.unreadable]
        if not names:
            continue
        if suffixes == (".npy",) and not _is_stacks(path, names):
            break
        # Programs write statistics next to their samples.
        names = [name for name in names if Path(name).name.startswith("samples")] or names
        # As numbers: samples_10 comes after samples_9.
        files = [path / name for name in sorted(names, key=lambda name: (len(name), name))]
        return opener(path, files, layout)
    return open_pictures(path)


def _open_file(path: Path, setting: str, layout: str | None) -> Source:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return open_npz(path, [path], layout)
    if suffix == ".npy":
        return open_npy(path, layout)
    if suffix in _TABLES:
        return open_tables(path, [path], layout)
    if suffix in (".tif", ".tiff"):
        source = PictureSource(_single(path))
        source.path = path
        return source
    from zipfile import is_zipfile

    if suffix == ".zip" or is_zipfile(path):
        return open_pictures(path)
    raise UserError(f"{setting}={path} is not a supported kind of file: give {WANTED}")


def _is_stacks(path: Path, names: list[str]) -> bool:
    """Whether npy files contain many rows each: files of splits, or arrays of four dimensions."""
    if all(Path(name).stem.lower() in SPLIT_NAMES for name in names):
        return True
    return map_npy(path / names[0]).ndim == 4


def _single(path: Path) -> Listing:
    name = path.name
    listing = list_files(path.parent, frozenset({path.suffix.lower()}))
    size = path.stat().st_size
    unreadable = {key: reason for key, reason in listing.unreadable.items() if key == name}
    return Listing(path.parent, (name,), (), (size,), unreadable)
