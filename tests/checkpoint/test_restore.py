from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoint import instantiate_node, read_checkpoint, restore_model
from src.checkpoint.read import peek_checkpoint
from src.checkpoint.restore import check_node
from src.errors import UserError
from src.sampling.solvers.schedule import LinearGrid
from tests.checkpoint.example import checkpoint, config, model


def score(of: Any) -> torch.Tensor:
    return of(torch.linspace(0, 1, 6).view(3, 2), torch.tensor(0.5))


@pytest.mark.parametrize(("weights", "seed"), [("raw", 0), ("ema", 1), ("ema:default", 1), ("ema:short", 2)])
def test_the_restored_model_equals_the_saved_one(tmp_path: Path, weights: str, seed: int) -> None:
    torch.save(checkpoint(), tmp_path / "a.ckpt")
    restored = restore_model(read_checkpoint(tmp_path / "a.ckpt"), weights)
    original = model(seed)
    # Frequencies of the embedding are buffers: they come from the raw weights.
    for name, buffer in original.named_buffers():
        buffer.copy_(checkpoint()["state_dict"][f"model.{name}"])
    assert torch.equal(score(restored), score(original))
    assert restored.sde == original.sde
    assert not any(module.training for module in restored.modules())


def test_restoring_does_not_change_the_random_state() -> None:
    content = checkpoint()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    restore_model(content)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("value", [True, False])
def test_removed_settings_are_dropped(tmp_path: Path, value: bool) -> None:
    content = checkpoint()
    content["config"]["model"]["net"]["winograd"] = value
    torch.save(content, tmp_path / "a.ckpt")
    restored = restore_model(read_checkpoint(tmp_path / "a.ckpt"), "raw")
    assert torch.equal(score(restored), score(restore_model(checkpoint(), "raw")))
    assert peek_checkpoint(tmp_path / "a.ckpt")["config"] == config()
    with pytest.raises(UserError, match="winograd"):
        restore_model(content)


def test_unknown_weights_list_the_existing_ones() -> None:
    content = checkpoint()
    with pytest.raises(UserError, match="default, short"):
        restore_model(content, "ema:long")
    with pytest.raises(UserError, match="choose ema, ema:<name> or raw"):
        restore_model(content, "best")
    del content["ema"]
    with pytest.raises(UserError, match="weights=raw"):
        restore_model(content)


def test_mismatched_tensors_are_listed() -> None:
    content = checkpoint()
    moved = content["state_dict"].pop("model.net.input.weight")
    content["state_dict"]["model.net.inputs.weight"] = moved
    with pytest.raises(UserError, match=r"missing: net\.input\.weight; unexpected: net\.inputs\.weight$"):
        restore_model(content, "raw")
    content = checkpoint()
    content["ema"]["default"]["extra"] = moved
    with pytest.raises(UserError, match=r"unexpected: net\.extra"):
        restore_model(content)
    content = checkpoint() | {"config": config(width=16)}
    with pytest.raises(UserError, match=r"of another shape: .*\(8,\) instead of \(16,\).* more$") as caught:
        restore_model(content, "raw")
    assert "\n" not in str(caught.value)


FOREIGN = [
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "torch.hub.load",
    "src.checkpoint.io.os.system",
    "src.checkpoint.io.shutil.rmtree",
    "src.checkpoint.find.Path",
    "src.noise.normal",
    "src.sde",
    "src.sde.base.SDE.__subclasses__",
    "src.nets.mlp.MLP.forward",
    "srcs.sde.VESDE",
    "src..sde.VESDE",
    3,
]


@pytest.mark.parametrize("target", FOREIGN)
def test_only_classes_of_this_project_are_built(tmp_path: Path, target: Any) -> None:
    evil = {"_target_": target, "_args_": [f"touch {tmp_path / 'victim'}"]}
    places: list[Any] = [evil, evil | {"_partial_": True}]
    for key in ("net", "sde"):
        places.append(config()["model"] | {key: evil})
        places.append(config()["model"] | {key: config()["model"][key] | {"width": [{"deep": (evil,)}]}})
    places.append(config()["model"] | {"_recursive_": False, "sde": evil})
    for place in places:
        with pytest.raises(UserError) as caught:
            restore_model(checkpoint() | {"config": {"model": place}})
        assert str(target) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_resolvers_are_refused() -> None:
    node = config()["model"]
    node["data_range"] = "${oc.env:HOME}"
    with pytest.raises(UserError, match=r"oc\.env"):
        instantiate_node(node)


def test_partial_nodes_are_accepted() -> None:
    check_node(config()["model"] | {"net": config()["model"]["net"] | {"_partial_": True}})


def test_nodes_other_than_the_model_follow_the_same_rules() -> None:
    grid = instantiate_node(config()["sampler"])
    assert isinstance(grid, LinearGrid)
    assert grid.steps == 7
    with pytest.raises(UserError, match="no _target_"):
        instantiate_node({"steps": 7})


def test_a_config_of_another_version_gives_one_line() -> None:
    for change in ({"_target_": "src.nets.mlp.Gone"}, {"_target_": "src.nets.gone.Net"}, {"gone": 1}):
        content = deepcopy(checkpoint())
        content["config"]["model"]["net"] |= change
        with pytest.raises(UserError, match="use the version") as caught:
            restore_model(content)
        assert "\n" not in str(caught.value)


def test_user_errors_of_classes_are_passed_on() -> None:
    node = config()["model"] | {"data_range": "wide"}
    with pytest.raises(UserError, match=r"^data_range=wide"):
        instantiate_node(node)


def test_a_model_node_of_another_class_is_refused() -> None:
    with pytest.raises(UserError, match="not a ScoreModel"):
        restore_model(checkpoint() | {"config": {"model": config()["sampler"]}})


@pytest.mark.parametrize("where", ["sampler", "name"])
def test_interpolations_in_a_file_are_refused_before_resolving(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the user")
    content = checkpoint()
    value = "${oc.env:SECRET}"
    content["config"][where] = {**config()["sampler"], "_convert_": [value]} if where == "sampler" else value
    torch.save(content, tmp_path / "a.ckpt")
    for read in (read_checkpoint, peek_checkpoint):
        with pytest.raises(UserError, match="unresolved value") as caught:
            read(tmp_path / "a.ckpt")
        assert "of the user" not in str(caught.value)
