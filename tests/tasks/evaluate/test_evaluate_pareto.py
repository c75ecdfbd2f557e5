"""Samplers compared by evaluate.py: every point is scored once, and all are drawn."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from src.errors import UserError
from src.sinks.record import Result
from src.tasks.evaluate.jobs import scores as evaluation_scores
from src.tasks.evaluate.results import picture as evaluation_picture
from tests.tasks.evaluation_example import ckpt, distance, evaluate, samples


def test_pareto_scores_every_point_once_and_draws_them(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    changed = "{name: pc, overrides: {corrector: {snr: 0.1}}}"
    arguments = ["mode=pareto", ckpt(first), f"output_dir={tmp_path}/out", f"samplers=[heun,{changed}]"]
    entries = evaluate(*arguments, "steps=[2,3]")
    assert [entry.conditions["nfe"] for entry in entries] == [3, 5, 4, 6]
    assert [entry.subject["sampler"] for entry in entries] == ["heun", "heun", *["pc(corrector.snr=0.1)"] * 2]
    assert entries[3].settings["sampler"]["corrector"]["snr"] == 0.1
    assert entries[0].values["frechet_digits"] == pytest.approx(distance(samples(first, 12)), rel=1e-3)
    assert (tmp_path / "out" / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "with 3 evaluations or more: digits step 10 heun 2" in caplog.text
    made: list[str] = []
    real = evaluation_scores.ScoresWork.run
    monkeypatch.setattr(evaluation_scores.ScoresWork, "run", lambda work: made.append(work.job.label) or real(work))
    evaluate(*arguments, "steps=[2,4]")
    assert made == ["digits step 10 heun 4", "digits step 10 pc(corrector.snr=0.1) 4"]


def test_pareto_draws_all_checkpoints_of_the_output_dir(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[str]] = []
    monkeypatch.setattr(
        evaluation_picture, "draw_scores", lambda path, entries, value, caption: drawn.append([value, *names(entries)])
    )

    def names(entries: list[Result]) -> list[str]:
        return sorted(f"{e.about['name']} {e.subject['sampler']}" for e in entries)

    common = ["mode=pareto", f"output_dir={tmp_path}/out", "steps=[2]", "distance=frechet_digits"]
    evaluate(*common, f"ckpt_path='{run}/checkpoints/step00000010.ckpt'", "samplers=[heun]")
    evaluate(*common, f"ckpt_path='{run}/checkpoints/step00000020.ckpt'", "samplers=[unipc]")
    assert drawn == [
        ["frechet_digits", "digits step 10 heun"],
        ["frechet_digits", "digits step 10 heun", "digits step 20 unipc"],
    ]
    with pytest.raises(UserError, match=r"digits step 10 heun 2 do not compare \(samples 13 and 12\)"):
        evaluate(*common, f"ckpt_path='{run}/checkpoints/step00000025.ckpt'", "samplers=[heun]", "num_samples=13")
    with pytest.raises(UserError, match="distance=kid is not among the scores: choose one of frechet_digits"):
        evaluate(*common[:-1], f"ckpt_path='{run}/checkpoints/step00000010.ckpt'", "samplers=[heun]", "distance=kid")
