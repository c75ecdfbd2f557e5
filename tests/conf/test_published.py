"""Settings of every published configuration of Song et al. 2021, compared with the experiment of the same name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conf.test_experiments import EXPERIMENTS, composed

# All use: Adam, betas (0.9, 0.999), eps 1e-8, no weight decay, warm-up of 5,000 steps, gradient norm clipped at 1,
# random flips, the noise removed after the last step, 1,000 scales for training in discrete time.
COLUMNS = (
    *("lr", "batch", "iterations", "ema", "range_of_sde", "snr", "steps"),
    *("reduction", "predictor", "corrector", "dropout", "image_range"),
)
REVERSE, ANCESTRAL, EULER = "ReverseDiffusion", "AncestralSampling", "EulerMaruyama"
BETAS = (0.1, 20.0)


def _ve(
    sigma_max: float = 50.0,
    snr: float = 0.16,
    batch: int = 128,
    iterations: int = 1_300_000,
    ema: float = 0.999,
    steps: int = 1000,
    reduction: str = "sum",
    dropout: float = 0.1,
) -> tuple[object, ...]:
    sigmas = (0.01, sigma_max)
    return 2e-4, batch, iterations, ema, sigmas, snr, steps, reduction, REVERSE, "Langevin", dropout, "unit"


def _vp(
    predictor: str, iterations: int = 1_300_000, lr: float = 2e-4, batch: int = 128, dropout: float = 0.1
) -> tuple[object, ...]:
    corrector = "NoCorrector"
    return lr, batch, iterations, 0.9999, BETAS, None, 1000, "mean", predictor, corrector, dropout, "centered"


_LARGE: dict[str, Any] = {"batch": 64, "iterations": 2_400_000, "snr": 0.075, "steps": 2000, "dropout": 0.0}
_FACES_1024: dict[str, Any] = {
    "batch": 8,
    "iterations": 2_400_000,
    "snr": 0.15,
    "steps": 2000,
    "dropout": 0.0,
    "ema": 0.9999,
}
_DDPM_256: dict[str, Any] = {"lr": 2e-5, "batch": 64, "iterations": 2_400_000, "dropout": 0.0}
PUBLISHED: dict[str, tuple[object, ...]] = {
    "ve/cifar10_ddpm": _ve(),
    "ve/cifar10_ncsnpp": _ve(),
    "ve/cifar10_ncsnpp_continuous": _ve(),
    "ve/cifar10_ncsnpp_deep_continuous": _ve(iterations=950_000),
    "ve/celeba_ncsnpp": _ve(sigma_max=90.0, snr=0.17),
    "ve/bedroom_ncsnpp_continuous": _ve(sigma_max=378.0, **_LARGE),
    "ve/church_ncsnpp_continuous": _ve(sigma_max=380.0, **_LARGE),
    "ve/celebahq_256_ncsnpp_continuous": _ve(sigma_max=348.0, **_LARGE),
    "ve/ffhq_256_ncsnpp_continuous": _ve(sigma_max=348.0, **_LARGE),
    "ve/celebahq_ncsnpp_continuous": _ve(sigma_max=1348.0, **_FACES_1024),
    "ve/ffhq_ncsnpp_continuous": _ve(sigma_max=1348.0, reduction="mean", **_FACES_1024),
    "vp/cifar10_ddpmpp": _vp(ANCESTRAL),
    "vp/cifar10_ncsnpp": _vp(REVERSE),
    "vp/ddpm/cifar10": _vp(ANCESTRAL),
    "vp/ddpm/cifar10_continuous": _vp(EULER),
    **{f"vp/ddpm/{data}": _vp(ANCESTRAL, **_DDPM_256) for data in ("bedroom", "church", "celebahq")},
    "subvp/cifar10_ddpm_continuous": _vp(EULER),
    **{f"{sde}/cifar10_{net}_continuous": _vp(EULER) for sde in ("vp", "subvp") for net in ("ddpmpp", "ncsnpp")},
    **{
        f"{sde}/cifar10_{net}_deep_continuous": _vp(EULER, iterations=950_000)
        for sde in ("vp", "subvp")
        for net in ("ddpmpp", "ncsnpp")
    },
}


def test_every_published_experiment_is_in_the_table() -> None:
    assert sorted(PUBLISHED) == [name for name in EXPERIMENTS if name.startswith(("ve/", "vp/", "subvp/"))]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_settings(name: str) -> None:
    cfg: Any = composed(f"experiment={name}", "metric=pixel")
    sampler, ve = cfg.sampler, name.startswith("ve/")
    found = (
        cfg.optimizer.lr,
        cfg.datamodule.global_batch_size,
        cfg.trainer.max_steps,
        cfg.ema.default.decay,
        (cfg.sde.sigma_min, cfg.sde.sigma_max) if ve else (cfg.sde.beta_min, cfg.sde.beta_max),
        sampler.corrector.get("snr"),
        sampler.grid.steps,
        cfg.objective.reduction,
        sampler.predictor._target_.rsplit(".", 1)[-1],
        sampler.corrector._target_.rsplit(".", 1)[-1],
        cfg.net.dropout,
        cfg.datamodule.data_range,
    )
    assert dict(zip(COLUMNS, found, strict=True)) == dict(zip(COLUMNS, PUBLISHED[name], strict=True))
    optimizer = cfg.optimizer
    assert (optimizer._target_, optimizer.eps, optimizer.weight_decay) == ("torch.optim.Adam", 1e-8, 0.0)
    assert list(optimizer.betas) == [0.9, 0.999] and not optimizer.get("amsgrad", False)
    assert cfg.scheduler.steps == 5000 and cfg.trainer.gradient_clip_val == 1.0
    assert cfg.datamodule.random_flip and sampler.denoise and sampler.corrector_first
    assert sampler.grid.eps == (1e-5 if ve else 1e-3) and sampler.corrector.get("steps", 1) == 1
    if not name.endswith("_continuous"):
        assert cfg.parametrization.num_scales == cfg.objective.time_sampler.num_scales == 1000
