"""Every experiment composes, resolves and builds; published ones have the published number of parameters."""

from __future__ import annotations

import copy
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict
from PIL import Image

from src.cli.instantiate import instantiate, instantiate_all, needs_data, plain
from src.cli.run_dir import register_resolvers
from src.config.location import CONFIG_DIR
from src.errors import UserError
from src.interop.song.fitting import net_of
from src.sde import ScoreModel
from src.tasks.train.checks import check_model, check_run
from src.tasks.train.choices import choose_settings, needs_choices
from tests.support.configs import names, read

FOLDER = CONFIG_DIR / "experiment"
OF_SPEED = ("compile", "channels_last", "checkpoint_activations")
EXPERIMENTS = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.yaml"))

# Trainable parameters, counted in the original nets.
PUBLISHED = {
    "ve/cifar10_ncsnpp": 62_693_251,
    "ve/cifar10_ncsnpp_continuous": 62_758_787,
    "ve/cifar10_ncsnpp_deep_continuous": 107_586_947,
    "ve/celeba_ncsnpp": 62_693_251,
    "ve/cifar10_ddpm": 35_218_947,
    "subvp/cifar10_ddpm_continuous": 35_218_947,
    "vp/ddpm/cifar10": 35_218_947,
    "vp/ddpm/cifar10_continuous": 35_218_947,
    **{f"{sde}/cifar10_ncsnpp_continuous": 62_693_251 for sde in ("vp", "subvp")},
    **{f"{sde}/cifar10_ncsnpp_deep_continuous": 107_521_411 for sde in ("vp", "subvp")},
    **{f"{sde}/cifar10_ddpmpp_continuous": 61_804_419 for sde in ("vp", "subvp")},
    **{f"{sde}/cifar10_ddpmpp_deep_continuous": 106_632_579 for sde in ("vp", "subvp")},
    **{f"ve/{data}_ncsnpp_continuous": 65_574_421 for data in ("bedroom", "church", "celebahq_256", "ffhq_256")},
    **{f"ve/{data}_ncsnpp_continuous": 105_785_880 for data in ("celebahq", "ffhq")},
    **{f"vp/ddpm/{data}": 111_569_923 for data in ("bedroom", "church", "celebahq")},
}


def composed(*overrides: str) -> DictConfig:
    return copy.deepcopy(_composed(*overrides))


