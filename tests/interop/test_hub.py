"""Folders for the Hugging Face Hub: equal outputs after a round trip, a readable card, and no code execution."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from src import load
from src.checkpoint import checkpoint_hash, restore_model
from src.errors import UserError
from src.interop.checkpoints import open_checkpoint
from src.interop.export import main
from src.interop.hub.folder import _hash
from src.interop.hub.remote import download, is_repository
from src.sinks.record import Result, write_results
from tests.checkpoint import example
from tests.interop.hub_server import running_hub

needs_hub = pytest.mark.skipif(importlib.util.find_spec("huggingface_hub") is None, reason="needs the hub extra")

X = torch.tensor([[0.3, -0.2], [1.5, 0.7]])
T = torch.tensor([0.2, 0.9])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run with a checkpoint, a picture, its start record and scores."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "checkpoints").mkdir()
    path = folder / "checkpoints/step=00000003.ckpt"
    content = example.checkpoint()
    content["config"] |= {"name": "a|b`<script>", "paths": {"data_dir": "/home/me/data"}, "seen": ["/home/me/x.npz"]}
    torch.save(content, path)
    (folder / "samples").mkdir()
    (folder / "samples/step00000003.png").write_bytes(b"picture")
    start = {"command": "train.py experiment=toy", "commit": "abc", "started": "2026-01-01T00:00:00"}
    (folder / "run.json").write_text(json.dumps({"starts": [start]}))
    scores = Result(
        "scores",
        "toy",
        {"checkpoint": checkpoint_hash(path)},
        {},
        {"fid": 2.5, "kid": None},
        intervals={"fid": [2.25, 2.75]},
        protocol={"text": "fid50k · inception", "facts": {"weights": "ema"}},
    )
    of_raw = Result("scores", "raw", scores.subject, {}, {"fid": 9.0}, protocol={"facts": {"weights": "raw"}})
    of_another = Result("scores", "other", {"checkpoint": "0" * 64}, {}, {"fid": 1.0})
    (folder / "evaluation").mkdir()
    write_results(folder / "evaluation", [scores, of_raw, of_another])
    return folder


def exported(run: Path, folder: Path, *settings: str) -> Path:
    assert main([f"ckpt_path={run}", "format=hub", f"output={folder}", *settings]) == 0
    return folder


@pytest.mark.parametrize(("weights", "asked"), [("ema", "ema"), ("ema:short", "ema:short"), ("raw", "raw")])
def test_the_score_is_bit_identical_after_export(weights: str, asked: str, run, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "out", f"weights={weights}")
    back = restore_model(open_checkpoint(folder / "model.safetensors"), asked)
    with torch.no_grad():
        assert torch.equal(back(X, T), restore_model(example.checkpoint(), weights)(X, T))


def test_float16_export_keeps_vectors_in_float32(run, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "out", "dtype=float16")
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim > 1} == {torch.float16}
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim < 2} == {torch.float32}
    with torch.no_grad():
        score = restore_model(open_checkpoint(folder / "model.safetensors"))(X, T)
        expected = restore_model(example.checkpoint())(X, T)
    torch.testing.assert_close(score, expected, rtol=2e-2, atol=2e-2 * float(expected.abs().max()))
    assert not torch.equal(score, expected)


def test_absolute_paths_are_removed(run, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "out")
    assert "/home/me" not in "".join(p.read_text() for p in (folder / "config.json", folder / "README.md"))
    assert json.loads((folder / "config.json").read_text())["config"]["seen"] == ["x.npz"]


def test_other_weights_than_the_stored_ones_are_refused(run, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(exported(run, tmp_path / "out") / "model.safetensors")
    with pytest.raises(UserError, match="contains only the average default"):
        restore_model(checkpoint, "raw")
    checkpoint = open_checkpoint(exported(run, tmp_path / "raw", "weights=raw") / "model.safetensors")
    with pytest.raises(UserError, match="choose weights=raw"):
        restore_model(checkpoint, "ema")


@needs_hub
def test_huggingface_hub_reads_the_card(run, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(exported(run, tmp_path / "out", "license=apache-2.0") / "README.md")
    assert card.data.library_name == "score-sde" and card.data.license == "apache-2.0"
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("fid", 2.5)
    assert result.metric_args == {"interval_95": [2.25, 2.75], "protocol": "fid50k · inception"}
    # A backtick would end a code span and a bar a table cell.
    assert "# `a/b'<script>`" in card.text and "| `fid` | 2.5 | 2.25 to 2.75 |" in card.text


def test_weights_without_their_configuration_are_one_line(run, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "out")
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"out has model.safetensors but no config.json: copy the whole folder"):
        load(folder)


def rewrite(folder: Path, change: Any) -> None:
    """Change config.json and store the matching hash in the weights, as an attacker would."""
    content = json.loads((folder / "config.json").read_text())
    change(content)
    (folder / "config.json").write_text(json.dumps(content))
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors, folder / "model.safetensors", {"score_sde_config": _hash(content)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"]["model"].update(_target_="os.system"), "not a class of this project"),
        (lambda c: c["config"]["model"]["net"].update(_target_="subprocess.Popen"), "not a class of this project"),
        (lambda c: c["config"]["model"]["net"].update(width="${oc.env:HOME}"), "unresolved value"),
        (lambda c: c["config"].update(name="${oc.env:HOME}"), "unresolved value"),
        (lambda c: c.update(config=["os.system"]), "not a configuration of this project"),
        (lambda c: c.pop("weights"), "damaged"),
    ],
)
def test_a_hostile_configuration_is_refused(change, message, run, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "out")
    rewrite(folder, change)
    with pytest.raises(UserError, match=message):
        restore_model(open_checkpoint(folder / "model.safetensors"))


def test_a_changed_or_missing_config_gives_one_line(run, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "out")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "global_step": 4}))
    with pytest.raises(UserError, match="is not the one written with"):
        open_checkpoint(folder / "model.safetensors")
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="copy the whole folder"):
        open_checkpoint(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["format=hub", "dtype=int8"], "dtype=int8 is unknown"),
        (["format=hub", "weights=ema:long"], "no average 'long'"),
        (["format=hub", "push=nonsense"], "give organization/name"),
        (["format=ckpt", "push=a/b"], "needs format=hub"),
    ],
)
def test_invalid_settings_write_nothing(settings, message, run, tmp_path: Path, capsys) -> None:
    assert main([f"ckpt_path={run}", f"output={tmp_path / 'out'}", *settings]) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_repository_names_are_distinguished_from_paths(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    assert is_repository("organization/name")
    for path in ("logs/mistyped", "name", "a/b/c", "../name", "runs/step=3.ckpt", "/organization/name", "."):
        assert not is_repository(path)


@needs_hub
def test_download_allows_only_known_files(run, tmp_path: Path, monkeypatch) -> None:
    import huggingface_hub

    folder = exported(run, tmp_path / "out")
    asked: list[Any] = []

    def snapshot(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert download("organization/name") == folder
    # No pattern may match code or pickles.
    assert asked == [("organization/name", ["README.md", "config.json", "model.safetensors", "samples.png"])]


@needs_hub
def test_a_failed_download_gives_one_line(monkeypatch, tmp_path: Path) -> None:
    import huggingface_hub

    def offline(*arguments: Any, **settings: Any) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no copy")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(UserError, match="check the name and the network"):
        load("organization/name")


def test_without_the_library_the_message_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install \"\.\[hub\]\""):
        load("organization/name")


@needs_hub
def test_the_written_folder_is_pushed(run, tmp_path: Path, monkeypatch, capsys) -> None:
    import huggingface_hub

    done: list[Any] = []

    def create(name: str, **settings: Any) -> huggingface_hub.RepoUrl:
        done.append((name, settings))
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{name}")

    def upload(repo_id: str, folder_path: str, allow_patterns: list[str]) -> None:
        done.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))

    monkeypatch.setattr(huggingface_hub, "create_repo", create)
    monkeypatch.setattr(huggingface_hub, "upload_folder", upload)
    exported(run, tmp_path / "out", "push=organization/name")
    files = ["README.md", "config.json", "model.safetensors", "samples.png"]
    assert done == [("organization/name", {"private": True, "exist_ok": True}), ("organization/name", files)]


CLIENT = """
import sys
import torch
from src.checkpoint import restore_model
from src.errors import UserError
from src.interop.checkpoints import open_checkpoint
from src.interop.export import main
from src.interop.hub import download

assert main([f"ckpt_path={sys.argv[1]}", "format=hub", f"output={sys.argv[2]}", "push=organization/name"]) == 0
first, second = (
    restore_model(open_checkpoint(folder + "/model.safetensors")).state_dict()
    for folder in (sys.argv[2], str(download("organization/name")))
)
assert first.keys() == second.keys() and all(torch.equal(x, second[name]) for name, x in first.items())
try:
    download("organization/absent")
except UserError as error:
    print(error)
"""


@needs_hub
@pytest.mark.slow
def test_a_model_goes_to_a_server_and_comes_back(run, tmp_path: Path) -> None:
    with running_hub() as server:
        home = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "cache"), "HF_TOKEN": "hf_none"}
        environment = {**os.environ, **home, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", CLIENT, str(run), str(tmp_path / "out")]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    stored = server.repositories["organization/name"]
    assert sorted(stored) == ["README.md", "config.json", "model.safetensors", "samples.png"]
    assert all(content == (tmp_path / "out" / path).read_bytes() for path, content in stored.items())
    (created,) = server.created
    assert "private" in (created.get("visibility"), "private" if created.get("private") else "")
    assert "organization/absent is not a file or folder on this machine" in ended.stdout
