"""Resuming from a .pth of the original code: the next step equals plain torch code."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from src.checkpoint.read import read_checkpoint
from src.checkpoint.restore import instantiate_node
from src.cli.arguments import training_arguments
from src.cli.run_dir import register_resolvers
from src.config.build import build
from src.config.location import CONFIG_DIR
from src.datamodules.addressing.module import AddressedDataModule
from src.errors import UserError
from src.interop.song.checkpoint import write_song_checkpoint
from src.interop.song.names import from_song, song_weights, to_song
from src.noise import Address
from tests.interop import originals
from tests.nets import goldens
from tests.support.golden import relative
from train import main as script

STEPS, BATCH, LR, WARM_UP, DECAY = 7, 4, 1e-2, 5, 0.999
SONG: dict[str, Any] = {
    "model": goldens.CONFIGS["ncsnpp_ve_continuous"]["model"] | {"dropout": 0.0, "ema_rate": DECAY},
    "data": {"image_size": 16, "num_channels": 3, "centered": False, "random_flip": False},
    "training": {"sde": "vesde", "continuous": True, "batch_size": BATCH, "reduce_mean": False},
    "optim": {"lr": LR, "beta1": 0.8, "eps": 1e-7, "weight_decay": 0.01, "warmup": WARM_UP, "grad_clip": 0.5},
}


def content() -> dict[str, Any]:
    """Return a file of the original in the middle of training, with different moments for all weights."""
    made = originals.content("song")
    made["step"] = made["ema"]["num_updates"] = STEPS
    generator = torch.Generator().manual_seed(0)
    weights = list(made["model"].items())[1:]
    made["optimizer"]["state"] = {
        # Older torch versions store the step as a number.
        number: {
            "step": STEPS,
            "exp_avg": 1e-2 * torch.randn(weight.shape, generator=generator),
            "exp_avg_sq": 1e-3 * (0.5 + torch.rand(weight.shape, generator=generator)),
        }
        for number, (name, weight) in enumerate(weights)
        if name != "module.all_modules.0.W"
    }
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original")
    np.save(path / "set.npy", np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), np.uint8))
    (path / "song.json").write_text(json.dumps(SONG))
    torch.save(content(), path / "song.pth")
    return path


def train(folder: Path, name: str, *overrides: str) -> Path:
    """Run ``train.py experiment=song.json`` in this process and return the last checkpoint."""
    register_resolvers()
    run = folder / name
    arguments = [
        *(f"experiment={folder}/song.json", f"datamodule.path={folder}/set.npy", "callbacks=minimal", "trainer=cpu"),
        *(f"datamodule.data_dir={folder}/data", f"paths.run_dir={run}", "trainer.val_check_interval=100"),
        *("callbacks.last_checkpoint.every_n_steps=1", "callbacks.last_checkpoint.keep=9", *overrides),
    ]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", training_arguments(arguments, CONFIG_DIR))
    script.__wrapped__(cfg)
    return max((run / "checkpoints").glob("*.ckpt"))


def gradients(config: dict[str, Any], names: list[str], state: dict[str, Tensor], patch: pytest.MonkeyPatch) -> Any:
    """Return the net and the gradients, under the original's names, of the mean loss of the batch after ``STEPS``
    steps.
    """
    patch.setattr(AddressedDataModule, "completed_steps", lambda self: STEPS)
    data = build(config["datamodule"])
    data.prepare_data()
    data.setup("fit")
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch["step"] == STEPS
    model = instantiate_node(config["model"]).train()
    model.net.load_state_dict(from_song(model.net, state))
    objective = instantiate_node(config["objective"])
    objective(model, batch["x"], Address(config["seeds"]["noise"], STEPS, batch["position"])).mean().backward()
    ours = {name: parameter.grad for name, parameter in model.net.named_parameters()}
    theirs = to_song(model.net, dict(model.net.state_dict()) | ours)
    return model.net, [theirs[name] for name in names]


def test_the_next_step_equals_plain_torch_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ckpt = train(folder, "next", f"ckpt_path={folder}/song.pth", f"trainer.max_steps={STEPS + 1}")
    found, there = read_checkpoint(ckpt), content()
    assert found["global_step"] == STEPS + 1 and found["callbacks"]["EMA"]["updates"] == STEPS + 1
    state = {name.removeprefix("module."): tensor for name, tensor in there["model"].items()}
    names = [name for name in state if name != "sigmas"]
    net, gradient = gradients(found["config"], names, state, monkeypatch)

    weights = [torch.nn.Parameter(state[name].clone(), requires_grad=name != "all_modules.0.W") for name in names]
    optimizer = torch.optim.Adam(weights, lr=LR, betas=(0.8, 0.999), eps=1e-7, weight_decay=0.01)
    states = copy.deepcopy(there["optimizer"])
    for each in states["state"].values():
        each["step"] = torch.tensor(float(each["step"]))
    states["param_groups"] = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict(states)
    for weight, grad in zip(weights, gradient, strict=True):
        weight.grad = grad if weight.requires_grad else None
    optimizer.param_groups[0]["lr"] = LR * min(STEPS / WARM_UP, 1.0)
    norm = torch.nn.utils.clip_grad_norm_(weights, 0.5)
    assert norm > 0.5  # otherwise clipping is not tested
    optimizer.step()
    decay = min(DECAY, (1 + STEPS + 1) / (10 + STEPS + 1))
    trained = [weight for weight in weights if weight.requires_grad]
    shadow = [s - (1 - decay) * (s - w) for s, w in zip(there["ema"]["shadow_params"], trained, strict=True)]

    raw = to_song(net, {key.removeprefix("model.net."): value for key, value in found["state_dict"].items()})
    averaged = to_song(net, {**net.state_dict(), **found["ema"]["default"]})
    for name, weight in zip(names[1:], weights[1:], strict=True):
        # Compare the steps, which float32 weights resolve to about 1e-4.
        step = weight.detach() - state[name]
        assert step.abs().max() > 0 and relative(raw[name] - state[name], step) < 1e-3, name
    assert torch.equal(raw[names[0]], state[names[0]])
    for name, average in zip([w.theirs for w in song_weights(net) if w.trainable], shadow, strict=True):
        assert relative(averaged[name], average.detach()) < 1e-5, name


def test_export_and_import_in_the_original_format_resume_exactly(folder: Path) -> None:
    train(folder, "own", "trainer.max_steps=7")
    own = folder / "own/checkpoints/step00000007.ckpt"
    write_song_checkpoint(read_checkpoint(own), folder / "through.pth")
    ends = [
        read_checkpoint(train(folder, name, f"ckpt_path={path}", "trainer.max_steps=14"))
        for name, path in (("direct", own), ("around", folder / "through.pth"))
    ]
    for key in ("state_dict", "ema", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert equal(ends[0][key], ends[1][key]), key


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other


def no_optimizer(made: dict[str, Any]) -> None:
    del made["optimizer"]


def fresh_optimizer(made: dict[str, Any]) -> None:
    made["optimizer"]["state"] = {}


def other_optimizer(made: dict[str, Any]) -> None:
    for state in made["optimizer"]["state"].values():
        del state["exp_avg_sq"]


def other_shape(made: dict[str, Any]) -> None:
    made["optimizer"]["state"][3]["exp_avg"] = torch.zeros(3)


def not_finite(made: dict[str, Any]) -> None:
    made["optimizer"]["state"][3]["exp_avg"][:] = torch.nan


def no_averages(made: dict[str, Any]) -> None:
    del made["ema"]


FAULTS = [
    (no_optimizer, "has no state of the optimizer, .* start from its weights with init_from="),
    (fresh_optimizer, "has no state of the optimizer"),
    (
        other_optimizer,
        r"optimizer\.state\.1 lacks the moments of Adam of all_modules\.1\.weight; start",
    ),
    (other_shape, r"optimizer\.state\.3\.exp_avg is not a tensor of shape"),
    (not_finite, r"optimizer_states\.state\.\d+\.exp_avg is not finite"),
    (no_averages, "has no averages"),
]


@pytest.mark.parametrize(("damage", "message"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_missing_or_invalid_parts_are_reported(folder: Path, damage: Any, message: str) -> None:
    made = content()
    damage(made)
    torch.save(made, folder / "damaged.pth")
    with pytest.raises(UserError, match=message) as caught:
        train(folder, "damaged", f"ckpt_path={folder}/damaged.pth", "trainer.max_steps=8")
    assert "\n" not in str(caught.value) and "damaged.pth" in str(caught.value)


def test_settings_not_carried_over_are_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "more.json").write_text(json.dumps(SONG | {"eval": {"begin_ckpt": 3}}))
    with pytest.raises(UserError), caplog.at_level("INFO"):
        train(folder, "more", f"experiment={folder}/more.json", "ckpt_path=nowhere.pth")
    assert f"{folder}/more.json: these keys are ignored, see docs/migration.md: eval.begin_ckpt=3" in caplog.text
