"""Commands with checkpoints of other programs: sampling and initializing training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from src.checkpoint import restore_model
from src.errors import UserError
from src.interop.checkpoints import open_checkpoint
from src.interop.safetensors import write_checkpoint_file
from src.tasks.train.states import load_initial_weights
from tests.interop import originals
from tests.nets import goldens
from tests.tasks.example import IMAGES, config, sample, write_checkpoint

SONG = {
    "model": goldens.CONFIGS["ncsnpp_ve_continuous"]["model"],
    "data": {"image_size": 16, "num_channels": 3, "centered": False},
    "training": {"sde": "vesde", "continuous": True},
}
FEW = ("num_samples=2", "sampler.grid.steps=2", "accelerator=cpu", "devices=1", "raw=true")


def raw(folder: Path) -> dict[str, bytes]:
    """Return the arrays; the archive around them contains the time of writing."""
    with np.load(folder / "raw.npz") as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


def test_samples_of_a_pth_use_its_weights(tmp_path: Path) -> None:
    path = originals.write(tmp_path, "song")
    (tmp_path / "song.json").write_text(json.dumps(SONG))
    experiment = f"experiment={tmp_path}/song.json"
    sample(f"ckpt_path={path}", experiment, *FEW, f"output_dir={tmp_path}/pth")
    write_checkpoint_file(open_checkpoint(path, f"{tmp_path}/song.json"), tmp_path / "a.safetensors")
    sample(f"ckpt_path={tmp_path}/a.safetensors", *FEW, f"output_dir={tmp_path}/safetensors")
    sample(f"ckpt_path={path}", experiment, *FEW, "weights=raw", f"output_dir={tmp_path}/unaveraged")
    assert raw(tmp_path / "pth") == raw(tmp_path / "safetensors") != raw(tmp_path / "unaveraged")
    # A .pth contains no configuration: samples of another configuration must not go into the same folder.
    other = SONG | {"model": SONG["model"] | {"nonlinearity": "elu"}}
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match=r"model\.net\.nonlinearity is \"swish\" in the folder and \"elu\" now"):
        sample(f"ckpt_path={path}", f"experiment={tmp_path}/other.json", *FEW, f"output_dir={tmp_path}/pth")


def test_init_from_another_net_names_the_settings_that_differ(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.ckpt", *IMAGES)
    other = config(*IMAGES, "net.nf=16", "net.num_res_blocks=2")
    cfg = OmegaConf.create({**other, "init_from": str(path), "paths": {"log_dir": str(tmp_path)}, "name": "a"})
    module = nn.ModuleDict({"model": instantiate(other["model"], _convert_="all")})
    with pytest.raises(
        UserError, match=r"another net, net\.nf=16 \(the checkpoint has 8\), net\.num_res_blocks=2 \("
    ) as caught:
        load_initial_weights(path, cfg, module)
    assert "conv" not in str(caught.value)


@pytest.mark.parametrize("layout", originals.LAYOUTS)
def test_init_from_a_pth_uses_its_averages(tmp_path: Path, layout: str) -> None:
    path = originals.write(tmp_path, layout)
    config = originals.config()
    paths = {"log_dir": str(tmp_path), "run_dir": str(tmp_path / "run")}
    cfg = OmegaConf.create({**config, "init_from": str(path), "paths": paths, "name": "a"})
    net = restore_model(open_checkpoint(path, config=config), "raw").net
    module = nn.ModuleDict({"model": nn.ModuleDict({"net": net})})
    load_initial_weights(path, cfg, module)
    expected = restore_model(open_checkpoint(path, config=config), "ema").net.state_dict()
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in expected.items())
