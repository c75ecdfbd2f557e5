"""Every entrance through which a command reads a file from outside, with a good file in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.interop import originals
from tests.reliability.support.in_process import call
from tests.reliability.support.runs import TINY
from tests.tasks.test_foreign import SONG

ROWS = 40


@dataclass(frozen=True)
class World:
    """Good files, made once.

    Attributes:
        folder: where they are.
    """

    folder: Path

    @property
    def pictures(self) -> Path:
        """A folder of small pictures."""
        return self.folder / "pictures"

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of a training run of two steps on ``pictures``."""
        return self.folder / "good.ckpt"

    @classmethod
    def make(cls, folder: Path) -> World:
        """Make all of them."""
        world = cls(folder)
        world.pictures.mkdir(parents=True)
        rows = np.random.default_rng(0).integers(0, 256, (ROWS, 8, 8, 3)).astype(np.uint8)
        for i, row in enumerate(rows):
            Image.fromarray(row).save(world.pictures / f"{i}.png")
        shutil.make_archive(str(folder / "pictures"), "zip", world.pictures)
        np.save(folder / "rows.npy", rows)
        np.savez(folder / "rows.npz", samples=rows)
        _write_tables(folder, rows)
        world.run([*train(world.pictures, folder), "trainer.max_steps=2"])
        (made,) = folder.glob("logs/*/*/checkpoints/step00000002.ckpt")
        shutil.copy(made, world.checkpoint)
        world.run(["sample.py", f"ckpt_path={world.checkpoint}", *_sampling(folder / "samples")])
        world.run(["sample.py", f"ckpt_path={world.checkpoint}", *_sampling(folder / "arrays"), "format=npz"])
        world.run([*_evaluation(folder), f"images={world.pictures}", f"output_dir={folder}/scores"])
        (cached,) = folder.glob("cache/*statistics.npz")
        shutil.copy(cached, folder / "statistics.npz")
        originals.write(folder, "song")
        (folder / "song.json").write_text(json.dumps(SONG))
        from src.checkpoint import read_checkpoint
        from src.interop.safetensors import write_checkpoint_file

        write_checkpoint_file(read_checkpoint(world.checkpoint), folder / "good.safetensors")
        return world

    @staticmethod
    def run(command: list[str]) -> None:
        """Run a command that must succeed."""
        ended = call(command)
        assert ended.code == 0, f"{' '.join(command)}\n{ended.out}{ended.err}"


def _write_tables(folder: Path, rows: np.ndarray) -> None:
    import pyarrow
    import pyarrow.parquet
    import zarr

    contents = [(folder / "pictures" / f"{i}.png").read_bytes() for i in range(len(rows))]
    pyarrow.parquet.write_table(pyarrow.table({"image": contents}), folder / "rows.parquet")
    zarr.save(str(folder / "rows.zarr"), rows)


@dataclass(frozen=True)
class Entrance:
    """A file that a command reads.

    Attributes:
        name: a few words.
        tags: kinds of hostile files that belong there.
        file: path of the file in a folder of its own.
        fill: puts the good file, and whatever must lie beside it, into that folder.
        command: the command that reads it, given the world and that folder.
        is_optional: the command does its work without the file, too.
    """

    name: str
    tags: frozenset[str]
    file: str
    fill: Callable[[World, Path], object]
    command: Callable[[World, Path], list[str]]
    is_optional: bool = False


def train(data: Path, home: Path) -> list[str]:
    """Train one step on ``data``, everything kept in ``home``."""
    return [
        "train.py",
        *TINY,
        "datamodule=image_folder",
        f"datamodule.path={data}",
        "datamodule.image_size=8",
        "datamodule.limit=null",
        "datamodule.decode_workers=1",
        f"datamodule.data_dir={home}/data",
        "callbacks=minimal",
        "callbacks.last_checkpoint.every_n_steps=1",
        "trainer.max_steps=1",
        f"paths.log_dir={home}/logs",
        f"metric.cache_dir={home}/cache",
    ]


def _sampling(out: Path) -> list[str]:
    return ["num_samples=3", "batch_size=2", f"output_dir={out}"]


