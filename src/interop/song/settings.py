"""Convert configurations of yang-song/score_sde_pytorch to settings of ``conf/train.yaml``, key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UserError
from .config import net_kwargs_from_song
from .source import Computed

_SDES = {"vesde": "ve", "vpsde": "vp", "subvpsde": "subvp"}
_PARAMETRIZATIONS = {(True, True): "song_ve", (True, False): "smld", (False, True): "song_vp", (False, False): "ddpm"}
_PREDICTORS = {
    "reverse_diffusion": "predictor_only",
    "ancestral_sampling": "ancestral",
    "euler_maruyama": "euler_maruyama",
    "none": "corrector_only",
}
_CORRECTORS = {"langevin": "Langevin", "ald": "AnnealedLangevin", "none": "NoCorrector"}
_DATA = {"cifar10": "cifar10", "svhn": "svhn", "celeba": "celeba"}
# Section and key of the original, and the setting that takes its value unchanged.
_SAME = {
    ("training", "batch_size"): "datamodule.global_batch_size",
    ("training", "log_freq"): "trainer.log_every_n_steps",
    ("training", "snapshot_freq"): "callbacks.milestones.every_n_steps",
    ("training", "snapshot_freq_for_preemption"): "callbacks.last_checkpoint.every_n_steps",
    ("data", "random_flip"): "datamodule.random_flip",
    ("data", "uniform_dequantization"): "datamodule.dequantize",
    ("model", "ema_rate"): "ema.default.decay",
    ("optim", "lr"): "optimizer.lr",
    ("optim", "eps"): "optimizer.eps",
    ("optim", "weight_decay"): "optimizer.weight_decay",
    ("optim", "warmup"): "scheduler.steps",
    ("", "seed"): "seed",
}
# Each of these keys affects several settings; ``_Reader`` reads them.
_READ = {
    "training": ("sde", "continuous", "likelihood_weighting", "reduce_mean", "n_iters", "snapshot_sampling"),
    "sampling": ("method", "predictor", "corrector", "n_steps_each", "noise_removal", "probability_flow", "snr"),
    "data": ("dataset", "image_size", "num_channels", "channels", "centered"),
    "model": (
        *("name", "num_scales", "sigma_min", "sigma_max", "beta_min", "beta_max", "scale_by_sigma"),
        *("normalization", "attention_type", "conv_size", "nf", "ch_mult", "num_res_blocks", "attn_resolutions"),
        *("dropout", "resamp_with_conv", "nonlinearity", "resblock_type", "fir", "fir_kernel", "skip_rescale"),
        *("progressive", "progressive_input", "progressive_combine", "embedding_type", "fourier_scale", "conditional"),
        "init_scale",
    ),
    "optim": ("optimizer", "beta1", "grad_clip"),
}
# Options that have one value in all of the original's configurations; our nets and training support only this value.
_FIXED = {
    ("model", "normalization"): "GroupNorm",
    ("model", "attention_type"): "ddpm",
    ("model", "conv_size"): 3,
    ("optim", "optimizer"): "Adam",
}
_BETA_2 = 0.999
_NUMBERS = {
    "training": ("batch_size", "n_iters", "log_freq", "snapshot_freq", "snapshot_freq_for_preemption"),
    "sampling": ("snr", "n_steps_each"),
    "data": ("image_size", "num_channels"),
    "model": (
        *("num_scales", "sigma_min", "sigma_max", "beta_min", "beta_max", "ema_rate", "dropout", "nf"),
        *("num_res_blocks", "fourier_scale", "init_scale"),
    ),
    "optim": ("lr", "beta1", "eps", "weight_decay", "warmup", "grad_clip"),
}


@dataclass(frozen=True)
class ConvertedSettings:
    """The settings for a configuration of the original.

    Attributes:
        settings: values of ``conf/train.yaml`` by their dotted keys, groups first.
        unused: keys of the original, with values, that no training setting corresponds to.
    """

    settings: dict[str, Any]
    unused: list[str]

    def overrides(self) -> list[str]:
        """The settings as Hydra overrides."""
        return [f"{key}={_written(value)}" for key, value in self.settings.items()]


def convert_settings(config: Mapping[str, Any]) -> ConvertedSettings:
    """Return settings of this project for a configuration of the original.

    Args:
        config: has ``model``, ``data`` and ``training`` as in the original; ``training`` contains ``sde`` and
            ``continuous``. Other sections are optional; without them this project's defaults apply.

    Raises:
        UserError: a setting is missing, or this project does not support it.
    """
    reader = _Reader(config)
    settings = reader.groups() | reader.values()
    return ConvertedSettings(settings, list(reader.unused()))


class _Reader:
    """One configuration of the original, read section by section."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config = _with_numbers(config)
        _, self.net = net_kwargs_from_song(config)
        self.model = config["model"]
        self.data, self.training = config.get("data", config), config.get("training", config)
        self.sampling, self.optim = config.get("sampling", {}), config.get("optim", {})
        self._check_sde()
        self._check_fixed()
        self.ve = self.training["sde"] == "vesde"
        self.continuous = bool(self.training.get("continuous", True))
        # The originals end at this time for every predictor and corrector.
        self.eps = 1e-5 if self.ve else 1e-3

    def groups(self) -> dict[str, Any]:
        """The files of ``conf/``."""
        return {
            "sde": _SDES[self.training["sde"]],
            "parametrization": _PARAMETRIZATIONS[self.ve, self.continuous],
            "net": self.model["name"],
            "objective": self._objective(),
            "ema": "ve",
            "datamodule": _DATA.get(str(self.data.get("dataset", "")).lower(), "image_folder"),
            "sampler": self._sampler_file(),
        }

    def values(self) -> dict[str, Any]:
        """Values inside these files."""
        scales = self.model.get("num_scales", 1000)
        out: dict[str, Any] = {
            "datamodule.image_size": self.net["image_size"],
            "datamodule.channels": self.net["in_channels"],
            "datamodule.data_range": "centered" if self.data.get("centered", not self.ve) else "unit",
            "objective.reduction": "mean" if self.training.get("reduce_mean", not self.ve) else "sum",
        }
        out |= {f"net.{key}": value for key, value in self.net.items() if key not in ("image_size", "in_channels")}
        for option in ("sigma_min", "sigma_max") if self.ve else ("beta_min", "beta_max"):
            if option in self.model:
                out[f"sde.{option}"] = float(self.model[option])
        if not self.continuous:
            out |= {"parametrization.num_scales": scales, "objective.time_sampler.num_scales": scales}
        out |= self._sampler_values(scales)
        for (section, option), key in _SAME.items():
            holder = self._section(section)
            if option in holder:
                out[key] = holder[option]
        if "batch_size" in self.training:
            out["datamodule.eval_batch_size"] = self.training["batch_size"]
        if "beta1" in self.optim:
            out["optimizer.betas"] = [self.optim["beta1"], _BETA_2]
        if "grad_clip" in self.optim:
            clip = self.optim["grad_clip"]
            out["trainer.gradient_clip_val"] = clip if clip >= 0 else None
        if "n_iters" in self.training:
            # The original counts from 0 to n_iters - 1; its configurations write 1.3 million steps as 1300001.
            out["trainer.max_steps"] = self.training["n_iters"] - 1
        if not self.training.get("snapshot_sampling", True):
            out["callbacks.sample_images"] = None
        return out

    def unused(self) -> Iterator[str]:
        """Keys that neither this class nor ``_SAME`` reads."""
        for section, content in self._config.items():
            if not isinstance(content, Mapping):
                if section not in ("seed", *_READ["data"], *_READ["training"]):
                    yield f"{section}={content}"
                continue
            read = {*_READ.get(section, ()), *(option for where, option in _SAME if where == section)}
            yield from (f"{section}.{option}={value}" for option, value in content.items() if option not in read)

    def _section(self, name: str) -> Mapping[str, Any]:
        section: Mapping[str, Any] = self._config.get(name, {}) if name else self._config
        return section

    def _objective(self) -> str:
        likelihood = bool(self.training.get("likelihood_weighting", False))
        if self.continuous:
            return "likelihood" if likelihood else "score_matching"
        if likelihood:
            raise UserError("training.likelihood_weighting=True needs training.continuous=True, as in the original")
        if self.training["sde"] == "subvpsde":
            raise UserError("training.continuous=False with training.sde='subvpsde' does not exist in the original")
        return "smld" if self.ve else "ddpm"

    def _pair(self) -> tuple[str, str]:
        """Predictor and corrector; the paper's if the file names none."""
        default = ("reverse_diffusion", "langevin")
        if not self.ve:
            default = ("euler_maruyama" if self.continuous else "ancestral_sampling", "none")
        pair = self.sampling.get("predictor", default[0]), self.sampling.get("corrector", default[1])
        if pair[0] not in _PREDICTORS or pair[1] not in _CORRECTORS or pair == ("none", "none"):
            raise UserError(
                f"sampling.predictor and corrector {pair[0]}+{pair[1]} have no counterpart: choose one of "
                f"{', '.join(_PREDICTORS)} and one of {', '.join(_CORRECTORS)}, not both none"
            )
        return pair

    def _sampler_file(self) -> str:
        method = self.sampling.get("method", "pc")
        if method not in ("pc", "ode"):
            raise UserError(f"sampling.method={method!r} of the original is not supported: choose pc or ode")
        if method == "ode":
            return "ode"
        predictor, corrector = self._pair()
        # The file for Langevin contains a setting that the other corrector does not have.
        return "ald" if (predictor, corrector) == ("none", "ald") else _PREDICTORS[predictor]

    def _sampler_values(self, scales: int) -> dict[str, Any]:
        denoise = {"sampler.denoise": self.sampling["noise_removal"]} if "noise_removal" in self.sampling else {}
        if self._sampler_file() == "ode":
            return {"sampler.eps": self.eps, **denoise}
        predictor, corrector = self._pair()
        out = {"sampler.grid.steps": scales, "sampler.grid.eps": self.eps, **denoise}
        if self.sampling.get("probability_flow", False):
            if predictor == "ancestral_sampling":
                raise UserError("sampling.probability_flow=True with ancestral_sampling does not exist in the original")
            if predictor != "none":
                out["sampler.predictor.probability_flow"] = True
        out["sampler.corrector._target_"] = f"src.sampling.solvers.correctors.{_CORRECTORS[corrector]}"
        if corrector == "none":
            return out
        if corrector == "langevin":
            out["++sampler.corrector.norm"] = "sample"
        out["++sampler.corrector.snr"] = self.sampling.get("snr", 0.16)
        out["++sampler.corrector.steps"] = self.sampling.get("n_steps_each", 1)
        return out

    def _check_sde(self) -> None:
        name = self.training.get("sde")
        if name not in _SDES:
            raise UserError(f"training.sde={name!r} of the original is not supported; choose one of {', '.join(_SDES)}")
        ve = name == "vesde"
        if bool(self.model.get("scale_by_sigma", ve)) != ve:
            raise UserError(
                f"model.scale_by_sigma={self.model['scale_by_sigma']} with training.sde={name!r} has no counterpart: "
                f"the score of {name} nets is scaled as with scale_by_sigma={ve}; set it so if the net was trained so"
            )
        if self.model["name"] == "ddpm" and not self.model.get("conditional", True):
            raise UserError("model.conditional=False with model.name='ddpm' has no counterpart: choose ncsnpp")

    def _check_fixed(self) -> None:
        for (section, option), known in _FIXED.items():
            value = self._section(section).get(option, known)
            if value != known:
                raise UserError(f"{section}.{option}={value!r} of the original is not supported: only {known!r} is")
        for section, content in self._config.items():
            for option, value in content.items() if isinstance(content, Mapping) else ():
                if isinstance(value, Computed) and (section in _READ or (section, option) in _SAME):
                    raise UserError(f"{section}.{option} = {value} is computed by the file: write the value itself")


def _with_numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with numbers in place of text such as ``2e-4``, which YAML reads as text; UserError if a number is
    missing.
    """
    out = dict(config)
    for section, options in _NUMBERS.items():
        if not isinstance(config.get(section, {}), Mapping):
            raise UserError(f"{section}={config[section]!r} is not a section: give the original's configuration")
        out[section] = content = dict(config.get(section, {}))
        for option in options:
            if option in content and not isinstance(content[option], Computed):
                content[option] = _number(content[option], f"{section}.{option}")
        if not content and section not in config:
            del out[section]
    return out


def _number(value: Any, name: str) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        return float(value) if isinstance(value, str) else int(value, 0)
    except (TypeError, ValueError):
        raise UserError(f"{name}={value!r} of the original must be a number") from None


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(_written(item) for item in value)}]"
    return str(value)
