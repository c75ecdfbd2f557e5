"""The published configurations of the original's ``configs/`` folder: defaults and differences."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

Sections = dict[str, dict[str, Any]]

_CIFAR10: Sections = {
    "training": {
        "batch_size": 128,
        "n_iters": 1300001,
        "snapshot_freq": 50000,
        "log_freq": 50,
        "eval_freq": 100,
        "snapshot_freq_for_preemption": 10000,
        "snapshot_sampling": True,
        "likelihood_weighting": False,
        "continuous": True,
        "reduce_mean": False,
    },
    "sampling": {"n_steps_each": 1, "noise_removal": True, "probability_flow": False, "snr": 0.16},
    "eval": {"begin_ckpt": 9, "end_ckpt": 26, "batch_size": 1024, "enable_sampling": False, "num_samples": 50000},
    "data": {
        "dataset": "CIFAR10",
        "image_size": 32,
        "random_flip": True,
        "centered": False,
        "uniform_dequantization": False,
        "num_channels": 3,
    },
    "model": {
        "sigma_min": 0.01,
        "sigma_max": 50,
        "num_scales": 1000,
        "beta_min": 0.1,
        "beta_max": 20.0,
        "dropout": 0.1,
        "embedding_type": "fourier",
    },
    "optim": {
        "weight_decay": 0,
        "optimizer": "Adam",
        "lr": 2e-4,
        "beta1": 0.9,
        "eps": 1e-8,
        "warmup": 5000,
        "grad_clip": 1.0,
    },
}
_NCSNPP: dict[str, Any] = {
    "name": "ncsnpp",
    "scale_by_sigma": True,
    "ema_rate": 0.999,
    "normalization": "GroupNorm",
    "nonlinearity": "swish",
    "nf": 128,
    "ch_mult": (1, 2, 2, 2),
    "num_res_blocks": 4,
    "attn_resolutions": (16,),
    "resamp_with_conv": True,
    "conditional": True,
    "fir": True,
    "fir_kernel": [1, 3, 3, 1],
    "skip_rescale": True,
    "resblock_type": "biggan",
    "progressive": "none",
    "progressive_input": "residual",
    "progressive_combine": "sum",
    "attention_type": "ddpm",
    "embedding_type": "fourier",
    "fourier_scale": 16,
    "init_scale": 0.0,
    "conv_size": 3,
}
_DDPM: dict[str, Any] = {
    "name": "ddpm",
    "scale_by_sigma": True,
    "ema_rate": 0.999,
    "normalization": "GroupNorm",
    "nonlinearity": "swish",
    "nf": 128,
    "ch_mult": (1, 2, 2, 2),
    "num_res_blocks": 2,
    "attn_resolutions": (16,),
    "resamp_with_conv": True,
    "conditional": True,
}
_LSUN: Sections = {
    "training": {"batch_size": 64, "n_iters": 2400001, "snapshot_freq_for_preemption": 5000},
    "sampling": {"snr": 0.075},
    "data": {"dataset": "LSUN", "image_size": 256},
    "model": {"sigma_max": 378, "num_scales": 2000, "dropout": 0.0},
}
_PYRAMID: dict[str, Any] = {
    "ch_mult": (1, 1, 2, 2, 2, 2, 2),
    "num_res_blocks": 2,
    "progressive": "output_skip",
    "progressive_input": "input_skip",
}
_FACES_1024: Sections = {
    "training": {"batch_size": 8, "n_iters": 2400001},
    "sampling": {"snr": 0.15},
    "data": {"image_size": 1024},
    "model": {
        **_PYRAMID,
        "nf": 16,
        "ch_mult": (1, 2, 4, 8, 16, 32, 32, 32),
        "num_res_blocks": 1,
        "sigma_max": 1348,
        "num_scales": 2000,
        "dropout": 0.0,
        "ema_rate": 0.9999,
    },
}
_DEEP: Sections = {"training": {"n_iters": 950001}, "model": {"num_res_blocks": 8}}
_POSITIONAL: Sections = {"model": {"embedding_type": "positional"}}
_PLUSPLUS: Sections = {"model": {"fir": False, "progressive_input": "none"}}


def _ve(continuous: bool = True) -> Sections:
    return {
        "training": {"sde": "vesde", "continuous": continuous},
        "sampling": {"method": "pc", "predictor": "reverse_diffusion", "corrector": "langevin"},
    }


def _vp(sde: str, predictor: str, continuous: bool = True) -> Sections:
    return {
        "training": {"sde": sde, "continuous": continuous, "reduce_mean": True},
        "sampling": {"method": "pc", "predictor": predictor, "corrector": "none"},
        "data": {"centered": True},
        "model": {"scale_by_sigma": False, "ema_rate": 0.9999},
    }


def _merged(*parts: Mapping[str, Mapping[str, Any]]) -> Sections:
    out: Sections = deepcopy(_CIFAR10)
    for part in parts:
        for section, options in part.items():
            out.setdefault(section, {}).update(options)
    return out


_NCSN, _PLAIN = {"model": _NCSNPP}, {"model": _DDPM}
_ANCESTRAL, _EULER, _REVERSE = "ancestral_sampling", "euler_maruyama", "reverse_diffusion"
_DDPM_256: Sections = {"model": {"ch_mult": (1, 1, 2, 2, 4, 4), "num_scales": 1000}, "optim": {"lr": 2e-5}}
_CELEBA: Sections = {
    "sampling": {"snr": 0.17},
    "data": {"dataset": "CELEBA", "image_size": 64},
    "model": {"sigma_max": 90.0},
}

CONFIGS: dict[str, Sections] = {
    "ve/cifar10_ddpm": _merged(_PLAIN, _ve(False)),
    "ve/cifar10_ncsnpp": _merged(_NCSN, _POSITIONAL, _ve(False)),
    "ve/cifar10_ncsnpp_continuous": _merged(_NCSN, _ve()),
    "ve/cifar10_ncsnpp_deep_continuous": _merged(_NCSN, _ve(), _DEEP),
    "ve/celeba_ncsnpp": _merged(_NCSN, _POSITIONAL, _CELEBA, _ve(False)),
    **{
        f"ve/{data}_ncsnpp_continuous": _merged(
            _NCSN, _LSUN, {"model": {**_PYRAMID, "sigma_max": sigma_max}, "data": {"dataset": kind}}, _ve()
        )
        for data, kind, sigma_max in (
            ("bedroom", "LSUN", 378),
            ("church", "LSUN", 380),
            ("celebahq_256", "CelebAHQ", 348),
            ("ffhq_256", "FFHQ", 348),
        )
    },
    "ve/celebahq_ncsnpp_continuous": _merged(_NCSN, _FACES_1024, {"data": {"dataset": "CelebAHQ"}}, _ve()),
    "ve/ffhq_ncsnpp_continuous": _merged(
        _NCSN, _FACES_1024, {"data": {"dataset": "FFHQ"}, "training": {"reduce_mean": True}}, _ve()
    ),
    "vp/cifar10_ddpmpp": _merged(_NCSN, _POSITIONAL, _PLUSPLUS, _vp("vpsde", _ANCESTRAL, False)),
    "vp/cifar10_ncsnpp": _merged(_NCSN, _POSITIONAL, _vp("vpsde", _REVERSE, False)),
    "vp/ddpm/cifar10": _merged(_PLAIN, _vp("vpsde", _ANCESTRAL, False)),
    "vp/ddpm/cifar10_continuous": _merged(_PLAIN, _vp("vpsde", _EULER)),
    **{
        f"vp/ddpm/{data}": _merged(_LSUN, _PLAIN, _vp("vpsde", _ANCESTRAL, False), _DDPM_256)
        for data in ("bedroom", "church", "celebahq")
    },
    "subvp/cifar10_ddpm_continuous": _merged(_PLAIN, _vp("subvpsde", _EULER)),
    **{
        f"{sde}/cifar10_{net}{deep}_continuous": _merged(
            _NCSN, _POSITIONAL, _PLUSPLUS if net == "ddpmpp" else {}, _vp(f"{sde}sde", _EULER), _DEEP if deep else {}
        )
        for sde in ("vp", "subvp")
        for net in ("ddpmpp", "ncsnpp")
        for deep in ("", "_deep")
    },
}


def write(folder: Path, name: str, config: Sections | None = None) -> Path:
    """Write the configuration as Python files in the original's layout: the defaults, and a file that changes them."""
    lines = ["import ml_collections", "import torch", "", "def get_default_configs():"]
    lines += ["  config = ml_collections.ConfigDict()"]
    for section, options in _CIFAR10.items():
        short = "evaluate" if section == "eval" else section
        lines.append(f"  config.{section} = {short} = ml_collections.ConfigDict()")
        lines += [f"  {short}.{option} = {value!r}" for option, value in options.items()]
    device = "torch.device('cuda:0') if torch.cuda.is_available() else torch.device('cpu')"
    lines += ["  config.seed = 42", f"  config.device = {device}", "  return config"]
    path = folder / "configs" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "default_cifar10_configs.py").write_text("\n".join(lines))
    lines = ["from configs.default_cifar10_configs import get_default_configs", "", "def get_config():"]
    lines += ['  """As published."""', "  config = get_default_configs()"]
    for section, options in (config or CONFIGS[name]).items():
        if section in _CIFAR10:
            lines.append(f"  {section} = config.{section}")
            lines += [f"  {section}.{option} = {value!r}" for option, value in options.items()]
        else:
            lines.append(f"  config.{section} = {options!r}")
    path.write_text("\n".join([*lines, "  return config", ""]))
    return path
