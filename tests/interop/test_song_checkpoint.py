import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from src.checkpoint import restore_model
from src.errors import UserError
from src.interop.song.checkpoint import read_song_checkpoint, write_song_checkpoint
from tests.interop import originals
from tests.support.golden import relative

AVERAGED = {"song": "y_song_ema", "peng": "y_dexin_ema"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("originals")
    return {layout: originals.write(folder, layout) for layout in originals.LAYOUTS}


def scores(checkpoint: dict[str, Any], weights: str) -> Tensor:
    case = originals.outputs()
    # t from sigma = sigma_min (sigma_max / sigma_min)^t
    t = torch.log(case["sigma"].double() / 0.01) / math.log(50.0 / 0.01)
    with torch.no_grad():
        return restore_model(checkpoint, weights)(case["x"], t)


@pytest.mark.parametrize("layout", originals.LAYOUTS)
def test_outputs_match_the_original_program(files: dict[str, Path], layout: str) -> None:
    checkpoint = read_song_checkpoint(files[layout], originals.config())
    expected = originals.outputs()
    for weights, name in (("raw", "y_raw"), ("ema", AVERAGED[layout])):
        for actual, target in zip(scores(checkpoint, weights), expected[name], strict=True):
            assert relative(actual, target) < 1e-5  # float32 rounding over about thirty layers
    # Raw and averaged weights must differ for the checks above.
    assert relative(expected["y_raw"], expected[AVERAGED[layout]]) > 1e-2
    assert checkpoint["global_step"] == 5
    assert checkpoint["foreign"]["layout"] == layout


@pytest.mark.parametrize("layout", originals.LAYOUTS)
def test_round_trip_is_exact(files: dict[str, Path], layout: str, tmp_path: Path) -> None:
    write_song_checkpoint(read_song_checkpoint(files[layout], originals.config()), tmp_path / "back.pth", layout)
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    there = originals.content(layout)
    assert back.keys() == there.keys() and back["ema"].keys() == there["ema"].keys()
    assert back.get("step") == there.get("step")
    assert list(back["model"]) == list(there["model"])
    assert all(torch.equal(back["model"][name], there["model"][name]) for name in there["model"])
    pairs = zip(back["ema"].pop("shadow_params"), there["ema"].pop("shadow_params"), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    assert back["ema"] == there["ema"]


def test_the_written_optimizer_state_loads_into_adam(files: dict[str, Path], tmp_path: Path) -> None:
    write_song_checkpoint(read_song_checkpoint(files["song"], originals.config()), tmp_path / "back.pth")
    written = torch.load(tmp_path / "back.pth", weights_only=True)
    parameters = [tensor for name, tensor in written["model"].items() if not name.endswith("sigmas")]
    optimizer = torch.optim.Adam(parameters, lr=1.0)
    optimizer.load_state_dict(written["optimizer"])
    assert optimizer.param_groups[0]["lr"] == 2e-4


def test_noise_levels_are_computed_if_unknown(files: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = read_song_checkpoint(files["song"], originals.config())
    del checkpoint["foreign"]
    write_song_checkpoint(checkpoint, tmp_path / "back.pth")
    written = torch.load(tmp_path / "back.pth", weights_only=True)["model"]["module.sigmas"]
    torch.testing.assert_close(written, originals.content("song")["model"]["module.sigmas"], rtol=1e-12, atol=0)


@pytest.mark.parametrize(("layout", "mean"), [("song", 0.0), ("peng", [0.4914, 0.4822, 0.4465])])
def test_the_prior_mean_follows_the_program(files: dict[str, Path], layout: str, mean: Any) -> None:
    assert restore_model(read_song_checkpoint(files[layout], originals.config())).sde.prior_mean == mean
    chosen = originals.config()
    chosen["model"]["sde"]["prior_mean"] = 0.25
    assert restore_model(read_song_checkpoint(files[layout], chosen)).sde.prior_mean == 0.25
    assert originals.config()["model"]["sde"]["prior_mean"] == "data"


def test_gray_nets_cannot_be_written_in_pengs_layout(tmp_path: Path) -> None:
    gray = {"config": originals.config(in_channels=1)}
    with pytest.raises(UserError, match=r"no prior for nets with 1 channel\(s\).* use song"):
        write_song_checkpoint(gray, tmp_path / "gray.pth", "peng")


def drop_weight(content: dict[str, Any]) -> None:
    del content["model"]["module.all_modules.3.bias"]


def add_weight(content: dict[str, Any]) -> None:
    content["model"]["module.all_modules.99.weight"] = torch.zeros(1)


def shorten_average(content: dict[str, Any]) -> None:
    content["ema"]["shadow_params"].pop()


def swap_averages(content: dict[str, Any]) -> None:
    shadow = content["ema"]["shadow_params"]
    shadow[0], shadow[1] = shadow[1], shadow[0]


def other_levels(content: dict[str, Any]) -> None:
    content["model"]["module.sigmas"] = content["model"]["module.sigmas"] * 2


FAULTS = [
    (drop_weight, r"lacks all_modules\.3\.bias"),
    (add_weight, r"unknown all_modules\.99\.weight"),
    (shorten_average, "155 tensors, but the net has 156 trainable ones and 157 in all"),
    (swap_averages, r"all_modules\.1\.weight \(64,\) instead of \(64, 32\)"),
    (other_levels, "sigma_max=100, but the configuration says 50"),
]


@pytest.mark.parametrize(("damage", "message"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_mismatches_give_one_line(tmp_path: Path, damage: Any, message: str) -> None:
    content = originals.content("song")
    damage(content)
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=message) as caught:
        read_song_checkpoint(tmp_path / "a.pth", originals.config())
    assert str(tmp_path / "a.pth") in str(caught.value) and "\n" not in str(caught.value)


def test_another_net_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="in other shapes"):
        read_song_checkpoint(files["song"], originals.config(nf=32))
    mlp = originals.config()
    mlp["model"]["net"] = {"_target_": "src.nets.MLP", "dim": 2}
    with pytest.raises(UserError, match="a MLP has no counterpart"):
        read_song_checkpoint(files["song"], mlp)


def test_a_file_without_averages_has_raw_weights_only(tmp_path: Path) -> None:
    content = originals.content("song")
    torch.save({"model": content["model"]}, tmp_path / "a.pth")
    checkpoint = read_song_checkpoint(tmp_path / "a.pth", originals.config())
    assert relative(scores(checkpoint, "raw"), originals.outputs()["y_raw"]) < 1e-5
    with pytest.raises(UserError, match="choose weights=raw"):
        restore_model(checkpoint, "ema")
