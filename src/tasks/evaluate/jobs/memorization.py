"""``memorization=true``: show samples next to their nearest training images, with numbers and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....distributed import on_rank_zero
from ....errors import UserError
from ....metrics import FeatureExtractor, PixelFeatures, reference_statistics
from ....metrics.memorization import Memorization, memorization
from ....progress import LongCall, Progress
from ....sinks.pictures import grid, save_picture
from ....sinks.record import Result
from ..environment import ScoringSetup

_BATCH, _ROWS, _NEAREST, _GAP = 256, 16, 3, 16


class MemorizationCheck:
    """Compute the metric's features and the pixels of the training split and the test split; all processes call it.

    Args:
        setup: the metric suite and the data.
        device: where the extractor runs.

    Raises:
        UserError: there are no data, or the data have no test split.
    """

    def __init__(self, setup: ScoringSetup, device: torch.device) -> None:
        if setup.datamodule is None:
            raise UserError("memorization compares with training images: name them with datamodule=<a file of conf/>")
        self.data: Any = setup.datamodule
        on_rank_zero(self.data.prepare_data)
        self.data.setup()
        self.spaces: dict[str, FeatureExtractor] = {
            "features": setup.suite.extractor,
            "pixels": PixelFeatures(self.data.shape),
        }
        self.device = device
        self.train, self.test = (
            self._features(split, setup.suite.cache_dir) for split in (self.data.train_split, self.data.test_split)
        )

    def _features(self, split: str, cache_dir: Path) -> dict[str, Tensor]:
        references = reference_statistics(
            self._batches(split),
            self.spaces,
            cache_dir,
            self.data.fingerprint(split),
            source=f"{self.data.data_name} {split}",
            keep_features=self.spaces,
            device=self.device,
        )
        return {name: reference.required_features() for name, reference in references.items()}

    def _batches(self, split: str) -> Iterator[Tensor]:
        images = self.data.images(split)
        for part in torch.split(torch.arange(len(images)), _BATCH):
            yield self.data.values.to_bytes(images.gather(part))

    def added(
        self, result: Result, read: Callable[[Sequence[int]], Tensor], indices: Sequence[int], picture: Path
    ) -> Result:
        """Return ``result`` with the numbers and the verdict; all processes call it, the first one draws ``picture``.

        Args:
            result: result of the samples.
            read: returns the images (N, C, H, W) uint8 of given indices.
            indices: indices of the samples.
            picture: PNG file of the samples that are nearest to training images.

        Raises:
            UserError: there are too few samples, or the picture cannot be written.
        """
        found = on_rank_zero(lambda: self._compare(read, indices, picture))
        values, intervals = dict(result.values), dict(result.intervals)
        for name, compared in found.items():
            end = "" if name == "features" else f"_{name}"
            estimates = {f"memorized_share{end}": compared.share, f"auth_pct{end}": compared.auth_pct}
            estimates |= {f"auth_pct{end}_of_test_images": compared.test_auth_pct}
            for score, estimate in estimates.items():
                values[score] = float(estimate.value)
                intervals[score] = [float(estimate.low), float(estimate.high)]
        notes = [memorization_verdict(compared, name, picture) for name, compared in found.items()]
        about = {**result.about, "memorization": {"picture": picture.name, "verdict": notes}}
        return replace(result, values=values, intervals=intervals, notes=[*result.notes, *notes], about=about)

    def _compare(
        self, read: Callable[[Sequence[int]], Tensor], indices: Sequence[int], picture: Path
    ) -> dict[str, Memorization]:
        parts: dict[str, list[Tensor]] = {name: [] for name in self.spaces}
        with Progress("features of the samples", len(indices)) as progress:
            for first in range(0, len(indices), _BATCH):
                images = read(indices[first : first + _BATCH]).to(self.device)
                for name, extractor in self.spaces.items():
                    parts[name].append(extractor.to(self.device)(images).cpu())
                progress.add(len(images))
        found = {}
        for name in self.spaces:
            samples, train, test = (x.to(self._float64) for x in (torch.cat(parts[name]), *self._sets(name)))
            with LongCall(f"the search for nearest neighbors in {name}"):
                found[name] = memorization(samples, train, test)
        self._draw(found, read, indices, picture)
        return found

    def _sets(self, name: str) -> tuple[Tensor, Tensor]:
        return self.train[name], self.test[name]

    @property
    def _float64(self) -> torch.device:
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def _draw(
        self,
        found: dict[str, Memorization],
        read: Callable[[Sequence[int]], Tensor],
        indices: Sequence[int],
        picture: Path,
    ) -> None:
        """Return rows of a sample, its nearest training images by features, and its nearest ones by pixels."""
        train = self.data.images(self.data.train_split)
        chosen = found["features"].ratio.argsort()[:_ROWS].tolist()
        columns = [grid(read([indices[i] for i in chosen]), columns=1)]
        for compared in found.values():
            nearest = compared.nearest[chosen, :_NEAREST].cpu().flatten()
            columns.append(grid(self.data.values.to_bytes(train.gather(nearest)), columns=_NEAREST))
        gap = torch.full((3, columns[0].shape[1], _GAP), 255, dtype=torch.uint8)
        save_picture(picture, torch.cat([columns[0], gap, columns[1], gap, columns[2]], dim=2))


def memorization_verdict(found: Memorization, name: str, picture: Path) -> str:
    """Summarize the numbers in one line."""
    share, low, high = (100 * float(x) for x in found.share)
    says = (
        f"{share:.3g} % of the samples ({low:.3g} to {high:.3g}) are as near to a training image in {name} as "
        f"{100 * float(found.test_share.value):.2g} % of the test images"
    )
    return f"{says}: the net repeats training images, see {picture}" if found.flagged else f"{says}: no memorization"
