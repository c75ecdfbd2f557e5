"""Valid files, the commands that read them, and the class ``Entrance``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.interop import edm_files, originals
from tests.reliability.support.in_process import call
from tests.reliability.support.runs import TINY
from tests.tasks.report.example import write_run
from tests.tasks.test_foreign import SONG

ROWS = 40


@dataclass(frozen=True)
class World:
    """Valid files, made once.

    Attributes:
        folder: the folder that contains them.
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
        """Create all files in ``folder``."""
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
        world.run(["sample.py", f"ckpt_path={world.checkpoint}", *sampling(folder / "samples")])
        world.run(["sample.py", f"ckpt_path={world.checkpoint}", *sampling(folder / "arrays"), "format=npz"])
        world.run([*evaluation(folder), f"images={world.pictures}", f"output_dir={folder}/scores"])
        (cached,) = folder.glob("cache/*statistics.npz")
        shutil.copy(cached, folder / "statistics.npz")
        originals.write(folder, "song")
        (folder / "song.json").write_text(json.dumps(SONG))
        shutil.copytree(made.parents[1], folder / "run")
        world.write_for_others()
        return world

    def write_for_others(self) -> None:
        """Write the checkpoint in other formats, an EDM network, and a run with everything that a report shows."""
        from src.checkpoint import read_checkpoint
        from src.interop.hub import write_hub
        from src.interop.hub.card import Card
        from src.interop.safetensors import write_checkpoint_file

        content = read_checkpoint(self.checkpoint)
        write_checkpoint_file(content, self.folder / "good.safetensors")
        write_hub(content, self.folder / "hub", Card())
        (self.folder / "network.pkl").write_bytes(edm_files.written(edm_files.network(nf=8)))
        write_run(self.folder / "report")

    @staticmethod
    def run(command: list[str]) -> None:
        """Run a command and require exit status 0."""
        ended = call(command)
        assert ended.code == 0, f"{' '.join(command)}\n{ended.out}{ended.err}"


def _write_tables(folder: Path, rows: np.ndarray) -> None:
    import pyarrow
    import pyarrow.parquet
    import zarr

    contents = [(folder / "pictures" / f"{i}.png").read_bytes() for i in range(len(rows))]
    pyarrow.parquet.write_table(pyarrow.table({"image": contents}), folder / "rows.parquet")
    zarr.save(str(folder / "rows.zarr"), rows)


Command = Callable[[World, Path], list[str]]
"""``command(world, folder)`` returns the arguments of a command that reads the file in ``folder``."""


@dataclass(frozen=True)
class Entrance:
    """A file that a command reads.

    Attributes:
        name: a short description.
        tags: the kinds of hostile files to try here.
        file: path of the file in its own folder.
        fill: writes the valid file, and the files that it needs, into that folder.
        command: the command that reads it, given the world and that folder.
        is_optional: the command also works without the file.
        ignored: tags of kinds that the command need not detect.
    """

    name: str
    tags: frozenset[str]
    file: str
    fill: Callable[[World, Path], object]
    command: Command
    is_optional: bool = False
    ignored: frozenset[str] = frozenset()


def train(data: Path, home: Path) -> list[str]:
    """Return a command that trains one step on ``data`` and writes only below ``home``."""
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


def sampling(out: Path) -> list[str]:
    return ["num_samples=3", "batch_size=2", f"output_dir={out}"]


def evaluation(home: Path) -> list[str]:
    data = ["datamodule=image_folder", "datamodule.image_size=8", "datamodule.decode_workers=1", "metric=pixel"]
    kept = [f"datamodule.data_dir={home}/data", f"metric.cache_dir={home}/cache"]
    return ["evaluate.py", *data, f"datamodule.path={home}/pictures", *kept]


def evaluate(world: World, home: Path, *settings: str) -> list[str]:
    return [*evaluation(world.folder), *settings, f"output_dir={home}/out"]


def sample(world: World, home: Path, *settings: str, checkpoint: Path | None = None) -> list[str]:
    return ["sample.py", f"ckpt_path={checkpoint or world.checkpoint}", *sampling(home / "out"), *settings]


def copy(name: str, file: str) -> Callable[[World, Path], object]:
    return lambda world, home: shutil.copy(world.folder / name, home / file)


def copy_all(name: str, file: str) -> Callable[[World, Path], object]:
    return lambda world, home: shutil.copytree(world.folder / name, home / file)


FEW = ("sampler.grid.steps=2",)
FILE = frozenset({"file", "bytes"})
PICTURE, ZIP, NPZ = FILE | {"picture"}, FILE | {"zip of pictures"}, FILE | {"npz"}
CHECKPOINT = FILE | {"checkpoint", "torch", "sampler", "shape of the data", "settings that no class has"}


def of_picture(name: str, command: Command) -> Entrance:
    """Return an entrance of one picture of a folder, ``set``."""
    return Entrance(name, PICTURE, "set/5.png", copy_all("pictures", "set"), command)


def of_checkpoint(name: str, command: Command, tags: frozenset[str] = frozenset(), ignored: str = "") -> Entrance:
    """Return an entrance of a checkpoint, ``a.ckpt``; ``ignored`` are tags, separated by commas."""
    tags, given = CHECKPOINT | tags, copy("good.ckpt", "a.ckpt")
    return Entrance(name, tags, "a.ckpt", given, command, ignored=frozenset(filter(None, ignored.split(", "))))


def of_arrays(name: str, command: Command) -> Entrance:
    """Return an entrance of an npz file, ``a.npz``."""
    return Entrance(name, NPZ, "a.npz", copy("rows.npz", "a.npz"), command)


def of_statistics(name: str, command: Command) -> Entrance:
    """Return an entrance of a statistics file, ``a.npz``."""
    return Entrance(name, NPZ | {"statistics"}, "a.npz", copy("statistics.npz", "a.npz"), command)


def of_safetensors(name: str, command: Command) -> Entrance:
    """Return an entrance of a safetensors file, ``a.safetensors``."""
    tags, given = FILE | {"safetensors", "tensors"}, copy("good.safetensors", "a.safetensors")
    return Entrance(name, tags, "a.safetensors", given, command)


def of_hub(name: str, tags: frozenset[str], file: str, is_optional: bool = False) -> Entrance:
    """Return an entrance of a file of a folder for the Hugging Face Hub."""

    def command(world: World, home: Path) -> list[str]:
        return sample(world, home, checkpoint=home / "hub")

    return Entrance(name, tags, f"hub/{file}", copy_all("hub", "hub"), command, is_optional)
