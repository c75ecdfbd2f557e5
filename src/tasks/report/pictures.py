"""Pictures of a report, embedded in the page as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...outside import read_record
from ...pictures.decode import open_picture
from .folder import Folder, Picture

_MOST_FRAMES, _MOST_OTHERS = 24, 24
_AS_IT_IS = 300_000
"""Size in bytes up to which a PNG is embedded unchanged; a larger one is encoded again."""
_LARGEST_FILM = 4_000_000
_MOST_BYTES = 1 << 28
_SIDE, _QUALITY = 1600, 88
_TITLES = {
    "grid": "Samples",
    "trajectory": "From noise to samples",
    "constraint": "Given data and results",
    "pareto": "Quality against cost",
    "memorization": "Samples beside the nearest training images",
}


@dataclass(frozen=True)
class Shown:
    """A picture in the page.

    Attributes:
        title: what the picture shows.
        source: data URI.
        origin: where the file is stored, for the reader.
    """

    title: str
    source: str
    origin: str


@dataclass(frozen=True)
class Film:
    """Samples of a run during training, ordered by step."""

    run: str
    frames: Sequence[tuple[int, str]]


def film(folder: Folder) -> Film | None:
    """The pictures that training drew, evenly thinned; None without any."""
    drawn = sorted((p for p in folder.pictures if p.step is not None), key=lambda p: p.step or 0)
    count = min(len(drawn), _MOST_FRAMES)
    places = [round(i * (len(drawn) - 1) / max(count - 1, 1)) for i in range(count)]
    frames = [(drawn[i].step or 0, _source(drawn[i].path)) for i in places]
    shown = [(step, source) for step, source in frames if source is not None]
    return Film(folder.label, shown) if shown else None


def others(folder: Folder, left_out: Sequence[str] = ()) -> list[Shown]:
    """All grids, films, memorization sheets and other pictures in the folder.

    Args:
        folder: folder to read.
        left_out: names of files that the page shows in another form.
    """
    found = [p for p in folder.pictures if p.step is None and p.path.name not in left_out]
    found.sort(key=lambda picture: (_rank(picture), str(picture.path)))
    shown = []
    for picture in found[:_MOST_OTHERS]:
        source = _source(picture.path)
        if source is not None:
            shown.append(Shown(_title(picture), source, str(picture.path.relative_to(folder.path))))
    return shown


def _rank(picture: Picture) -> int:
    names = list(_TITLES)
    return next((i for i, name in enumerate(names) if picture.path.stem.startswith(name)), len(names))


def _title(picture: Picture) -> str:
    stem = picture.path.stem
    known = next((title for name, title in _TITLES.items() if stem.startswith(name)), None)
    if known is None and picture.path.suffix == ".gif":
        known = _TITLES["trajectory"]
    return known or stem.replace("_", " ").capitalize()


def _source(path: Path) -> str | None:
    """Data URI of a picture; None if it is unreadable or too large for a page."""
    try:
        content = read_record(path, _MOST_BYTES)
        # Its size is known before it is decoded.
        open_picture(content)
        with Image.open(io.BytesIO(content)) as image:
            if image.format == "GIF":
                return _uri("gif", content) if len(content) <= _LARGEST_FILM else None
            if image.format == "PNG" and len(content) <= _AS_IT_IS:
                # Also checks that the file is complete.
                image.verify()
                return _uri("png", content)
            shrunk = image.convert("RGB")
            shrunk.thumbnail((_SIDE, _SIDE))
            smaller = io.BytesIO()
            shrunk.save(smaller, format="WEBP", quality=_QUALITY)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return _uri("webp", smaller.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