def _evaluation(home: Path) -> list[str]:
    data = ["datamodule=image_folder", "datamodule.image_size=8", "datamodule.decode_workers=1", "metric=pixel"]
    kept = [f"datamodule.data_dir={home}/data", f"metric.cache_dir={home}/cache"]
    return ["evaluate.py", *data, f"datamodule.path={home}/pictures", *kept]


def _evaluate(world: World, home: Path, *settings: str) -> list[str]:
    return [*_evaluation(world.folder), *settings, f"output_dir={home}/out"]


def _sample(world: World, home: Path, *settings: str, checkpoint: Path | None = None) -> list[str]:
    return ["sample.py", f"ckpt_path={checkpoint or world.checkpoint}", *_sampling(home / "out"), *settings]


def _copy(name: str, file: str) -> Callable[[World, Path], object]:
    return lambda world, home: shutil.copy(world.folder / name, home / file)


def _copy_all(name: str, file: str) -> Callable[[World, Path], object]:
    return lambda world, home: shutil.copytree(world.folder / name, home / file)


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
    return _sample(world, home, f"experiment={world.folder}/song.json", *_FEW, checkpoint=home / "a.pth")


_FEW = ("sampler.grid.steps=2",)
_FILE = frozenset({"file", "bytes"})
_PICTURE, _ZIP, _NPZ = _FILE | {"picture"}, _FILE | {"zip of pictures"}, _FILE | {"npz"}
_CHECKPOINT = _FILE | {"checkpoint", "torch"}
_INPAINTING = ("control=inpainting", "control.mask=left")

