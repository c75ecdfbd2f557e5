"""Inspect a data set before training on it.

    python -m src doctor datamodule.path=<folder or file>   images of your own: what they are, the settings that
                                                            experiment=images chooses for them, the time of a step
    python -m src doctor datamodule=digits                  a data set of conf/datamodule
    python -m src doctor datamodule=digits datamodule.image_size=16   any setting of it

datamodule.path    a folder or zip archive of images, or a npy, npz, zarr or parquet file
datamodule         a file of conf/datamodule
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..config.build import build
from ..config.location import CONFIG_DIR, program_command
from ..errors import UserError
from ..runtime.command import command

if TYPE_CHECKING:
    from .examination import Findings


def compose_datamodule(overrides: Sequence[str]) -> Any:
    """Build the datamodule that overrides such as ``datamodule=digits datamodule.image_size=16`` describe.

    Raises:
        UserError: if no datamodule is named or the configuration has an error.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf import OmegaConf

    if not any(override.startswith("datamodule=") for override in overrides):
        raise UserError(
            f"name data: {program_command('doctor')} datamodule.path=<folder or file>, or datamodule=digits"
        )
    marked = [f"+{o}" if o.startswith("datamodule=") else o for o in overrides]
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            config = compose(overrides=marked)
    except OverrideParseException as error:
        raise UserError(
            f"cannot read the argument {error.override!r}: close its brackets and quotes, or give a text in quotes"
        ) from error
    except HydraException as error:
        raise UserError(" ".join(str(error).split())) from error
    return build(OmegaConf.to_container(config.datamodule, resolve=True), "datamodule")


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
    own = any(o.startswith("datamodule.path=") for o in overrides)
    if own and not any(o.startswith("datamodule=") for o in overrides):
        # This module is a command of the whole project, although its package is one of the lower layers.
        from ..tasks.doctor import report_on_data

        return report_on_data(overrides)
    return str(examine(compose_datamodule(overrides)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
