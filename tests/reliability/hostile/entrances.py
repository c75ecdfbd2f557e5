"""Entrances of data, and of checkpoints used together with data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tests.reliability.hostile.world import (
    FEW,
    FILE,
    NPZ,
    PICTURE,
    ROWS,
    ZIP,
    Entrance,
    World,
    copy,
    copy_all,
    evaluate,
    of_arrays,
    of_checkpoint,
    of_picture,
    of_safetensors,
    of_statistics,
    sample,
    train,
)


def _index(world: World, home: Path) -> None:
    shutil.copytree(world.pictures, home / "set")
    labels = [[f"{i}.png", i % 2] for i in range(ROWS)]
    (home / "set" / "dataset.json").write_text(json.dumps({"labels": labels}))


def _manifest(world: World, home: Path) -> None:
    shutil.copytree(world.pictures, home / "set")
    shutil.copy(world.folder / "samples" / "manifest.json", home / "set")


def _mask(world: World, home: Path) -> None:
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(home / "mask.png")


def _pth(world: World, home: Path) -> list[str]:
    return sample(world, home, f"experiment={world.folder}/song.json", *FEW, checkpoint=home / "a.pth")


_INPAINTING = ("control=inpainting", "control.mask=left")

OF_DATA = [
    of_picture("a picture to train on", lambda w, h: train(h / "set", h)),
    Entrance("an archive to train on", ZIP, "a.zip", copy("pictures.zip", "a.zip"), lambda w, h: train(h / "a.zip", h)),
    Entrance(
        "an array to train on", FILE | {"npy"}, "a.npy", copy("rows.npy", "a.npy"), lambda w, h: train(h / "a.npy", h)
    ),
    of_arrays("arrays to train on", lambda w, h: train(h / "a.npz", h)),
    Entrance(
        "a table to train on",
        FILE,
        "a.parquet",
        copy("rows.parquet", "a.parquet"),
        lambda w, h: train(h / "a.parquet", h),
    ),
    Entrance(
        "a zarr store to train on",
        FILE | {"json"},
        "a.zarr/zarr.json",
        copy_all("rows.zarr", "a.zarr"),
        lambda w, h: train(h / "a.zarr", h),
    ),
    Entrance(
        "dataset.json", FILE | {"json", "dataset.json"}, "set/dataset.json", _index, lambda w, h: train(h / "set", h)
    ),
    of_picture("a picture to score", lambda w, h: evaluate(w, h, f"images={h}/set")),
    Entrance(
        "an archive to score",
        ZIP,
        "a.zip",
        copy("pictures.zip", "a.zip"),
        lambda w, h: evaluate(w, h, f"images={h}/a.zip"),
    ),
    of_arrays("arrays to score", lambda w, h: evaluate(w, h, f"images={h}/a.npz")),
    Entrance(
        "manifest.json beside images to score",
        FILE | {"json", "manifest"},
        "set/manifest.json",
        _manifest,
        lambda w, h: evaluate(w, h, f"images={h}/set"),
        is_optional=True,
    ),
    Entrance(
        "a picture given to sampling",
        PICTURE,
        "set/1.png",
        copy_all("pictures", "set"),
        lambda w, h: sample(w, h, f"given={h}/set", *_INPAINTING),
    ),
    of_arrays("arrays given to sampling", lambda w, h: sample(w, h, f"given={h}/a.npz", *_INPAINTING)),
    Entrance(
        "a mask",
        PICTURE,
        "mask.png",
        _mask,
        lambda w, h: sample(w, h, "control=inpainting", f"control.mask={h}/mask.png", f"given={w.pictures}"),
    ),
    of_statistics(
        "statistics to compare with",
        lambda w, h: evaluate(w, h, f"images={w.pictures}", f"metric.statistics_path={h}/a.npz"),
    ),
    of_checkpoint("a checkpoint to sample from", lambda w, h: sample(w, h, checkpoint=h / "a.ckpt")),
    of_checkpoint(
        "a checkpoint to score",
        lambda w, h: [
            "evaluate.py",
            f"ckpt_path={h}/a.ckpt",
            *("num_samples=40", "sampler.grid.steps=2", "metric=pixel", "score=false", "loss=true", "limit=4"),
            *("split=train", f"output_dir={h}/out", f"metric.cache_dir={w.folder}/cache"),
        ],
        ignored="sampler",
    ),
    of_checkpoint(
        "a checkpoint to resume from",
        lambda w, h: [
            *train(w.pictures, h),
            f"datamodule.data_dir={w.folder}/data",
            "trainer.max_steps=3",
            f"ckpt_path={h}/a.ckpt",
        ],
        ignored="sampler, settings that no class has",
        tags=frozenset({"training"}),
    ),
    of_checkpoint(
        "a checkpoint to start from",
        lambda w, h: [*train(w.pictures, h), f"datamodule.data_dir={w.folder}/data", f"init_from={h}/a.ckpt"],
        ignored="sampler, shape of the data",
    ),
    of_checkpoint(
        "a checkpoint for guidance",
        lambda w, h: sample(w, h, "guidance=autoguidance", f"guidance.path={h}/a.ckpt"),
        ignored="sampler, shape of the data",
    ),
    Entrance("a checkpoint of the original", FILE | {"pth", "torch"}, "a.pth", copy("song.pth", "a.pth"), _pth),
    Entrance(
        "a configuration of the original",
        FILE | {"json", "song", "yaml"},
        "a.json",
        copy("song.json", "a.json"),
        lambda w, h: sample(w, h, f"experiment={h}/a.json", *FEW, checkpoint=w.folder / "song.pth"),
    ),
    of_safetensors("a safetensors file", lambda w, h: sample(w, h, checkpoint=h / "a.safetensors")),
    Entrance(
        "manifest.json of samples",
        FILE | {"json", "manifest"},
        "out/manifest.json",
        copy_all("samples", "out"),
        lambda w, h: sample(w, h),
    ),
    Entrance(
        "a picture of samples",
        PICTURE,
        "out/images/000001.png",
        copy_all("samples", "out"),
        lambda w, h: sample(w, h),
        is_optional=True,
    ),
    Entrance(
        "arrays of samples",
        NPZ,
        "out/samples.npz",
        copy_all("arrays", "out"),
        lambda w, h: sample(w, h, "format=npz"),
        is_optional=True,
    ),
    Entrance(
        "metrics.json",
        FILE | {"json", "metrics"},
        "out/metrics.json",
        copy_all("scores", "out"),
        lambda w, h: evaluate(w, h, f"images={w.pictures}"),
    ),
]
