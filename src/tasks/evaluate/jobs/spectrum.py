"""``spectrum=true``: compare the radially averaged power spectra of samples and data, at full bit depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....distributed import on_rank_zero, rank
from ....errors import UserError
from ....io.atomic import replacing
from ....metrics.spectrum import RadialSpectrum, spectral_distance
from ....progress import LongCall
from ....sinks.record import Result
from ....stored_values import StoredValues

_BATCH = 256


class SpectrumCheck:
    """Return the spectrum of the reference split; the first process computes it.

    Args:
        data: the datamodule; its data must be images.

    Raises:
        UserError: there are no data, or the data are not images.
    """

    def __init__(self, data: Any) -> None:
        if data is None or len(data.shape) != 3:
            raise UserError(
                "spectrum=true compares with images of the data: add datamodule=<a file of conf/datamodule>"
            )
        self.data = data
        on_rank_zero(data.prepare_data)
        data.setup()
        self._images = data.images(data.reference_split)

    def added(
        self,
        result: Result,
        read: Callable[[Sequence[int]], Tensor],
        values: StoredValues,
        indices: Sequence[int],
        picture: Path,
    ) -> Result:
        """Return ``result`` with both spectra and their distance; all processes call it, the first one draws
        ``picture``.

        Args:
            result: result of the samples.
            read: returns the stored values (N, C, H, W) of given indices.
            values: what the stored values mean.
            indices: indices of the samples.
            picture: PNG file to write.
        """
        with LongCall("computing the power spectra", enabled=rank() == 0):
            k, samples, data = on_rank_zero(lambda: self._compute(read, values, indices, picture, result.label))
        distance = spectral_distance(torch.tensor(samples), torch.tensor(data))
        details = {"spectrum_k": k, "spectrum_samples": samples, "spectrum_data": data}
        return replace(
            result,
            values={**result.values, "spectrum_db": distance},
            details={**result.details, **details},
            notes=[*result.notes, f"power spectra are {distance:.3g} dB apart, see {picture}"],
        )

    def _compute(
        self,
        read: Callable[[Sequence[int]], Tensor],
        values: StoredValues,
        indices: Sequence[int],
        picture: Path,
        label: str,
    ) -> tuple[list[float], list[float], list[float]]:
        images = self._images
        made, given = RadialSpectrum(self.data.shape), RadialSpectrum(self.data.shape)
        for first in range(0, len(indices), _BATCH):
            made.update(values.to_model(read(indices[first : first + _BATCH]), "unit"))
        for part in torch.split(torch.arange(len(images)), _BATCH):
            given.update(self.data.values.to_model(images.gather(part), "unit"))
        _draw(picture, made, given, label)
        return made.k.double().tolist(), made.power.tolist(), given.power.tolist()


def _draw(path: Path, made: RadialSpectrum, given: RadialSpectrum, label: str) -> None:
    # Imported here because the import takes a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    k = made.k[1:].tolist()
    axes.loglog(k, given.power[1:].tolist(), "k-", lw=2.5, alpha=0.5, label="data")
    axes.loglog(k, made.power[1:].tolist(), "C0o-", ms=4, label=label)
    axes.set(
        xlabel="periods per shorter side",
        ylabel="power, range of the data = 1",
        title=f"{spectral_distance(made.power, given.power):.3g} dB apart",
    )
    axes.legend(frameon=False)
    axes.grid(alpha=0.3, which="both")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
