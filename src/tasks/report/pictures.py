"""Pictures of a report, embedded in the page as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...io.untrusted import read_record
from ...pictures.decode import open_picture
from .folder import Folder, PictureFile

_MOST_FRAMES, _FEWEST_FRAMES, _MOST_OTHERS = 48, 4, 24
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


@dataclass(frozen=True)
class Sheet:
    """Samples beside the training images that are nearest to them.

    Attributes:
        subject: whose samples.
        source: data URI.
        said: the verdict, in sentences.
        origin: where the file is, for the reader.
    """

    subject: str
    source: str
    said: Sequence[str]
    origin: str


def sheets(folder: Folder) -> list[Sheet]:
    """The memorization sheets of evaluations, each with its verdict."""
    found = []
    for path, result in folder.results:
        about = result.get("about", {}).get("memorization")
        picture = (
            path.parent / Path(str(about["picture"])).name if isinstance(about, dict) and "picture" in about else None
        )
        source = None if picture is None else _source(picture)
        if picture is not None and source is not None:
            said = [_short(str(text)) for text in about.get("verdict") or []]
            found.append(Sheet(str(result["label"]), source, said, str(picture.relative_to(folder.path))))
    return found


def _short(verdict: str) -> str:
    """Without the path of the picture, which is above it on the page."""
    return verdict.partition(", see ")[0]


def film(folder: Folder, runs: int = 1) -> Film | None:
    """The pictures that training drew, evenly thinned so that ``runs`` films fit the page; None without any."""
    drawn = sorted((p for p in folder.pictures if p.step is not None), key=lambda p: p.step or 0)
    count = min(len(drawn), max(_MOST_FRAMES // runs, _FEWEST_FRAMES))
    places = [round(i * (len(drawn) - 1) / max(count - 1, 1)) for i in range(count)]
    frames = [(drawn[i].step or 0, _source(drawn[i].path)) for i in places]
    shown = [(step, source) for step, source in frames if source is not None]
    return Film(folder.label, shown) if shown else None


def others(folder: Folder, left_out: Callable[[str], bool]) -> list[Shown]:
    """All grids, films and other pictures in the folder.

    Args:
        folder: folder to read.
        left_out: whether the page shows a picture in another form, by its path in the folder.
    """
    found = [p for p in folder.pictures if p.step is None and not left_out(str(p.path.relative_to(folder.path)))]
    found.sort(key=lambda picture: (_rank(picture), str(picture.path)))
    shown = []
    for picture in found[:_MOST_OTHERS]:
        source = _source(picture.path)
        if source is not None:
            shown.append(Shown(_title(picture), source, str(picture.path.relative_to(folder.path))))
    return shown


def _rank(picture: PictureFile) -> int:
    names = list(_TITLES)
    return next((i for i, name in enumerate(names) if picture.path.stem.startswith(name)), len(names))


def _title(picture: PictureFile) -> str:
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
