"""A run folder with the files of training, sample.py and evaluate.py, written in a moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from src.sinks.record import Result, write_results

HOSTILE = "</script><script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
STEPS = range(20, 1220, 20)


def write_run(folder: Path, name: str = "digits", lr: float = 0.002, skipped: int = 0) -> Path:
    """Write a finished run with curves, scores, pictures, samples, a comparison of samplers and a verdict."""
    (folder / "samples/final").mkdir(parents=True)
    config = {
        "name": name,
        "seed": 1,
        "net": {"_target_": "src.nets.NCSNpp", "nf": 32},
        "model": {"net": {"_target_": "src.nets.NCSNpp", "nf": 32}, "data_range": "unit"},
        "optimizer": {"lr": lr},
        "paths": {"run_dir": str(folder)},
        "datamodule": {"class_names": [name]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    start = {
        "started": "2026-01-02T03:04:05",
        "command": f"train.py experiment=digits optimizer.lr={lr}",
        "overrides": ["experiment=digits", f"optimizer.lr={lr}", f"name={name}"],
        "commit": "0123456789abcdef",
        "host": name,
        "hardware": {"processor": "Toy, 2 cores"},
        "versions": {"torch": "2.0"},
        "ended": "finished",
        "step": 1200,
        "seconds": 62.0,
    }
    (folder / "run.json").write_text(json.dumps({"starts": [start]}))
    rows = ["step,epoch,time,train/loss,train/lr,train/grad_norm,train/skipped_steps,fid,fid_low,fid_high"]
    rows += [f"{s},1,{s},{loss(s)},{lr},{10 / s},{skipped},{2000 / s},1,2" for s in STEPS]
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n20,half a row")
    scores = [
        Result("scores", f"step {s}", {"step": s}, {}, {"fid": 2000 / s}, intervals={"fid": [1800 / s, 2200 / s]})
        for s in (400, 800, 1200)
    ]
    (folder / "scores.jsonl").write_text("".join(json.dumps(r.plain()) + "\n" for r in scores) + '{"half": ')
    for i, step in enumerate((400, 800, 1200)):
        _picture(folder / f"samples/step{step:08d}.png", i)
    _picture(folder / "samples/final/grid.png", 3)
    _picture(folder / "samples/final/trajectory.gif", 4)
    manifest = {"settings": {}, "num_samples": 1000, "invalid": [3], "far": 2, "farthest": 123.0, "seconds": 5.0}
    (folder / "samples/final/manifest.json").write_text(json.dumps(manifest))
    final = Result(
        *("scores", str(folder / "samples/final"), {"checkpoint": "ab"}, {}, {"fid": 2.38, "kid": 0.5}),
        conditions={"samples": 1000},
        intervals={"fid": [2.3, 2.46], "kid": [0.1, 0.9]},
        protocol={"text": f"fid1k · {name}"},
        notes=[f"note of {name}"],
    )
    write_results(folder / "samples/final", [final])
    points = [
        Result(
            *("scores", f"{sampler} {n}", {"sampler": sampler, "steps": n}, {}, {"fid": 30 / n + 1}),
            conditions={"nfe": float(n), "seconds_per_image": n / 100},
            about={"name": name},
        )
        for sampler in ("heun", "pc")
        for n in (5, 10, 20)
    ]
    (folder / "evaluation/pareto-1").mkdir(parents=True)
    write_results(folder / "evaluation/pareto-1", points)
    _picture(folder / "evaluation/pareto-1/pareto.png", 5)
    (folder / "evaluation/evaluate-2").mkdir()
    _picture(folder / "evaluation/evaluate-2/memorization-ema.png", 6)
    verdict = Result(
        "compare", f"{name} and another", {"a": 1}, {}, {"difference": 0.3}, notes=["conclusive: A is better"]
    )
    write_results(folder / "evaluation/evaluate-2", [verdict])
    return folder


def loss(step: int) -> float:
    """Return the loss that ``write_run`` logs for a step."""
    return 5 + 100 / step


def _picture(path: Path, seed: int) -> None:
    levels: Any = np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)
    Image.fromarray(levels).save(path)
