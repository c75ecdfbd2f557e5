"""``mode=compare``: which runs are compared, on which draws, and the verdict."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from src.errors import UserError
from src.io.atomic import replacing
from src.metrics.variance import difference, spread
from src.sinks.record import Record, Result
from src.tasks.evaluate.compare.groups import find_groups
from src.tasks.evaluate.compare.report import report_comparison
from src.tasks.evaluate.compare.verdict import complete_draws, differences
from tests.tasks.evaluation_example import evaluate, make_run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write four runs in folders of two sweeps, with different random weights."""
    folder = tmp_path_factory.mktemp("compare")
    for i, name in enumerate(("a/0", "a/1", "b/0", "b/1")):
        make_run(folder / name, (10 + 2 * i,), cache=folder / "statistics")
    return folder


def changed(run: Path, **settings: Any) -> None:
    """Change the configuration in the checkpoints of a run."""
    for path in (run / "checkpoints").glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        for key, value in settings.items():
            node, _, name = key.rpartition("__")
            content["config"][node][name] = value
        with replacing(path) as temporary:
            torch.save(content, temporary)


def test_all_runs_are_scored_with_the_same_seeds(home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        results = evaluate("mode=compare", f"groups=[{home}/a,{home}/b]", "draws=3", "seed=5", f"output_dir={tmp_path}")
    assert [r.conditions["seed"] for r in results] == [5, 6, 7] * 4
    scores = torch.tensor([r.values["frechet_digits"] for r in results]).view(2, 2, 3)
    record = Record(tmp_path).results
    assert [(r.task, r.label) for r in record[-3:]] == [("spread", "a"), ("spread", "b"), ("compare", "a - b")]
    expected = difference(*scores)
    entry = record[-1]
    assert entry.values["difference"] == pytest.approx(float(expected.settings.value))
    assert entry.intervals["difference"] == pytest.approx([float(x) for x in expected.settings[1:]])
    assert record[-3].values["between_draws"] == pytest.approx(float(spread(scores[0]).draws.value))
    assert entry.conditions["trainings"] == "2, 2" and entry.conditions["draws"] == 3
    assert entry.notes[0] in caplog.text and "conclusive" in entry.notes[0]
    assert (tmp_path / "compare.png").stat().st_size > 5000
    # A draw equals the result of evaluate.py with that seed.
    single = evaluate(f"ckpt_path={home}/b/1", "seed=6", f"output_dir={tmp_path / 'single'}")
    assert single[0].values["frechet_digits"] == results[-2].values["frechet_digits"]
    # A second call samples nothing and adds no entries.
    assert (
        len(evaluate("mode=compare", f"groups=[{home}/a,{home}/b]", "draws=3", "seed=5", f"output_dir={tmp_path}"))
        == 12
    )
    assert len(Record(tmp_path).results) == len(record)


def test_a_folder_is_grouped_by_settings_and_not_by_seeds(home: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for i in range(4):
        make_run(sweep / str(i), (10 + i,))
        changed(sweep / str(i), optimizer__lr=(1e-3, 2e-3)[i % 2], module__seed=i, datamodule__seed=i)
    groups = find_groups(str(sweep))
    assert [(g.name, [p.parent.parent.name for p in g.paths]) for g in groups] == [
        ("optimizer.lr=0.001", ["0", "2"]),
        ("optimizer.lr=0.002", ["1", "3"]),
    ]
    assert [(g.name, len(g.paths)) for g in find_groups({"x": str(home / "a"), "y": [str(home / "b/0")]})] == [
        ("x", 2),
        ("y", 1),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["mode=compare"], "groups"),
        (["groups=[{home}/a]", "ckpt_path={home}/a"], "belong together"),
        (["mode=compare", "groups=[{home}/a,{home}/a]"], "named twice"),
        (["mode=compare", "groups=[{home}/a,{home}/a/0]"], "name every training once"),
        (["mode=compare", "groups={home}/none"], "neither a checkpoint nor a folder"),
        (["mode=compare", "groups={x: 3}"], "x is 3"),
        (["mode=compare", "groups=[]"], "give folders of runs"),
        (["mode=compare", "groups=[{home}/a]", "draws=0"], "draws=0"),
        (["mode=compare", "groups=[{home}/a]", "weights=[ema,raw]"], "one choice of weights"),
        (["mode=compare", "groups=[{home}/a]", "loss=true"], "leave out"),
        (["mode=compare", "groups=[{home}/a]", "images=x.npz"], "leave out"),
    ],
)
def test_invalid_comparisons_are_refused(home: Path, settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(*(setting.replace("{home}", str(home)) for setting in settings))


def test_a_copy_of_a_run_is_refused(home: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "copy", (10,), cache=home / "statistics")
    with pytest.raises(UserError, match="are the same training"):
        evaluate("mode=compare", f"groups=[{home}/a,{tmp_path}/copy]")


def test_runs_with_different_protocols_are_refused(home: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "other", (30,), cache=home / "statistics")
    changed(tmp_path / "other", datamodule__reference_split="test")
    with pytest.raises(UserError, match="do not compare"):
        evaluate("mode=compare", f"groups=[{home}/a,{tmp_path}/other]", f"output_dir={tmp_path}/out")


def table(*rows: list[float | None]) -> list[list[float | None]]:
    return list(rows)


def words(a: list[list[float | None]], b: list[list[float | None]]) -> str:
    scores, notes = complete_draws({"a": a, "b": b})
    base = {name: Result("scores", name, {}, {}) for name in "ab"}
    (found,) = differences(scores, "fid", base)
    return " ".join([*found.notes, *notes])


def test_verdicts() -> None:
    near, far = table([1.0, 1.1], [1.2, 1.4], [0.9, 1.0]), table([5.0, 5.1], [5.2, 5.4], [4.9, 5.1])
    assert words(near, far).startswith("conclusive: a is lower than b. fid of a minus fid of b is -4")
    assert words(far, near).startswith("conclusive: a is higher than b.")
    spread_out = table([0.0, 0.1], [3.0, 3.1], [6.0, 6.05])
    shifted = table(*([x + 0.5 for x in row if x is not None] for row in spread_out))
    notes = words(spread_out, shifted)
    assert (
        notes.startswith("not conclusive")
        and "trainings per setting would show it" in notes
        and "only more trainings" in notes
    )
    assert "One training per group cannot show whether the settings differ" in words(near, table([5.0, 5.2]))


def test_draws_missing_in_one_run_are_left_out_for_all() -> None:
    scores, notes = complete_draws({"a": table([1.0, None, 3.0], [4.0, 5.0, 6.0]), "b": table([7.0, 8.0])})
    assert scores["a"].tolist() == [[1.0], [4.0]] and scores["b"].tolist() == [[7.0]]
    assert notes and notes[0].startswith("2 draws are left out")
    with pytest.raises(UserError, match="no draw has a score for every training"):
        complete_draws({"a": table([None, 1.0], [1.0, None])})


def test_an_unknown_distance_is_refused(tmp_path: Path) -> None:
    results = [Result("scores", "x", {}, {}, values={"fid": 1.0})]
    with pytest.raises(UserError, match="distance=kid is not among the scores: choose one of fid"):
        report_comparison(Record(tmp_path), [("x", 1)], 1, results, "kid")


def test_a_single_group_reports_the_spread_of_its_scores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    results = [Result("scores", "x", {}, {}, values={"fid": float(v)}) for v in (1, 2, 4, 7)]
    with caplog.at_level(logging.INFO):
        report_comparison(Record(tmp_path), [("x", 2)], 2, results, "fid")
    assert "there is one group, so nothing is compared" in caplog.text
    assert "between_trainings" in caplog.text and [r.task for r in Record(tmp_path).results] == ["spread"]