ENTRANCES = [
    Entrance(
        "a picture to train on", _PICTURE, "set/5.png", _copy_all("pictures", "set"), lambda w, h: train(h / "set", h)
    ),
    Entrance(
        "an archive to train on", _ZIP, "a.zip", _copy("pictures.zip", "a.zip"), lambda w, h: train(h / "a.zip", h)
    ),
    Entrance(
        "an array to train on", _FILE | {"npy"}, "a.npy", _copy("rows.npy", "a.npy"), lambda w, h: train(h / "a.npy", h)
    ),
    Entrance("arrays to train on", _NPZ, "a.npz", _copy("rows.npz", "a.npz"), lambda w, h: train(h / "a.npz", h)),
    Entrance(
        "a table to train on",
        _FILE,
        "a.parquet",
        _copy("rows.parquet", "a.parquet"),
        lambda w, h: train(h / "a.parquet", h),
    ),
    Entrance(
        "a zarr store to train on",
        _FILE | {"json"},
        "a.zarr/zarr.json",
        _copy_all("rows.zarr", "a.zarr"),
        lambda w, h: train(h / "a.zarr", h),
    ),
    Entrance(
        "dataset.json", _FILE | {"json", "dataset.json"}, "set/dataset.json", _index, lambda w, h: train(h / "set", h)
    ),
    Entrance(
        "a picture to score",
        _PICTURE,
        "set/5.png",
        _copy_all("pictures", "set"),
        lambda w, h: _evaluate(w, h, f"images={h}/set"),
    ),
    Entrance(
        "an archive to score",
        _ZIP,
        "a.zip",
        _copy("pictures.zip", "a.zip"),
        lambda w, h: _evaluate(w, h, f"images={h}/a.zip"),
    ),
    Entrance(
        "arrays to score", _NPZ, "a.npz", _copy("rows.npz", "a.npz"), lambda w, h: _evaluate(w, h, f"images={h}/a.npz")
    ),
    Entrance(
        "manifest.json beside images to score",
        _FILE | {"json", "manifest"},
        "set/manifest.json",
        _manifest,
        lambda w, h: _evaluate(w, h, f"images={h}/set"),
        is_optional=True,
    ),
    Entrance(
        "a picture given to sampling",
        _PICTURE,
        "set/1.png",
        _copy_all("pictures", "set"),
        lambda w, h: _sample(w, h, f"given={h}/set", *_INPAINTING),
    ),
    Entrance(
        "arrays given to sampling",
        _NPZ,
        "a.npz",
        _copy("rows.npz", "a.npz"),
        lambda w, h: _sample(w, h, f"given={h}/a.npz", *_INPAINTING),
    ),
    Entrance(
        "a mask",
        _PICTURE,
        "mask.png",
        _mask,
        lambda w, h: _sample(w, h, "control=inpainting", f"control.mask={h}/mask.png", f"given={w.pictures}"),
    ),
    Entrance(
        "statistics to compare with",
        _NPZ | {"statistics"},
        "a.npz",
        _copy("statistics.npz", "a.npz"),
        lambda w, h: _evaluate(w, h, f"images={w.pictures}", f"metric.statistics_path={h}/a.npz"),
    ),
    Entrance(
        "a checkpoint to sample from",
        _CHECKPOINT,
        "a.ckpt",
        _copy("good.ckpt", "a.ckpt"),
        lambda w, h: _sample(w, h, checkpoint=h / "a.ckpt"),
    ),
    Entrance(
        "a checkpoint to score",
        _CHECKPOINT,
        "a.ckpt",
        _copy("good.ckpt", "a.ckpt"),
        lambda w, h: [
            "evaluate.py",
            f"ckpt_path={h}/a.ckpt",
            *("num_samples=40", "sampler.grid.steps=2", "metric=pixel", "score=false", "loss=true", "limit=4"),
            *("split=train", f"output_dir={h}/out", f"metric.cache_dir={w.folder}/cache"),
        ],
    ),
    Entrance(
        "a checkpoint to go on from",
        _CHECKPOINT | {"training"},
        "a.ckpt",
        _copy("good.ckpt", "a.ckpt"),
        lambda w, h: [
            *train(w.pictures, h),
            f"datamodule.data_dir={w.folder}/data",
            "trainer.max_steps=3",
            f"ckpt_path={h}/a.ckpt",
        ],
    ),
    Entrance(
        "a checkpoint to start from",
        _CHECKPOINT,
        "a.ckpt",
        _copy("good.ckpt", "a.ckpt"),
        lambda w, h: [*train(w.pictures, h), f"datamodule.data_dir={w.folder}/data", f"init_from={h}/a.ckpt"],
    ),
    Entrance(
        "a checkpoint for guidance",
        _CHECKPOINT,
        "a.ckpt",
        _copy("good.ckpt", "a.ckpt"),
        lambda w, h: _sample(w, h, "guidance=autoguidance", f"guidance.path={h}/a.ckpt"),
    ),
    Entrance("a checkpoint of the original", _FILE | {"pth", "torch"}, "a.pth", _copy("song.pth", "a.pth"), _pth),
    Entrance(
        "a configuration of the original",
        _FILE | {"json", "song"},
        "a.json",
        _copy("song.json", "a.json"),
        lambda w, h: _sample(w, h, f"experiment={h}/a.json", *_FEW, checkpoint=w.folder / "song.pth"),
    ),
    Entrance(
        "a safetensors file",
        _FILE | {"safetensors"},
        "a.safetensors",
        _copy("good.safetensors", "a.safetensors"),
        lambda w, h: _sample(w, h, checkpoint=h / "a.safetensors"),
    ),
    Entrance(
        "manifest.json of samples",
        _FILE | {"json", "manifest"},
        "out/manifest.json",
        _copy_all("samples", "out"),
        lambda w, h: _sample(w, h),
    ),
    Entrance(
        "a picture of samples",
        _PICTURE,
        "out/images/000001.png",
        _copy_all("samples", "out"),
        lambda w, h: _sample(w, h),
        is_optional=True,
    ),
    Entrance(
        "arrays of samples",
        _NPZ,
        "out/samples.npz",
        _copy_all("arrays", "out"),
        lambda w, h: _sample(w, h, "format=npz"),
        is_optional=True,
    ),
    Entrance(
        "metrics.json",
        _FILE | {"json", "metrics"},
        "out/metrics.json",
        _copy_all("scores", "out"),
        lambda w, h: _evaluate(w, h, f"images={w.pictures}"),
    ),
]
