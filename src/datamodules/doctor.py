"""Inspect a data set before training on it.

    score-sde doctor datamodule.path=<folder or file>   images of your own: what they are, the settings that
                                                        experiment=images chooses for them, the time of a step
    score-sde doctor datamodule=digits                  a data set of conf/datamodule
    score-sde doctor datamodule=digits datamodule.image_size=16   any setting of it

datamodule.path    a folder or zip archive of images, or a npy, npz, zarr or parquet file
datamodule         a file of conf/datamodule

In a checkout: python -m src doctor ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..runtime.command import command

if TYPE_CHECKING:
    from .examination import Findings


def examine(datamodule: Any) -> Findings:
    """Prepare a datamodule of images or points and examine it."""
    # Imported here because a command handles signals before torch is imported.
    from .examination import examine_images, examine_points

    datamodule.prepare_data()
    datamodule.setup("fit")
    return examine_images(datamodule) if datamodule.parts else examine_points(datamodule)


@command(__doc__)
def main(overrides: Sequence[str]) -> str:
    """Return the findings."""
    # This module is a command of the whole project, although its package is one of the lower layers.
    from ..tasks.data_doctor import compose_datamodule, report_on_data

    if any(override.startswith("datamodule=") for override in overrides):
        return str(examine(compose_datamodule(overrides)))
    return report_on_data(overrides)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
