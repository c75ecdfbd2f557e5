"""Training and sampling on the user's own data: EDM archives, TIFF stacks, Parquet tables, float fields, vectors."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from src.checkpoint.read import read_checkpoint
from src.cli.command_line import prepare_arguments
from src.cli.run_dir import register_resolvers
from src.config.location import CONFIG_DIR
from src.datamodules.doctor import main as doctor
from src.errors import UserError
from src.pictures import open_picture
from tests.tasks.example import sample
from train import main as script

RNG = np.random.default_rng(0)
TINY = [
    *("trainer=cpu", "trainer.max_steps=2", "net.nf=8", "net.ch_mult=[1]", "net.attn_resolutions=[]"),
    *("callbacks=minimal", "datamodule.global_batch_size=8", "net.num_res_blocks=1"),
]


def train(tmp_path: Path, path: Path, *overrides: str) -> Path:
    """Run train.py in this process and return its checkpoint."""
    register_resolvers()
    run = tmp_path / "run"
    arguments = [
        "experiment=images",
        f"datamodule.path={path}",
        f"datamodule.data_dir={tmp_path / 'data'}",
        f"paths.run_dir={run}",
        *TINY,
        *overrides,
    ]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", arguments)
    script.__wrapped__(cfg)
    return next((run / "checkpoints").glob("*.ckpt"))


def samples(tmp_path: Path, ckpt: Path, *overrides: str) -> Path:
    out = tmp_path / "samples"
    sample(
        f"ckpt_path={ckpt}", f"output_dir={out}", "num_samples=4", "sampler.grid.steps=2", "accelerator=cpu", *overrides
    )
    return out


def data_of(ckpt: Path) -> dict[str, Any]:
    return read_checkpoint(ckpt)["config"]["datamodule"]


def test_an_edm_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        listed = []
        for i, image in enumerate(RNG.integers(0, 256, (24, 8, 8, 3), np.uint8)):
            stream = io.BytesIO()
            Image.fromarray(image).save(stream, "png")
            archive.writestr(name := f"{i // 12:05d}/img{i:08d}.png", stream.getvalue())
            listed.append([name, i % 3])
        archive.writestr("dataset.json", json.dumps({"labels": listed}))
    ckpt = train(tmp_path, tmp_path / "set.zip")
    config = read_checkpoint(ckpt)["config"]
    assert config["datamodule"]["class_names"] == ["0", "1", "2"] and config["net"]["num_classes"] == 3
    assert config["objective"]["null_label"] == 3
    assert len(list((samples(tmp_path, ckpt, "labels=2") / "images").glob("*.png"))) == 4


def test_a_tiff_stack_with_12_of_16_bits(tmp_path: Path) -> None:
    first, *rest = [Image.fromarray(x) for x in RNG.integers(0, 4096, (24, 8, 8)).astype(np.uint16)]
    first.save(tmp_path / "stack.tif", save_all=True, append_images=rest)
    ckpt = train(tmp_path, tmp_path / "stack.tif")
    assert data_of(ckpt)["dtype"] == "uint16" and data_of(ckpt)["value_range"] == [0, 4095]
    made = open_picture((samples(tmp_path, ckpt, "format=tiff") / "images" / "000000.tif").read_bytes())
    assert made.dtype == "uint16" and made.pixels().max() <= 4095


def test_a_parquet_table_with_class_names(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = []
    for image in RNG.integers(0, 256, (24, 8, 8, 3), np.uint8):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "png")
        rows.append({"bytes": stream.getvalue(), "path": None})
    table = pa.table({"image": rows, "label": [i % 2 for i in range(24)]})
    known = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    pq.write_table(table.replace_schema_metadata({b"huggingface": json.dumps(known)}), tmp_path / "set.parquet")
    ckpt = train(tmp_path, tmp_path / "set.parquet")
    assert data_of(ckpt)["class_names"] == ["cat", "dog"]
    out = samples(tmp_path, ckpt, "labels=dog", "format=npz")
    assert json.loads((out / "manifest.json").read_text())["settings"]["labels"] == 1
    with pytest.raises(UserError, match="labels=cow: the classes are cat, dog"):
        samples(tmp_path / "again", ckpt, "labels=cow")


def test_a_nonsquare_float_field_with_two_channels(tmp_path: Path) -> None:
    fields = RNG.normal(3, 2, (24, 12, 4, 2)).astype(np.float32)
    np.save(tmp_path / "fields.npy", fields)
    ckpt = train(tmp_path, tmp_path / "fields.npy")
    assert data_of(ckpt)["image_size"] == [12, 4] and data_of(ckpt)["channels"] == 2
    assert data_of(ckpt)["value_range"] == pytest.approx([fields.min(), fields.max()])
    with np.load(samples(tmp_path, ckpt) / "samples.npz") as file:
        assert file["samples"].shape == (4, 12, 4, 2) and file["samples"].dtype == np.float32


def test_the_command_printed_by_the_doctor_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my pictures = 1"
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        for i, image in enumerate(RNG.integers(0, 256, (10, 8, 8, 3), np.uint8)):
            Image.fromarray(image).save(folder / name / f"{i}.png")
    own = f"datamodule.data_dir={tmp_path / 'data'}"
    assert doctor([f"datamodule.path={folder}", own, "trainer=cpu", "trainer.max_steps=2"]) == 0
    printed = capsys.readouterr().out
    assert "20 of 3 x 8 x 8" in printed or "18 of 3 x 8 x 8" in printed
    program, *typed = shlex.split(printed.splitlines()[-1])
    assert (program, typed[0]) == ("python", "train.py") and f"datamodule.path={folder}" in typed
    register_resolvers()
    arguments = prepare_arguments([*typed[1:], f"paths.run_dir={tmp_path / 'run'}", "callbacks=minimal"], [])
    # Settings of callbacks that the minimal set lacks are left out.
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", [a for a in arguments if "callbacks.sample" not in a and "callbacks.fid" not in a])
    script.__wrapped__(cfg)
    found = read_checkpoint(max((tmp_path / "run" / "checkpoints").glob("*.ckpt")))
    assert found["global_step"] == 2 and found["config"]["datamodule"]["class_names"] == ["cats", "dogs"]


def test_vectors_from_an_npy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "signals.npy", RNG.normal(100, 5, (40, 6)).astype(np.float32))
    register_resolvers()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose(
            "train",
            [
                *("experiment=vectors", "datamodule.dim=6", "net.width=8", "trainer=cpu", "trainer.max_steps=2"),
                *("scheduler.steps=0", "datamodule.global_batch_size=8", f"datamodule.path={tmp_path / 'signals.npy'}"),
                *(f"datamodule.data_dir={tmp_path / 'data'}", f"paths.run_dir={tmp_path / 'run'}"),
            ],
        )
    script.__wrapped__(cfg)
    ckpt = next((tmp_path / "run" / "checkpoints").glob("*.ckpt"))
    with np.load(samples(tmp_path, ckpt) / "samples.npz") as file:
        assert file["samples"].shape == (4, 6)


def test_classes_of_net_and_data_must_agree(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", RNG.integers(0, 256, (24, 8, 8), np.uint8))
    with pytest.raises(UserError, match=r"net\.num_classes=3, but the data have no labels"):
        train(tmp_path, tmp_path / "set.npy", "net.num_classes=3")
    with pytest.raises(UserError, match="the net takes no classes"):
        train(tmp_path, tmp_path / "set.npy", "objective.label_dropout=0.1")


def test_automatic_choices_can_be_overridden(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", RNG.integers(0, 256, (24, 8, 8), np.uint8))
    config = read_checkpoint(train(tmp_path, tmp_path / "set.npy", "sde.T=7", "optimizer.lr=3e-3"))["config"]
    assert config["sde"]["T"] == 7 and config["optimizer"]["lr"] == 3e-3
    assert config["name"] == "set" and config["datamodule"]["image_size"] == 8
