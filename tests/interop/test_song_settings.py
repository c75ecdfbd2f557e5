"""Every key of the original's configuration files is used or reported; published files give the published recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from src.cli.arguments import training_arguments
from src.config.location import CONFIG_DIR
from src.errors import UserError
from src.interop.song.config import build_net
from src.interop.song.experiments import read_original
from src.interop.song.settings import convert_settings
from tests.conf import test_published as recipes
from tests.conf.test_experiments import PUBLISHED as PARAMETERS
from tests.conf.test_experiments import composed
from tests.interop.published import CONFIGS, write

NO_COUNTERPART = {
    *("training.eval_freq", "eval.begin_ckpt", "eval.end_ckpt", "eval.batch_size", "eval.enable_sampling"),
    *("eval.num_samples", "device"),
}
NODES = ("sde", "parametrization", "net", "objective", "optimizer", "scheduler", "ema", "sampler")


def names(unused: list[str]) -> set[str]:
    return {key.partition("=")[0] for key in unused}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_published_file_gives_the_published_recipe(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name)
    carried = read_original(str(path))
    found: dict[str, Any] = carried.settings
    ve = name.startswith("ve/")
    predictor = {
        "predictor_only": "ReverseDiffusion",
        "ancestral": "AncestralSampling",
        "euler_maruyama": "EulerMaruyama",
    }[found["sampler"]]
    row = (
        found["optimizer.lr"],
        found["datamodule.global_batch_size"],
        found["trainer.max_steps"],
        found["ema.default.decay"],
        (found["sde.sigma_min"], found["sde.sigma_max"]) if ve else (found["sde.beta_min"], found["sde.beta_max"]),
        found.get("++sampler.corrector.snr"),
        found["sampler.grid.steps"],
        found["objective.reduction"],
        predictor,
        found["sampler.corrector._target_"].rsplit(".", 1)[-1],
        found["net.dropout"],
        found["datamodule.data_range"],
    )
    expected = recipes.PUBLISHED[name]
    assert dict(zip(recipes.COLUMNS, row, strict=True)) == dict(zip(recipes.COLUMNS, expected, strict=True))
    assert names(carried.unused) == NO_COUNTERPART


def test_every_recipe_has_a_file() -> None:
    assert CONFIGS.keys() == recipes.PUBLISHED.keys()


@pytest.mark.parametrize("name", ["ve/ffhq_ncsnpp_continuous", "vp/cifar10_ddpmpp_continuous", "vp/ddpm/church"])
def test_nets_have_the_published_size(name: str) -> None:
    import torch

    with torch.device("meta"):
        net = build_net(CONFIGS[name])
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["ve/cifar10_ncsnpp_continuous", "ve/celeba_ncsnpp", "vp/ddpm/bedroom"])
def test_the_configuration_equals_that_of_the_experiment(name: str, tmp_path: Path) -> None:
    arguments = training_arguments([f"experiment={write(tmp_path, name)}", "trainer.devices=1"], CONFIG_DIR)
    theirs, ours = composed(*arguments), composed(f"experiment={name}")
    for node in (*NODES, "datamodule", "trainer"):
        one, other = (OmegaConf.to_container(cfg[node], resolve=True) for cfg in (theirs, ours))
        assert one == other, node


def changed(section: str, **options: Any) -> dict[str, Any]:
    base = CONFIGS["ve/cifar10_ncsnpp_continuous"]
    return base | {section: {**base[section], **options}}


KEYS = [
    ("training", {"likelihood_weighting": True}, {"objective": "likelihood", "objective.reduction": "sum"}),
    ("training", {"snapshot_sampling": False}, {"callbacks.sample_images": None}),
    ("training", {"snapshot_freq": 7, "log_freq": 3}, {"callbacks.milestones.every_n_steps": 7}),
    ("sampling", {"method": "ode", "noise_removal": False}, {"sampler.denoise": False, "sampler.eps": 1e-5}),
    ("sampling", {"probability_flow": True}, {"sampler.predictor.probability_flow": True}),
    ("sampling", {"n_steps_each": 3, "snr": 0.2}, {"++sampler.corrector.steps": 3, "++sampler.corrector.snr": 0.2}),
    ("sampling", {"predictor": "none", "corrector": "ald"}, {"sampler": "ald"}),
    ("data", {"uniform_dequantization": True, "random_flip": False}, {"datamodule.dequantize": True}),
    ("data", {"centered": True}, {"datamodule.data_range": "centered"}),
    ("data", {"dataset": "SVHN"}, {"datamodule": "svhn"}),
    ("optim", {"beta1": 0.5, "eps": 1e-6, "weight_decay": 0.1}, {"optimizer.betas": [0.5, 0.999]}),
    ("optim", {"warmup": 10, "grad_clip": -1.0}, {"scheduler.steps": 10, "trainer.gradient_clip_val": None}),
    ("optim", {"lr": "2e-5"}, {"optimizer.lr": 2e-5}),
    ("model", {"num_scales": 12}, {"sampler.grid.steps": 12}),
]


@pytest.mark.parametrize(("section", "options", "expected"), KEYS, ids=str)
def test_each_key_sets_its_counterpart(section: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    found = convert_settings(changed(section, **options)).settings
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("predictor", ["reverse_diffusion", "ancestral_sampling", "euler_maruyama", "none"])
@pytest.mark.parametrize("corrector", ["langevin", "ald", "none"])
def test_all_pairs_of_predictor_and_corrector(predictor: str, corrector: str) -> None:
    config = changed("sampling", predictor=predictor, corrector=corrector, snr=0.2, n_steps_each=3)
    if (predictor, corrector) == ("none", "none"):
        with pytest.raises(UserError, match=r"none\+none have no counterpart"):
            convert_settings(config)
        return
    from hydra.utils import instantiate

    overrides = [o for o in convert_settings(config).overrides() if "sampler" in o]
    sampler = instantiate(_node(overrides), _convert_="all")
    kinds = {
        *("reverse_diffusion:ReverseDiffusion", "ancestral_sampling:AncestralSampling", "langevin:Langevin"),
        *("euler_maruyama:EulerMaruyama", "ald:AnnealedLangevin"),
    }
    for there, here in ((predictor, sampler.predictor), (corrector, sampler.corrector)):
        name = type(here).__name__
        assert f"{there}:{name}" in kinds or (there == "none" and name.startswith("No"))
    assert corrector == "none" or (sampler.corrector.snr, sampler.corrector.steps) == (0.2, 3)


def _node(overrides: list[str]) -> Any:
    """Return conf/sampler/<file> with dotted values set; faster than composing everything with Hydra."""
    from tests.support.configs import read

    node = read("sampler", overrides[0].partition("=")[2])
    for override in overrides[1:]:
        key, _, value = override.partition("=")
        OmegaConf.update(
            node, key.lstrip("+").removeprefix("sampler."), OmegaConf.create(f"x: {value}").x, force_add=True
        )
    return node


def test_unknown_keys_are_reported() -> None:
    unused = names(convert_settings(changed("model", nff=3, new={"a": 1}) | {"extra": 1, "section": {"key": 2}}).unused)
    assert unused == {"model.nff", "model.new", "extra", "section.key", *NO_COUNTERPART} - {"device"}


REFUSED = [
    ("model", {"normalization": "InstanceNorm"}, "model.normalization='InstanceNorm' .* only 'GroupNorm'"),
    ("optim", {"optimizer": "AdaBelief"}, "optim.optimizer='AdaBelief'"),
    ("optim", {"lr": "fast"}, "optim.lr='fast' of the original must be a number"),
    ("training", {"n_iters": None}, "training.n_iters=None"),
    ("training", {"sde": "subvpsde", "continuous": False}, "scale_by_sigma=True with training.sde='subvpsde'"),
    ("sampling", {"method": "sde"}, "sampling.method='sde'"),
    ("sampling", {"predictor": "euler"}, r"euler\+langevin have no counterpart: choose one of reverse_diffusion"),
    ("sampling", {"predictor": "ancestral_sampling", "probability_flow": True}, "probability_flow=True with ancestral"),
]


@pytest.mark.parametrize(("section", "options", "message"), REFUSED, ids=str)
def test_unsupported_values_are_refused(section: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        convert_settings(changed(section, **options))
    assert "\n" not in str(caught.value)


PYTHON = [
    ("def get_config():\n  import os\n  os.system('touch HERE')\n  return {}", "line 2: 'import os' is more than"),
    ("def get_config():\n  c = {}\n  c.x = open('HERE', 'w')\n  return c", "model.name=None"),
    ("def get_config():\n  for i in range(3): pass", "line 2: .* is more than an assignment"),
    ("def get_config():\n  return get_config()", "returns no settings"),
    ("from configs.gone import get_config", "takes get_config from configs/gone.py, which is in no folder above it"),
    ("x = 1", "has no function get_config"),
    ("def get_config(:", "cannot be read"),
    ("def get_config():\n  c = {'model': {}}\n  c.model.nf = 2 * 64\n  return c", "model.name=None"),
]


@pytest.mark.parametrize(("text", "message"), PYTHON)
def test_python_files_are_read_without_running_them(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(text.replace("HERE", str(tmp_path / "HERE")))
    with pytest.raises(UserError, match=message) as caught:
        read_original(str(path))
    assert "\n" not in str(caught.value) and not (tmp_path / "HERE").exists()


def test_a_computed_value_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "ve/cifar10_ncsnpp_continuous")
    path.write_text(path.read_text().replace("model.nf = 128", "model.nf = 2 * 64"))
    with pytest.raises(UserError, match=r"model\.nf = 2 \* 64 is computed by the file"):
        read_original(str(path))


def test_the_command_line_has_precedence(tmp_path: Path) -> None:
    file = write(tmp_path, "ve/cifar10_ncsnpp_continuous")
    arguments = training_arguments(
        [f"experiment={file}", "sampler=heun", "optimizer.lr=1e-3", "trainer=cpu"], CONFIG_DIR
    )
    keys = [argument.lstrip("+").partition("=")[0] for argument in arguments]
    assert len(keys) == len(set(keys)) and [key for key in keys if key.startswith("sampler")] == ["sampler"]
    assert {"trainer.max_steps", "trainer.gradient_clip_val"} <= set(keys) and "optimizer.lr=1e-3" in arguments
    assert training_arguments(["experiment=digits", "seed=1"], CONFIG_DIR) == ["experiment=digits", "seed=1"]
    with pytest.raises(UserError, match=r"experiment=gone\.py: the file does not exist"):
        training_arguments(["experiment=gone.py"], CONFIG_DIR)
