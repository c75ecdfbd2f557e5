"""Build nets from the configurations of yang-song/score_sde_pytorch; ``settings`` reads the other sections."""

from collections.abc import Mapping
from typing import Any

from ...errors import UserError
from ...nets import DDPM, NCSNpp

_CLASSES = {"ncsnpp": NCSNpp, "ddpm": DDPM}
# Options of the original that our classes take under the same name; its other options do not affect the net.
_UNET = ("nf", "ch_mult", "num_res_blocks", "dropout", "resamp_with_conv", "nonlinearity")
_NCSNPP = (
    "resblock_type",
    "fir",
    "fir_kernel",
    "skip_rescale",
    "progressive",
    "progressive_input",
    "progressive_combine",
    "embedding_type",
    "fourier_scale",
    "conditional",
    "init_scale",
)
_FLOATS = ("dropout", "fourier_scale", "init_scale")


def net_kwargs_from_song(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return class and arguments of our net for a configuration of the original.

    Args:
        config: has ``model`` (``name``, ``nf``, ``ch_mult``, ...) and, under ``data`` or next to ``model``,
            ``image_size`` and ``num_channels`` or ``channels`` (default 3).

    Returns:
        The import path of the class and its keyword arguments.

    Raises:
        UserError: the model is neither ncsnpp nor ddpm, or an option is missing.
    """
    model = config.get("model", {})
    data = config.get("data", config)
    name = model.get("name")
    if name not in _CLASSES:
        raise UserError(f"model.name={name!r} of the original is not supported; choose one of {', '.join(_CLASSES)}")
    options = _UNET + (_NCSNPP if name == "ncsnpp" else ())
    # Configurations with a positional embedding may omit the scale of the Fourier features.
    optional = {"fourier_scale"}
    missing = [key for key in (*options, "attn_resolutions") if key not in model and key not in optional]
    missing += [] if "image_size" in data else ["image_size"]
    if missing:
        raise UserError(f"the original's configuration lacks {', '.join(missing)}; give its complete model section")
    kwargs: dict[str, Any] = {
        "image_size": data["image_size"],
        "in_channels": data.get("num_channels", data.get("channels", 3)),
    }
    kwargs |= {key: model[key] for key in options if key in model}
    kwargs |= {key: float(kwargs[key]) for key in _FLOATS if key in kwargs}
    kwargs["ch_mult"] = list(model["ch_mult"])
    if "fir_kernel" in kwargs:
        kwargs["fir_kernel"] = [float(tap) for tap in model["fir_kernel"]]
    # The original ignores resolutions that no level has; our nets refuse them.
    sizes = [data["image_size"] // 2**level for level in range(len(model["ch_mult"]))]
    kwargs["attn_resolutions"] = [size for size in model["attn_resolutions"] if size in sizes]
    return f"src.nets.{_CLASSES[name].__name__}", kwargs


def build_net(config: Mapping[str, Any]) -> NCSNpp:
    """The net of a configuration of the original, with fresh weights (see ``net_kwargs_from_song``)."""
    _, kwargs = net_kwargs_from_song(config)
    net: NCSNpp = _CLASSES[config["model"]["name"]](**kwargs)
    return net
