"""Nets and training configurations from the configurations of yang-song/score_sde_pytorch."""

from collections.abc import Mapping
from typing import Any

from ...errors import UserError
from ...nets import DDPM, NCSNpp

_CLASSES = {"ncsnpp": NCSNpp, "ddpm": DDPM}
# Options of the original that our classes take under the same name; its other options do not shape the net.
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
_SDES = {"vesde": "ve", "vpsde": "vp", "subvpsde": "subvp"}
_SAMPLERS = {
    ("reverse_diffusion", "langevin"): "pc",
    ("reverse_diffusion", "none"): "predictor_only",
    ("ancestral_sampling", "langevin"): "pc_ancestral",
    ("ancestral_sampling", "none"): "ancestral",
    ("euler_maruyama", "none"): "euler_maruyama",
    ("none", "langevin"): "corrector_only",
}
_CORRECTED = ("pc", "pc_ancestral", "corrector_only")
# Section and option of the original, and where its value goes here.
_SETTINGS = (
    ("training", "batch_size", "datamodule.global_batch_size"),
    ("sampling", "noise_removal", "sampler.denoise"),
    ("model", "ema_rate", "ema.default.decay"),
    ("optim", "lr", "optimizer.lr"),
    ("optim", "eps", "optimizer.eps"),
    ("optim", "weight_decay", "optimizer.weight_decay"),
    ("data", "random_flip", "datamodule.random_flip"),
)
_FLOATS = ("dropout", "fourier_scale", "init_scale")


def net_kwargs_from_song(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class and the arguments of our net for a configuration of the original.

    Args:
        config: holds ``model`` (``name``, ``nf``, ``ch_mult``, ...) and, under ``data`` or beside ``model``,
            ``image_size`` and ``num_channels`` or ``channels`` (3 where absent).

    Returns:
        The import path of the class and its keyword arguments.

    Raises:
        UserError: a model that is neither ncsnpp nor ddpm, or an option that is missing.
    """
    model = config.get("model", {})
    data = config.get("data", config)
    name = model.get("name")
    if name not in _CLASSES:
        raise UserError(f"model.name={name!r} of the original is not supported; choose one of {', '.join(_CLASSES)}")
    options = _UNET + (_NCSNPP if name == "ncsnpp" else ())
    # Configurations with a positional embedding may leave the scale of the Fourier features out.
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
    # The original passes over resolutions that no level has; our nets refuse them.
    sizes = [data["image_size"] // 2**level for level in range(len(model["ch_mult"]))]
    kwargs["attn_resolutions"] = [size for size in model["attn_resolutions"] if size in sizes]
    return f"src.nets.{_CLASSES[name].__name__}", kwargs


def build_net(config: Mapping[str, Any]) -> NCSNpp:
    """The net of a configuration of the original, with fresh weights (see ``net_kwargs_from_song``)."""
    _, kwargs = net_kwargs_from_song(config)
    net: NCSNpp = _CLASSES[config["model"]["name"]](**kwargs)
    return net


def config_from_song(config: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """A training configuration of this project for one of the original.

    Args:
        config: with ``model``, ``data`` and ``training`` as in the original; ``training`` names ``sde`` and says
            whether it is ``continuous``.

    Returns:
        Overrides of ``conf/train.yaml``, and the node of the net that takes the place of ``net``.

    Raises:
        UserError: an option that is missing or unknown.
    """
    target, kwargs = net_kwargs_from_song(config)
    model, data, training = config["model"], config.get("data", config), config.get("training", config)
    name = training.get("sde")
    if name not in _SDES:
        raise UserError(f"training.sde={name!r} of the original is not supported; choose one of {', '.join(_SDES)}")
    ve, continuous = name == "vesde", bool(training.get("continuous", True))
    if bool(model.get("scale_by_sigma", ve)) != ve:
        raise UserError(
            f"model.scale_by_sigma={model['scale_by_sigma']} with training.sde={name!r} has no counterpart: "
            f"the score of {name} nets is scaled as with scale_by_sigma={ve}; set it so if the net was trained so"
        )
    parametrization = {(True, True): "song_ve", (True, False): "smld", (False, True): "song_vp", (False, False): "ddpm"}
    overrides = {
        "sde": _SDES[name],
        "parametrization": parametrization[ve, continuous],
        "sampler": _sampler(config.get("sampling", {}), ve, continuous),
        "datamodule": "cifar10" if str(data.get("dataset", "")).lower() == "cifar10" else "image_folder",
        "datamodule.image_size": kwargs["image_size"],
        "datamodule.channels": kwargs["in_channels"],
        "datamodule.data_range": "centered" if data.get("centered", not ve) else "unit",
        "sampler.grid.steps": model.get("num_scales", 1000),
        # The originals end there whatever the predictor and corrector.
        "sampler.grid.eps": 1e-5 if ve else 1e-3,
    }
    for option in ("sigma_min", "sigma_max") if ve else ("beta_min", "beta_max"):
        if option in model:
            overrides[f"sde.{option}"] = float(model[option])
    if not continuous:
        overrides["parametrization.num_scales"] = overrides["sampler.grid.steps"]
    for section, option, key in _SETTINGS:
        if option in config.get(section, {}):
            overrides[key] = config[section][option]
    if "snr" in config.get("sampling", {}) and overrides["sampler"] in _CORRECTED:
        overrides["sampler.corrector.snr"] = config["sampling"]["snr"]
        overrides["sampler.corrector.steps"] = config["sampling"].get("n_steps_each", 1)
    if "n_iters" in training:
        # The original counts from 0 to n_iters - 1 and names 1.3 million steps 1300001.
        overrides["trainer.max_steps"] = training["n_iters"] - 1
    return [f"{key}={value}" for key, value in overrides.items()], {"_target_": target, **kwargs}


def _sampler(sampling: Mapping[str, Any], ve: bool, continuous: bool) -> str:
    """The name in ``conf/sampler`` of the original's predictor and corrector."""
    if "predictor" not in sampling or "corrector" not in sampling:
        return "pc" if ve else "euler_maruyama" if continuous else "ancestral"
    pair = sampling["predictor"], sampling["corrector"]
    if pair not in _SAMPLERS:
        known = ", ".join(f"{predictor}+{corrector}" for predictor, corrector in _SAMPLERS)
        raise UserError(f"sampling.predictor and corrector {pair[0]}+{pair[1]} have no counterpart: choose of {known}")
    return _SAMPLERS[pair]
