"""Parts of evaluate.py: record, table, choice of samplers, pictures, loggers, and images from files."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from src.cli.arguments import checkpoint_arguments
from src.config.location import CONFIG_DIR
from src.errors import UserError
from src.loggers import AppendingCSVLogger
from src.sinks.manifest import Manifest
from src.sinks.record import Record, Result
from src.sinks.table import table
from src.tasks.evaluate.pareto import choices, front
from src.tasks.evaluate.results.curve import draw_curve
from src.tasks.evaluate.results.loggers import log
from src.tasks.evaluate.results.picture import figure
from src.tasks.image_source import open_images
from src.tasks.scoring import generation_facts

SAMPLER = {
    "_target_": "src.sampling.solvers.heun.Heun",
    "grid": {"_target_": "src.sampling.solvers.schedule.KarrasGrid", "steps": 18, "eps": 0.002},
}


def point(sampler: str, nfe: float, value: float | None, seconds: float = 1.0, **conditions: object) -> Result:
    return Result(
        "scores",
        f"run {sampler}",
        {"sampler": sampler},
        {},
        values={"fid": value},
        conditions={
            "samples": 1000,
            "reference": "cifar10 train",
            "nfe": nfe,
            "seconds_per_image": seconds,
            **conditions,
        },
        about={"name": "run", "step": 5},
    )


def test_the_record_finds_entries_and_refuses_other_settings(tmp_path: Path) -> None:
    record = Record(tmp_path)
    entry = Result("scores", "a", {"checkpoint": "1"}, {"num_samples": 10}, values={"fid": 2.0, "kid": float("nan")})
    record.add(entry)
    again = Record(tmp_path)
    found = again.find("scores", {"checkpoint": "1"}, {"num_samples": 10})
    assert found is not None and found.values == {"fid": 2.0, "kid": None}
    assert again.find("loss", {"checkpoint": "1"}, {}) is None
    assert again.find("scores", {"checkpoint": "2"}, {}) is None
    with pytest.raises(UserError, match="num_samples is 10 in the folder and 20 now"):
        again.find("scores", {"checkpoint": "1"}, {"num_samples": 20})
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(UserError, match="not a record of results"):
        Record(tmp_path)


def test_the_table_shows_common_conditions_once() -> None:
    lines = table([point("heun", 5, 3.25), point("pc", 2000, None)])
    assert lines[0].split() == ["fid", "nfe"]
    assert lines[1].split() == ["run", "heun", "3.25", "5"]
    assert lines[2].split() == ["run", "pc", "none", "2000"]
    assert lines[3] == "samples 1000, reference cifar10 train, seconds_per_image 1"
    assert len({len(line) for line in lines[:3]}) == 1, "columns must be aligned"


def test_the_pareto_front() -> None:
    points = [
        point("a", 10, 5.0),
        point("a", 20, 6.0),
        point("a", 40, 2.0),
        point("b", 10, 4.0),
        point("b", 30, 1.0, invalid_samples=3),
        point("b", 35, None),
        point("b", 80, 2.0),
    ]
    assert [(e.subject["sampler"], e.conditions["nfe"]) for e in front(points, "fid", "nfe")] == [("b", 10), ("a", 40)]


def test_choices_combine_samplers_and_steps() -> None:
    changed = {"name": "pc", "overrides": {"corrector": {"snr": 0.1}}}
    found = choices(["own", "ode", changed], [9, 18], {"sampler": SAMPLER})
    assert [(c.label, c.steps) for c in found] == [
        ("own", 9),
        ("own", 18),
        ("ode", None),
        ("pc(corrector.snr=0.1)", 9),
        ("pc(corrector.snr=0.1)", 18),
    ]
    assert found[0].node == {**SAMPLER, "grid": {**SAMPLER["grid"], "steps": 9}}  # type: ignore[dict-item]
    assert found[4].node["corrector"]["snr"] == 0.1 and found[4].node["grid"]["steps"] == 18


@pytest.mark.parametrize(
    ("samplers", "message"),
    [
        (["dpm_solver"], "did you mean dpm_solver_"),
        (
            [{"name": "pc", "overrides": {"corrector": {"snrr": 0.1}}}],
            r"no setting corrector.snrr, did you mean corrector.snr",
        ),
        ([{"nam": "pc"}], "give a name, or"),
        (["heun", "heun"], "twice"),
        ([], "at least one"),
    ],
)
def test_invalid_samplers_are_refused(samplers: list[object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        choices(samplers, [5], {"sampler": SAMPLER})


def test_the_picture_has_a_curve_per_sampler_and_labels_the_front() -> None:
    points = [point("heun", 5, 30.0, 0.1), point("heun", 9, 8.0, 0.2), point("pc", 9, 90.0, 0.3), point("pc", 99, None)]
    left, right = figure(points, "fid", "samples 1000").axes
    assert (left.get_xscale(), left.get_yscale(), right.get_xscale()) == ("log", "log", "log")
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["heun", "pc"]
    assert [text.get_text() for text in left.texts] == ["8", "30"]
    assert [line.get_xydata().tolist() for line in left.lines] == [[[5, 30], [9, 8]], [[9, 90]]]
    assert [line.get_xydata().tolist() for line in right.lines] == [[[0.1, 30], [0.2, 8]], [[0.3, 90]]]


def test_loggers_get_increasing_steps() -> None:
    class Rows(AppendingCSVLogger):
        def __init__(self) -> None:
            self.rows: list[tuple[int, dict[str, float]]] = []

        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            self.rows.append((step, metrics))

    entries = [
        point("a", 1, 3.0),
        point("a", 1, 2.0),
        Result("loss", "a", {}, {}, values={"loss": 7.0}, about={"step": 9}),
    ]
    entries[0].about["step"] = 9
    logger = Rows()
    log([logger], entries, None)
    assert logger.rows == [(5, {"evaluation/fid": 2.0}), (9, {"evaluation/fid": 3.0, "evaluation/loss/loss": 7.0})]


def test_a_comparison_of_samplers_is_logged_as_table_and_picture(tmp_path: Path) -> None:
    class Wandb(WandbLogger):
        def __init__(self) -> None:
            self.logged: list[Any] = []

        def log_metrics(self, values: dict[str, float], step: int) -> None:
            pytest.fail("points of several samplers must not be logged as a curve")

        def log_table(self, key: str, columns: list[str], data: list[list[Any]]) -> None:
            self.logged.append((key, [dict(zip(columns, row, strict=True)) for row in data]))

        def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
            self.logged.append((key, [image.shape for image in images], step))

        def save(self) -> None: ...

        def finalize(self, status: str) -> None: ...

    logger = Wandb()
    Image.new("RGBA", (5, 3)).save(tmp_path / "pareto.png")
    log([logger], [point("heun", 9, 3.0), point("pc", 18, None)], tmp_path / "pareto.png")
    picture, (table, rows) = logger.logged
    assert (table, picture) == ("evaluation/scores", ("evaluation/pareto", [(3, 5, 3)], None))
    assert [(row["label"], row["fid"], row["nfe"]) for row in rows] == [("run heun", 3.0, 9), ("run pc", None, 18)]


def images(count: int, size: int = 4, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def read(path: Path, channels: int | None = None) -> torch.Tensor:
    source = open_images(path)
    batches = list(source.batches(range(len(source)), 3, channels))
    assert torch.cat([index for index, _ in batches]).tolist() == list(range(len(source)))
    return torch.cat([image for _, image in batches])


def test_npz_layouts_of_other_programs(tmp_path: Path) -> None:
    made = images(25)
    expected = torch.from_numpy(made).movedim(-1, 1)
    np.savez(tmp_path / "adm.npz", arr_0=made)
    assert torch.equal(read(tmp_path / "adm.npz"), expected)
    song = tmp_path / "song"
    song.mkdir()
    for i in range(12):
        # Two images per file; samples_10 must come after samples_9.
        np.savez_compressed(song / f"samples_{i}.npz", samples=made[2 * i : 2 * i + 2])
        np.savez_compressed(song / f"statistics_{i}.npz", pool_3=np.zeros((2, 5)))
    assert torch.equal(read(song), expected[:24])
    np.savez(tmp_path / "nchw.npz", samples=expected.numpy())
    assert torch.equal(read(tmp_path / "nchw.npz"), expected)
    np.savez(tmp_path / "gray.npz", images=made[..., 0])
    assert torch.equal(read(tmp_path / "gray.npz"), expected[:, :1])
    assert torch.equal(read(tmp_path / "gray.npz", 3), expected[:, :1].expand(-1, 3, -1, -1))


def test_folders_and_archives(tmp_path: Path) -> None:
    made = images(5)
    folder = tmp_path / "folder"
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for i, image in enumerate(made):
            Image.fromarray(image).save(folder / f"{i}.png")
            archive.write(folder / f"{i}.png", f"inside/{i}.png")
    expected = torch.from_numpy(made).movedim(-1, 1)
    assert torch.equal(read(folder), expected)
    assert torch.equal(read(tmp_path / "some.zip"), expected)
    Image.fromarray(images(1, size=5)[0]).save(folder / "9.png")
    with pytest.raises(UserError, match=r"9\.png .* 5x5, others are 4x4"):
        read(folder)
    (folder / "9.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"9\.png cannot be read"):
        read(folder)


def test_files_without_images_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "floats.npz", samples=np.zeros((2, 4, 4, 3), np.float32))
    # Float images are accepted here; their range is checked against the data.
    assert open_images(tmp_path / "floats.npz").values(None).levels is None
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(3), sigma=np.zeros((3, 3)))
    with pytest.raises(UserError, match="mu, sigma"):
        open_images(tmp_path / "statistics.npz")
    np.savez(tmp_path / "color.npz", samples=images(2))
    with pytest.raises(UserError, match="3 channels in the file, 1 wanted"):
        read(tmp_path / "color.npz", 1)
    running = tmp_path / "running"
    running.mkdir()
    Manifest({}, 4).save(running)
    with pytest.raises(UserError, match="not complete"):
        open_images(running)


def test_the_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", samples=images(2))
    before = open_images(tmp_path / "a.npz").fingerprint
    assert open_images(tmp_path / "a.npz").fingerprint == before
    np.savez(tmp_path / "a.npz", samples=images(3))
    assert open_images(tmp_path / "a.npz").fingerprint != before


def test_lists_of_paths_need_no_quotes() -> None:
    given = ["ckpt_path=[logs/a/step=1.ckpt, b]", "ckpt_path=[a,b]", "steps=[1,2]"]
    assert checkpoint_arguments(given, CONFIG_DIR) == [
        "ckpt_path=['logs/a/step=1.ckpt','b']",
        "ckpt_path=[a,b]",
        "steps=[1,2]",
    ]


def test_curve_of_a_distance_over_the_number_of_samples(tmp_path: Path) -> None:
    result = point("heun", 18, 2.6)
    assert not draw_curve(tmp_path / "none.png", [result], "fid") and not list(tmp_path.iterdir())
    result.values["fid_infinity"], result.intervals["fid_infinity"] = 2.4, [2.3, 2.5]
    result.details = {"fid_curve": [2.6, 2.8, 3.0], "fid_curve_samples": [3000.0, 1500.0, 1000.0]}
    assert draw_curve(tmp_path / "fid_by_samples.png", [result], "fid")
    assert (tmp_path / "fid_by_samples.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_shows_intervals_and_the_protocol() -> None:
    result = point("heun", 18, 2.6)
    (name,) = result.values
    result.intervals[name] = [2.5, 2.7]
    result.protocol = {"text": "fid50k · inception-tf-resize"}
    lines = table([result])
    assert "2.6 (2.5 to 2.7)" in lines[1] and "protocol: fid50k · inception-tf-resize" in lines


def test_generation_facts_name_guidance_and_temperature() -> None:
    guidance = {"_target_": "src.sampling.conditioning.guidance.ClassifierFree", "scale": 2.0, "null_label": None}
    settings = {"weights": "ema", "seed": 0, "labels": None, "sampler": {}, "guidance": guidance, "temperature": 0.5}
    assert generation_facts(settings) == {
        **{"weights": "ema", "seed": 0, "temperature": 0.5},
        "guidance": "ClassifierFree, scale 2",
    }
