"""Score-based generative modeling through stochastic differential equations (Song et al. 2021).

``load`` returns a trained model; see ``api``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import LoadedModel, load

__version__ = "0.2.0"
__all__ = ["LoadedModel", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that --help does not wait for torch.
    if name not in ("LoadedModel", "load"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import api

    return getattr(api, name)
