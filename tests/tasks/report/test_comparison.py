"""A report of several runs says whether their settings differ, from the scores that are recorded already."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from src.commands.report import main
from src.metrics.variance import difference
from src.sinks.record import Record
from src.tasks.report.comparison import Comparison, comparison
from src.tasks.report.folder import read_folders
from src.tasks.report.pictures import sheets
from tests.tasks.evaluation_example import evaluate


def compared(*paths: Path) -> Comparison:
    found = comparison(read_folders(paths))
    assert found is not None
    return found


def recorded(run: Path) -> float:
    (result,) = Record(run / "evaluation/own").results
    value = result.values["frechet_digits"]
    assert value is not None
    return value


def test_a_sweep_is_split_by_its_settings_and_compared_on_recorded_scores(real_runs: Path, tmp_path: Path) -> None:
    values = torch.tensor([recorded(real_runs / str(i)) for i in range(4)], dtype=torch.float64).view(2, 2, 1)
    expected = difference(*values).settings
    found = compared(real_runs)
    assert found.score == "frechet_digits" and found.groups == {
        f"optimizer.lr={rate}": rows.tolist() for rate, rows in zip((0.001, 0.002), values, strict=True)
    }
    (pair,) = (result for result in found.results if result["task"] == "compare")
    assert pair["values"]["difference"] == pytest.approx(float(expected.value))
    assert pair["intervals"]["difference"] == pytest.approx([float(expected.low), float(expected.high)])
    assert "2 and 2 trainings, one draw of each" in found.said[0]
    assert pair["protocol"]["text"].startswith("frechet_digits 12 · ") and "heun-2" in pair["protocol"]["text"]
    assert main([str(real_runs), f"output={tmp_path / 'report.html'}"]) == 0
    html = (tmp_path / "report.html").read_text()
    assert "Do the settings differ?" in html and html.count("optimizer.lr=0.001") > 2


def test_scores_of_training_compare_although_their_seeds_differ(real_runs: Path, tmp_path: Path) -> None:
    values = []
    for i in range(4):
        shutil.copytree(real_runs / str(i), tmp_path / "runs" / str(i), ignore=shutil.ignore_patterns("evaluation"))
        result = Record(real_runs / str(i) / "evaluation/own").results[0].plain()
        scored = {**result, "subject": {"step": 4}, "conditions": {**result["conditions"], "seed": i}}
        (tmp_path / "runs" / str(i) / "scores.jsonl").write_text(json.dumps(scored) + "\n")
        values.append(recorded(real_runs / str(i)))
    found = compared(*sorted((tmp_path / "runs").iterdir()))
    assert found.groups == {
        "optimizer.lr=0.001": [[v] for v in values[:2]],
        "optimizer.lr=0.002": [[v] for v in values[2:]],
    }


def test_draws_of_mode_compare_nearby_are_used_and_give_its_verdict(real_runs: Path) -> None:
    logs = real_runs.parent.parent
    groups = f"groups={{slow: [{real_runs}/0, {real_runs}/1], fast: [{real_runs}/2, {real_runs}/3]}}"
    evaluate("mode=compare", groups, "draws=3", "seed=3", f"output_dir={logs}/evaluation/compare")
    try:
        found = compared(real_runs)
        (theirs,) = (result for result in Record(logs / "evaluation/compare").results if result.task == "compare")
        (ours,) = (result for result in found.results if result["task"] == "compare")
        assert ours["values"] == pytest.approx(theirs.values) and ours["conditions"]["draws"] == 3
        # With the folder of the comparison its own verdict is shown, once.
        assert comparison(read_folders([real_runs, logs / "evaluation/compare"])) is None
    finally:
        shutil.rmtree(logs / "evaluation")


def test_too_little_for_a_verdict_is_said_plainly(real_runs: Path, tmp_path: Path) -> None:
    one_each = compared(real_runs / "0", real_runs / "2")
    assert "each of the 2 settings was trained once" in one_each.said[0] and not one_each.results
    same = compared(real_runs / "0", real_runs / "1")
    assert "2 trainings of one setting" in same.said[0] and [r["task"] for r in same.results] == ["spread"]
    assert comparison(read_folders([real_runs / "0"])) is None
    for i in range(4):
        shutil.copytree(real_runs / str(i), tmp_path / str(i), ignore=shutil.ignore_patterns("checkpoints"))
    runs = [tmp_path / str(i) for i in range(4)]
    record = tmp_path / "3/evaluation/own/metrics.json"
    content = json.loads(record.read_text())
    content["results"][0]["conditions"]["quantization"] = "truncate"
    record.write_text(json.dumps(content))
    assert "no score was measured in the same way" in compared(*runs).said[0]
    record.write_text("{")
    assert "no score is recorded of digits 3" in compared(*runs).said[0]


def test_scores_of_different_protocols_are_marked(real_runs: Path, tmp_path: Path, capsys) -> None:
    runs = [shutil.copytree(real_runs / str(i), tmp_path / str(i)) for i in range(2)]
    record = runs[1] / "evaluation/own/metrics.json"
    record.write_text(record.read_text().replace('"quantization": "round"', '"quantization": "truncate"'))
    assert main([*map(str, runs), f"output={tmp_path / 'report.html'}"]) == 0
    text = (tmp_path / "report.html").read_text()
    assert "its score does not compare with that of digits 0: quantization round and truncate." in text


def test_the_memorization_sheet_of_an_evaluation_is_shown_with_its_verdict(real_runs: Path) -> None:
    (sheet,) = sheets(read_folders([real_runs / "0"])[0])
    assert sheet.source.startswith("data:image/png;base64,") and sheet.origin.startswith("evaluation/own/memorization-")
    assert len(sheet.said) == 2 and all("of the samples" in text and "see" not in text for text in sheet.said)
    assert sheets(read_folders([real_runs / "1"])[0]) == []
