import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from src.checkpoint import restore_model
from src.errors import UserError
from src.interop import diffusers as diffusers_export
from src.interop.diffusers import unet_from, write_diffusers
from src.interop.export import main
from src.interop.safetensors import read_safetensors, write_checkpoint_file
from src.interop.song.config import build_net, net_kwargs_from_song
from src.interop.song.names import from_song
from src.nets import NCSNpp
from src.sde import VESDE, VPSDE, ScoreModel
from src.sde.parametrization import SongVE, SongVP
from tests.checkpoint import example
from tests.interop import originals
from tests.nets import goldens
from tests.support.golden import relative

needs_diffusers = pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="needs the bench extra")

# The form of the published models for 256 pixels; attention at 128 channels as there.
FACES: dict[str, Any] = {
    "image_size": 16,
    "nf": 64,
    "ch_mult": [1, 2, 1],
    "num_res_blocks": 1,
    "attn_resolutions": [8],
    "dropout": 0.0,
    "progressive": "output_skip",
    "progressive_input": "input_skip",
}
SCORE_MODEL = {
    "_target_": "src.sde.ScoreModel",
    "sde": {"_target_": "src.sde.VESDE", "sigma_max": 348.0},
    "parametrization": {"_target_": "src.sde.parametrization.SongVE"},
    "data_range": "unit",
}


def faces() -> dict[str, Any]:
    """Return a checkpoint with weights of order one, so that every tensor affects the output."""
    torch.manual_seed(0)
    net = NCSNpp(**FACES)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            else:
                parameter.uniform_(0.5, 1.5)
    return {
        "config": {
            "model": {**SCORE_MODEL, "net": {"_target_": "src.nets.NCSNpp", **FACES}},
            "sampler": {"grid": {"steps": 2000, "eps": 1e-5}, "corrector": {"snr": 0.075, "steps": 1}},
        },
        "state_dict": {f"model.net.{name}": tensor for name, tensor in net.state_dict().items()},
        "ema": {},
        "global_step": 1,
    }


@needs_diffusers
def test_diffusers_gives_the_same_score(tmp_path: Path) -> None:
    import diffusers

    checkpoint = faces()
    write_diffusers(checkpoint, tmp_path / "pipeline", weights="raw")
    pipeline = diffusers.ScoreSdeVePipeline.from_pretrained(tmp_path / "pipeline")
    sigma = torch.tensor([0.02, 3.0, 300.0])
    x = torch.rand(3, 3, 16, 16) + sigma[:, None, None, None] * torch.randn(3, 3, 16, 16)
    t = torch.log(sigma.double() / 0.01) / torch.log(torch.tensor(34800.0, dtype=torch.float64))
    with torch.no_grad():
        ours, theirs = restore_model(checkpoint, "raw")(x, t), pipeline.unet.eval()(x, sigma).sample
    for actual, expected in zip(theirs, ours, strict=True):
        assert relative(actual, expected) < 1e-5  # float32 rounding, 1e-6 in practice
    scheduler = pipeline.scheduler.config
    assert (scheduler.num_train_timesteps, scheduler.snr, scheduler.sigma_max) == (2000, 0.075, 348.0)
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]
    with pytest.raises(UserError, match="exists: choose a new folder"):
        write_diffusers(checkpoint, tmp_path / "pipeline", weights="raw")


