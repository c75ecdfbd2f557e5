"""Entrances of models from other programs, and of run folders that are compared, reported, exported or resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.reliability.hostile.world import (
    FEW,
    FILE,
    PICTURE,
    Entrance,
    World,
    copy,
    copy_all,
    evaluate,
    of_checkpoint,
    of_hub,
    of_picture,
    of_safetensors,
    of_statistics,
    sample,
    train,
)


def _examined(world: World, home: Path, *settings: str) -> list[str]:
    return evaluate(world, home, "mode=doctor", f"images={world.pictures}", *settings)


def _compared(world: World, home: Path) -> list[str]:
    own = ("metric=pixel", f"metric.cache_dir={world.folder}/cache", f"output_dir={home}/out")
    groups = f"groups=[{home}/a.ckpt,{world.checkpoint}]"
    return ["evaluate.py", "mode=compare", groups, "draws=2", "num_samples=4", *FEW, *own]


def _reported(world: World, home: Path) -> list[str]:
    return ["src", "report", f"{home}/run", f"output={home}/report.html"]


def _exported(world: World, home: Path) -> list[str]:
    return ["src", "export", f"ckpt_path={home}/run", "format=hub", f"output={home}/hub"]


def _resumed(world: World, home: Path) -> list[str]:
    return [
        *train(world.pictures, home),
        f"datamodule.data_dir={world.folder}/data",
        "trainer.max_steps=3",
        f"ckpt_path={home}/run",
    ]


def _of_run(
    name: str, tags: frozenset[str], file: str, run: str, command: Callable[[World, Path], list[str]]
) -> Entrance:
    """Return an entrance of a file in a run folder; the command also works without the file."""
    return Entrance(name, tags, f"run/{file}", copy_all(run, "run"), command, is_optional=True)


OF_RUNS = [
    of_hub("config.json of the Hub", FILE | {"json", "config.json"}, "config.json"),
    of_hub("model.safetensors of the Hub", FILE | {"tensors"}, "model.safetensors"),
    of_hub("README.md of the Hub", FILE, "README.md", is_optional=True),
    Entrance(
        "a network of EDM",
        FILE | {"network"},
        "a.pkl",
        copy("network.pkl", "a.pkl"),
        lambda w, h: sample(w, h, *FEW, checkpoint=h / "a.pkl"),
    ),
    of_picture(
        "a picture to inspect before training",
        lambda w, h: ["src", "doctor", f"datamodule.path={h}/set", f"datamodule.data_dir={h}/data"],
    ),
    of_picture("a picture to examine", lambda w, h: evaluate(w, h, "mode=doctor", f"images={h}/set")),
    of_picture("a picture to examine against", lambda w, h: _examined(w, h, f"reference={h}/set")),
    of_statistics("statistics to examine against", lambda w, h: _examined(w, h, f"reference={h}/a.npz")),
    of_safetensors(
        "a safetensors file for guidance",
        lambda w, h: sample(w, h, "guidance=autoguidance", f"guidance.path={h}/a.safetensors"),
    ),
    of_checkpoint("a training to compare", _compared, ignored="sampler"),
    of_checkpoint(
        "a checkpoint to export",
        lambda w, h: ["src", "export", f"ckpt_path={h}/a.ckpt", "format=song", f"output={h}/a.pth"],
        ignored="sampler, shape of the data",
    ),
    _of_run("run.json to export", FILE | {"json", "run.json"}, "run.json", "run", _exported),
    _of_run("run.json to report", FILE | {"json", "run.json"}, "run.json", "report", _reported),
    _of_run("metrics.csv to report", FILE | {"metrics.csv"}, "metrics.csv", "report", _reported),
    _of_run("scores.jsonl to report", FILE | {"json"}, "scores.jsonl", "report", _reported),
    _of_run("config.yaml to report", FILE | {"json", "yaml"}, "config.yaml", "report", _reported),
    _of_run("a picture to report", PICTURE, "samples/final/grid.png", "report", _reported),
    _of_run(
        "metrics.json to report", FILE | {"json", "metrics"}, "evaluation/pareto-1/metrics.json", "report", _reported
    ),
    _of_run("manifest.json to report", FILE | {"json", "manifest"}, "samples/final/manifest.json", "report", _reported),
    _of_run("metrics.csv to resume from", FILE | {"metrics.csv"}, "metrics.csv", "run", _resumed),
    _of_run("run.json to resume from", FILE | {"json", "run.json"}, "run.json", "run", _resumed),
    _of_run("config.yaml to resume from", FILE | {"json"}, "config.yaml", "run", _resumed),
]