@functools.cache
def _composed(*overrides: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        # Outside a job there is no Hydra node; required paths get a value.
        cfg = compose("train", overrides=["paths.run_dir=run", *overrides])
    with open_dict(cfg):
        for key, value in (("path", str(own_images())), ("dim", 5)):
            if OmegaConf.is_missing(cfg.datamodule, key):
                cfg.datamodule[key] = value
        if needs_choices(cfg):
            cfg.datamodule.path, cfg.datamodule.data_dir = str(own_images()), str(own_images().parent / "data")
    choose_settings(cfg)
    return cfg


@pytest.fixture(autouse=True)
def nets_are_checked_for_labels_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check calls the whole net, which takes most of the time here; tests/nets/test_every_net.py does it small."""
    monkeypatch.setattr(ScoreModel, "check_labels", lambda *_: None)


def weights_of(net: Any) -> Any:
    """Return the settings that weights depend on, None for a net that the original does not have."""
    known = isinstance(net, dict) and net["_target_"] in ("src.nets.NCSNpp", "src.nets.DDPM")
    return {key: net[key] for key in net if key not in OF_SPEED} if known else None


@functools.cache
def own_images() -> Path:
    """Return a folder of small images for experiments that choose settings from the data."""
    folder = Path(tempfile.mkdtemp()) / "images"
    folder.mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), np.uint8)):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_builds(name: str) -> None:
    cfg = composed(f"experiment={name}")
    assert plain(cfg)["name"] == name, "the run name must be the experiment name"
    if name != "images":  # its net depends on the data
        assert weights_of(net_of(name)) == weights_of(plain(cfg)["model"].get("net")), "for checkpoints of the original"
    check_model(cfg)
    # Inception weights are not available in tests; the callback is the same with another extractor.
    if "metric" in cfg:
        cfg.metric = read("metric", "pixel")
    instantiate_all(cfg.callbacks)


def settings_of_a_gpu(cfg: DictConfig) -> dict[str, object]:
    net, trainer = cfg.get("net") or {}, cfg.trainer
    return {
        "float32": cfg.float32_matmul_precision,
        "compile": (net.get("compile"), cfg.module.compile),
        "channels_last": net.get("channels_last"),
        **{key: trainer[key] for key in ("accelerator", "precision", "benchmark", "deterministic", "strategy")},
    }


FAST = {
    "float32": "high",
    "compile": (True, True),
    "channels_last": True,
    "accelerator": "gpu",
    "precision": "bf16-mixed",
    "benchmark": True,
    "deterministic": False,
    "strategy": "auto",
}
EXACT = FAST | {"float32": "highest", "precision": "32-true", "benchmark": False, "deterministic": True}


# The published experiments of a folder differ in nothing that a trainer sets.
@pytest.mark.parametrize(
    "name", [name for name in EXPERIMENTS if "/" not in name or name.endswith("/cifar10_ncsnpp_continuous")]
)
def test_trainer_gpu_sets_fast_settings_for_every_kind_of_experiment(name: str) -> None:
    cfg = composed(f"experiment={name}", "trainer=gpu", "metric=pixel")
    assert settings_of_a_gpu(cfg) == FAST | {"compile": (True, instantiate(cfg.objective).compilable)}
    # Settings of the experiment are kept.
    assert cfg.trainer.max_steps == composed(f"experiment={name}").trainer.max_steps
    assert cfg.optimizer.fused, "clipping and skipped steps must stay on the device"
    check_model(cfg)


@pytest.mark.parametrize("name", ["ve/cifar10_ncsnpp_continuous", "vp/ddpm/church", "toy2d"])
def test_trainer_gpu_exact_and_ddp(name: str) -> None:
    exact = settings_of_a_gpu(composed(f"experiment={name}", "trainer=gpu_exact"))
    assert exact == EXACT | {"compile": (False, False), "channels_last": False}
    several = composed(f"experiment={name}", "trainer=ddp")
    assert settings_of_a_gpu(several) == FAST | {"strategy": "ddp"} and several.trainer.devices == -1
    # The command line overrides the trainer.
    slower = composed(f"experiment={name}", "trainer=gpu", "net.compile=false", "trainer.precision=32-true")
    assert slower.net.compile is False and slower.trainer.precision == "32-true"


def test_a_loss_that_cannot_be_compiled_is_refused() -> None:
    cfg = composed("experiment=digits_meanflow", "module.compile=true", "net.compile=true")
    with pytest.raises(UserError, match=r"module\.compile=true, but .* MeanFlow: set module\.compile=false"):
        check_model(cfg)


@pytest.mark.parametrize("name", names("debug"))
@pytest.mark.parametrize("experiment", ["ve/cifar10_ncsnpp_continuous", "digits", "digits_classifier", "toy2d"])
def test_debug_settings_fit_every_kind_of_run(name: str, experiment: str) -> None:
    check_run(composed(f"experiment={experiment}", f"debug={name}", "trainer=cpu", "metric=pixel"))


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_number_of_parameters(name: str) -> None:
    cfg = composed(f"experiment={name}")
    if needs_data(cfg):
        cfg.sde.prior_mean = 0.0
    with torch.device("meta"):
        model = instantiate(cfg.model)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == PUBLISHED[name]


def test_the_default_is_the_cifar10_run_of_the_paper() -> None:
    cfg, named = composed(), composed("experiment=ve/cifar10_ncsnpp_continuous")
    assert {**plain(cfg), "name": ""} == {**plain(named), "name": ""}
    expected = {
        "sde.sigma_min": 0.01,
        "sde.sigma_max": 50.0,
        "sde.T": 1.0,
        "datamodule.data_range": "unit",
        "datamodule.global_batch_size": 128,
        "datamodule.random_flip": True,
        "objective.time_sampler.eps": 1e-5,
        "objective.reduction": "sum",
        "optimizer.lr": 2e-4,
        "optimizer.betas": [0.9, 0.999],
        "optimizer.eps": 1e-8,
        "optimizer.weight_decay": 0.0,
        "scheduler.steps": 5000,
        "trainer.gradient_clip_val": 1.0,
        "trainer.max_steps": 1_300_000,
        "ema.default.decay": 0.999,
        "net.dropout": 0.1,
        "sampler.grid.steps": 1000,
        "sampler.grid.eps": 1e-5,
        "sampler.corrector.snr": 0.16,
        "sampler.corrector.steps": 1,
        "sampler.corrector_first": True,
        "sampler.denoise": True,
    }
    for key, value in expected.items():
        found = plain(cfg)
        for part in key.split("."):
            found = found[part]
        assert found == value, key


@pytest.mark.parametrize(
    ("sde", "sampler"),
    [("vp", ["sampler=pc_vp", "sampler.grid.steps=100"]), ("subvp", ["sampler.grid.eps=1e-3"])],
)
def test_digits_vp_and_subvp_are_digits_with_matching_settings(sde: str, sampler: list[str]) -> None:
    written_out = composed(
        "experiment=digits",
        f"sde={sde}",
        "parametrization=song_vp",
        "objective=score_matching_mean",
        *sampler,
        "datamodule.data_range=centered",
        "net.embedding_type=positional",
    )
    assert {**plain(composed(f"experiment=digits_{sde}")), "name": ""} == {**plain(written_out), "name": ""}
    check_model(written_out)
