import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra

from src.checkpoint import instantiate_node, restore_model
from src.errors import UserError
from src.interop.checkpoints import open_checkpoint
from src.interop.safetensors import write_checkpoint_file
from src.interop.song import experiments, fitting
from src.interop.song.checkpoint import architecture
from src.interop.song.names import to_song
from tests.checkpoint import example
from tests.interop import originals
from tests.nets import goldens
from tests.support.golden import relative

GOLDEN = goldens.CONFIGS["ncsnpp_ve_continuous"]
# The three sections of the original's configurations.
SONG: dict[str, Any] = {
    "model": GOLDEN["model"],
    "data": {"dataset": "LSUN", "image_size": 16, "num_channels": 3, "centered": False},
    "training": {"sde": "vesde", "continuous": True},
}


def test_own_checkpoints_open_without_an_experiment(tmp_path: Path) -> None:
    saved = example.checkpoint()
    torch.save(saved, tmp_path / "a.ckpt")
    write_checkpoint_file(saved, tmp_path / "a.safetensors")
    for name in ("a.ckpt", "a.safetensors"):
        opened = open_checkpoint(tmp_path / name)
        assert opened["config"] == saved["config"]
        assert opened["global_step"] == saved["global_step"]
        for weights in ("raw", "ema:default", "ema:short"):
            ours, theirs = restore_model(saved, weights).state_dict(), restore_model(opened, weights).state_dict()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_an_original_checkpoint_with_its_configuration(tmp_path: Path, suffix: str) -> None:
    path = originals.write(tmp_path, "song")
    file = tmp_path / f"song{suffix}"
    file.write_text(yaml.safe_dump(SONG) if suffix == ".yaml" else json.dumps(SONG))
    checkpoint = open_checkpoint(path, str(file))
    model = restore_model(checkpoint, "raw")
    case = originals.outputs()
    t = torch.log(case["sigma"].double() / 0.01) / torch.log(torch.tensor(5000.0, dtype=torch.float64))
    with torch.no_grad():
        assert relative(model(case["x"], t), case["y_raw"]) < 1e-5
    assert checkpoint["config"]["datamodule"]["image_size"] == 16
    assert checkpoint["config"]["sampler"]["grid"]["steps"] == 1000
    assert not GlobalHydra.instance().is_initialized()


SDES = [
    ("vesde", True, "VESDE", "SongVE", "unit"),
    ("vesde", False, "VESDE", "SMLDIndex", "unit"),
    ("vpsde", True, "VPSDE", "SongVP", "centered"),
    ("vpsde", False, "VPSDE", "DDPMIndex", "centered"),
    ("subvpsde", True, "SubVPSDE", "SongVP", "centered"),
]


@pytest.mark.parametrize(("sde", "continuous", "cls", "parametrization", "data_range"), SDES)
def test_sde_and_parametrization_of_original_configurations(
    tmp_path: Path, sde: str, continuous: bool, cls: str, parametrization: str, data_range: str
) -> None:
    scaled = sde == "vesde"
    model = SONG["model"] | {"num_scales": 7, "beta_max": 15.0, "sigma_max": 348, "scale_by_sigma": scaled}
    data = SONG["data"] | {"centered": data_range == "centered"}
    song = {"model": model, "data": data, "training": {"sde": sde, "continuous": continuous}}
    (tmp_path / "song.yaml").write_text(yaml.safe_dump(song))
    config = experiments.training_config(str(tmp_path / "song.yaml"))
    config["sde"].pop("prior_mean", None)
    config["model"]["sde"].pop("prior_mean", None)
    built = instantiate_node(config["model"])
    assert (type(built.sde).__name__, type(built.parametrization).__name__) == (cls, parametrization)
    assert built.data_range == data_range
    assert getattr(built.sde, "sigma_max" if sde == "vesde" else "beta_max") == (348 if sde == "vesde" else 15)
    assert continuous or built.parametrization.num_scales == 7
    assert config["sampler"]["grid"]["steps"] == 7


def test_settings_of_the_original_are_carried_over(tmp_path: Path) -> None:
    song = SONG | {
        "training": SONG["training"] | {"batch_size": 8, "n_iters": 2_400_001},
        "model": SONG["model"] | {"ema_rate": 0.99},
        "optim": {"lr": 2e-5},
        "sampling": {
            "predictor": "ancestral_sampling",
            "corrector": "langevin",
            "snr": 0.15,
            "n_steps_each": 2,
            "noise_removal": False,
        },
    }
    (tmp_path / "song.yaml").write_text(yaml.safe_dump(song))
    config = experiments.training_config(str(tmp_path / "song.yaml"))
    sampler = config["sampler"]
    assert sampler["predictor"]["_target_"].endswith("AncestralSampling") and sampler["denoise"] is False
    assert (sampler["corrector"]["snr"], sampler["corrector"]["steps"]) == (0.15, 2)
    assert (config["optimizer"]["lr"], config["ema"]["default"]["decay"]) == (2e-5, 0.99)
    assert (config["trainer"]["max_steps"], config["datamodule"]["global_batch_size"]) == (2_400_000, 8)


def test_invalid_original_configurations_give_one_line(tmp_path: Path) -> None:
    file = tmp_path / "song.yaml"
    for text, message in (
        ("model: [", "cannot be read"),
        ("- 1", "no sections"),
        (yaml.safe_dump(SONG | {"training": {"sde": "edm"}}), "training.sde='edm'"),
        (yaml.safe_dump(SONG | {"training": {"sde": "vpsde"}}), "scale_by_sigma=True with training.sde='vpsde'"),
        (yaml.safe_dump(SONG | {"sampling": {"predictor": "none", "corrector": "none"}}), "none.none have no"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=message) as caught:
            experiments.training_config(str(file))
        assert "\n" not in str(caught.value)


def test_an_experiment_by_name(tmp_path: Path) -> None:
    config = experiments.training_config("ve/cifar10_ncsnpp_continuous")
    assert sum(p.numel() for p in architecture(config).parameters()) == 62_758_787
    with pytest.raises(UserError, match=r"no experiment=cifar: choose one of .*ve/cifar10_ncsnpp_continuous"):
        experiments.training_config("cifar")


def test_without_an_experiment_matching_ones_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Includes one without a net, and one whose net depends on unknown data.
    names = ["digits_classifier", "vectors", "digits", "ve/church_ncsnpp_continuous", "ve/cifar10_ncsnpp_continuous"]
    monkeypatch.setattr(fitting, "experiments", lambda: names)
    net = architecture(experiments.training_config("digits")).to_empty(device="cpu")
    torch.save({"model": to_song(net, prefix="module."), "ema": {}}, tmp_path / "digits.pth")
    with pytest.raises(UserError, match="add experiment=<one of digits>"):
        open_checkpoint(tmp_path / "digits.pth")
    with pytest.raises(UserError, match="experiment=<the path of its configuration"):
        open_checkpoint(originals.write(tmp_path, "peng"))


def test_files_of_other_programs_are_refused(tmp_path: Path) -> None:
    torch.save({"model": {"conv.weight": torch.zeros(1)}}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="comes from another program"):
        open_checkpoint(tmp_path / "a.pth", "digits")
    (tmp_path / "a.safetensors").write_bytes(b"no header")
    with pytest.raises(UserError, match="damaged"):
        open_checkpoint(tmp_path / "a.safetensors")