class NarrowGroupNorm(nn.GroupNorm):
    def __init__(self, num_groups: int, num_channels: int, **options: Any) -> None:
        super().__init__(min(num_channels // 4, 32), num_channels, **options)


@needs_diffusers
def test_diffusers_matches_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    config = goldens.CONFIGS["ncsnpp_256_style"]
    state, case = goldens.load("ncsnpp_256_style")
    net = build_net(config)
    net.load_state_dict(from_song(net, state))
    _, kwargs = net_kwargs_from_song(config)
    model = ScoreModel(net, VESDE(sigma_max=348.0), SongVE(), "unit")
    # The net is too narrow for diffusers' number of groups: patch its GroupNorm, which a file could not express.
    with pytest.raises(UserError, match=r"attn_resolutions=\[8\] with fewer than 128 channels"):
        unet_from(model, kwargs)
    monkeypatch.setattr(diffusers_export, "_check_supported", lambda *_: None)
    monkeypatch.setattr(nn, "GroupNorm", NarrowGroupNorm)
    unet = unet_from(model, kwargs)
    with torch.no_grad():
        actual = unet(case["x"], case["cond"]).sample
    for ours, theirs in zip(actual, case["y"], strict=True):
        assert relative(ours, theirs) < 1e-5


OPTIONS = {
    "progressive_input": "residual",
    "progressive": "none",
    "resblock_type": "ddpm",
    "fir_kernel": [1.0, 1.0],
    "skip_rescale": False,
    "embedding_type": "positional",
    "nonlinearity": "elu",
    "num_classes": 10,
    "norm_groups": 8,
}


@pytest.mark.parametrize("option", OPTIONS)
def test_net_options_unknown_to_diffusers_are_refused(option: str) -> None:
    options = FACES | {option: OPTIONS[option]}
    with torch.device("meta"):
        model = ScoreModel(NCSNpp(**options), VESDE(), SongVE(), "unit")
    with pytest.raises(UserError, match=f"{option}=") as caught:
        unet_from(model, options)
    assert "\n" not in str(caught.value)


def test_models_unsupported_by_diffusers_are_refused() -> None:
    with torch.device("meta"):
        net, widest_float = NCSNpp(**FACES), NCSNpp(**FACES, in_channels=1)
    for model, options, message in (
        (ScoreModel(net, VPSDE(), SongVP(), "centered"), FACES, "VE SDE"),
        (ScoreModel(net, VESDE(), SongVE(), "centered"), FACES, "data_range"),
        (ScoreModel(widest_float, VESDE(), SongVE(), "unit"), FACES, "in_channels=1"),
    ):
        with pytest.raises(UserError, match=message):
            unet_from(model, options)


def test_without_diffusers_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(UserError, match="pip install"):
        write_diffusers(faces(), tmp_path / "pipeline", weights="raw")


def test_other_and_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="no configuration of this project"):
        read_safetensors(tmp_path / "a.safetensors")
    write_checkpoint_file(example.checkpoint(), tmp_path / "b.safetensors")
    content = (tmp_path / "b.safetensors").read_bytes()
    (tmp_path / "b.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged"):
        read_safetensors(tmp_path / "b.safetensors")


def test_the_command_exports_and_imports_all_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = originals.write(tmp_path, "song")
    song = {
        "model": goldens.CONFIGS["ncsnpp_ve_continuous"]["model"],
        "data": {"image_size": 16, "centered": False},
        "training": {"sde": "vesde", "continuous": True},
    }
    (tmp_path / "song.json").write_text(json.dumps(song))
    chain = [
        (path, "ckpt", "a.ckpt", (f"experiment={tmp_path}/song.json",)),
        (tmp_path / "a.ckpt", "safetensors", "a.safetensors", ()),
        (tmp_path / "a.safetensors", "song", "back.pth", ()),
    ]
    for source, kind, name, more in chain:
        assert main([f"ckpt_path={source}", f"format={kind}", f"output={tmp_path}/{name}", *more]) == 0
    assert capsys.readouterr().err == ""
    back, there = torch.load(tmp_path / "back.pth", weights_only=True), originals.content("song")
    weights = [name for name in there["model"] if not name.endswith("sigmas")]
    assert all(torch.equal(back["model"][name], there["model"][name]) for name in weights)
    pairs = zip(back["ema"]["shadow_params"], there["ema"]["shadow_params"], strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


MISTAKES = [
    ((), "ckpt_path, format, output missing"),
    (("format=onnx", "ckpt_path={0}", "output=x"), "format=onnx is unknown: choose one of safetensors"),
    (("ckptpath=x",), "did you mean ckpt_path=?"),
    (("format=song", "ckpt_path={0}", "output={0}"), "is the checkpoint itself"),
    (("format=song", "ckpt_path=nowhere.ckpt", "output=x"), "neither a file nor a folder"),
    (("format=song", "ckpt_path={0}", "output={1}"), "a MLP has no counterpart"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_invalid_settings_give_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(example.checkpoint(), tmp_path / "a.ckpt")
    places = (tmp_path / "a.ckpt", tmp_path / "out.pth")
    assert main([argument.format(*places) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "out.pth").exists()
