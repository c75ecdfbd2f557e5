"""The GPU proof program without a GPU: tables, and stages on the digits."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import report
from bench.gpu_proof import __main__ as program
from bench.gpu_proof import plan, publish, table
from bench.gpu_proof.setup import keep, rows_of, value_of
from bench.gpu_proof.stages.correctness import SECONDS, outcomes
from bench.gpu_proof.stages.data import cifar10
from bench.gpu_proof.stages.speed.product import busy_seconds, by_kind, kernels_of
from bench.gpu_proof.worker import STAGES
from bench.rows import row

PROGRAM = [sys.executable, "-m", "bench.gpu_proof"]


def test_the_plan_is_consistent() -> None:
    names = [stage.name for stage in plan.STAGES]
    assert set(names) == set(STAGES)
    for i, stage in enumerate(plan.STAGES):
        assert set(stage.needs) <= set(names[:i])
        assert stage.early_after is None or stage.early_after in names[:i]
    assert [stage.name for stage in plan.chosen(["scores"])] == ["unpack", "classifier", "train", "sample", "scores"]
    with pytest.raises(ValueError, match="unknown stage nonsense"):
        plan.chosen(["nonsense"])


def test_pytest_ends_before_its_stage() -> None:
    (limit,) = (stage.limit for stage in plan.STAGES if stage.name == "tests")
    assert limit > SECONDS


def test_missing_packages_are_named_with_the_stages_that_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    hidden = ("diffusers", "xdist")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in hidden else found(name))
    missing = plan.missing_packages(plan.chosen(["throughput", "tests"]))
    assert missing == {"diffusers": ["step_diffusers"], "xdist": ["tests"]}
    assert not plan.missing_packages(plan.chosen(["card"]))


def test_a_truncated_line_loses_no_other_row_but_the_next(tmp_path: Path) -> None:
    record = tmp_path / "rows.jsonl"
    keep(record, "a", row("s", "speed", 2.0, "x", at_least=1.0))
    with record.open("a") as file:
        file.write('{"stage": "a", "sec')
    keep(record, "b", row("s", "memory", 3.0, "GiB"))
    # The truncated line and the line after it are lost.
    keep(record, "b", row("s", "speed", 4.0, "x"))
    assert [stage for stage, _ in rows_of(record)] == ["a", "b"]
    assert value_of(record, "speed") == 4.0
    assert value_of(record, "nothing") is None


def test_the_table_has_one_line_per_measurement_and_a_maximum_length(tmp_path: Path) -> None:
    record = tmp_path / "rows.jsonl"
    for name in ("ours", "ours, compiled"):
        keep(record, name, row("Step", f"train, {name}", 10.0, "images/s", at_least=20.0))
        keep(record, name, row("Step", f"train, {name}, a call", 5.0, "ms"))
    shown = table.text(record, {"step": "ok, 3 s"}, 9.0)
    lines = [line.split() for line in shown.splitlines() if line.startswith("  train")]
    assert [" ".join(line) for line in lines] == [
        f"train, {name} 10 images/s (MISSED 20); a call 5 ms" for name in ("ours", "ours, compiled")
    ]
    assert "0 of 2 targets met" in shown and "step ok, 3 s" in shown
    for i in range(2000):
        keep(record, "many", row("Step", f"number {i}", 1.0, "x"))
    assert len(table.text(record, {}, 9.0)) <= table.LONGEST


def test_publish_writes_rows_to_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path / "rows.jsonl", "a", row("Limits of a card", "copy", 3000.0, "GB/s"))
    (tmp_path / "machine.json").write_text(json.dumps({"card": "a card"}))
    page = tmp_path / "page.md"
    page.write_text("<!-- missed -->\n<!-- /missed -->\n<!-- measured -->\n<!-- /measured -->\n")
    arguments = [str(tmp_path / "rows.jsonl"), "--results", str(tmp_path / "results.json"), "--page", str(page)]
    monkeypatch.setattr(sys, "argv", ["publish", *arguments])
    publish.main()
    assert "### Limits of a card" in page.read_text() and "3,000 GB/s" in page.read_text()
    assert "card: a card" in page.read_text()


def test_overlapping_kernels_are_counted_once() -> None:
    def event(name: str, ts: float, dur: float, cat: str = "kernel") -> dict[str, Any]:
        return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur}

    trace = {
        "traceEvents": [
            event("void cutlass_gemm", 0, 10),
            event("triton_poi_fused", 5, 10),
            event("inside another", 6, 1),
            event("Memcpy HtoD", 100, 5, "gpu_memcpy"),
            event("the whole step", 0, 1000, "gpu_user_annotation"),
            event("cudaLaunchKernel", 0, 500, "cuda_runtime"),
            {"ph": "M", "name": "process_name"},
        ]
    }
    kernels = kernels_of(trace)
    assert len(kernels) == 4
    assert busy_seconds(kernels) == pytest.approx(20e-6)
    assert by_kind(kernels) == pytest.approx(
        {
            "convolutions and products": 10e-6,
            "fused by Inductor": 10e-6,
            "copies and casts": 5e-6,
            "other kernels": 1e-6,
        }
    )


def test_outcomes_of_pytest_with_and_without_workers() -> None:
    lines = [
        "tests/gpu/test_nets.py::test_golden[cuda-ddpm] PASSED                     [  3%]",
        "tests/gpu/test_nets.py::test_golden[cuda-a b] SKIPPED (no reason)          [  6%]",
        "tests/gpu/test_noise.py::test_bits[cuda] ",
        "[gw1] [ 50%] FAILED tests/gpu/test_data.py::test_x[cuda] ",
        "FAILED tests/gpu/test_data.py::test_x[cuda] - assert 1 == 2",
        "========= 1 failed, 1 passed in 3.00s =========",
    ]
    assert outcomes(lines) == {
        "tests/gpu/test_nets.py::test_golden[cuda-ddpm]": "PASSED",
        "tests/gpu/test_nets.py::test_golden[cuda-a b]": "SKIPPED",
        "tests/gpu/test_data.py::test_x[cuda]": "FAILED",
    }


def test_jpeg_archives_are_decoded_in_name_order(tmp_path: Path) -> None:
    def jpeg(level: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (32, 32), (level, level, level)).save(file, "JPEG")
        return file.getvalue()

    with tarfile.open(tmp_path / "cifar10_train_jpeg.tar.xz", "w:xz") as tar:
        for name, level in (("train/ship/0000.jpg", 200), ("train/cat/0001.jpg", 20), ("train/cat/0000.jpg", 10)):
            info = tarfile.TarInfo(name)
            info.size = len(jpeg(level))
            tar.addfile(info, io.BytesIO(jpeg(level)))
    with zipfile.ZipFile(tmp_path / "cifar10_test_jpeg.zip", "w") as archive:
        archive.writestr("cifar10_test/ship/0000.jpg", jpeg(100))
        archive.writestr("cifar10_test/cat/0000.jpg", jpeg(90))
    arrays = cifar10(tmp_path)
    assert arrays["class_names"].tolist() == ["cat", "ship"]
    assert arrays["train_labels"].tolist() == [0, 0, 1] and arrays["test_labels"].tolist() == [0, 1]
    assert arrays["train_images"].shape == (3, 3, 32, 32) and arrays["train_images"].dtype == np.uint8
    assert np.abs(arrays["train_images"][:, 0, 0, 0].astype(int) - [10, 20, 200]).max() <= 2
    with pytest.raises(FileNotFoundError, match=r"holds neither .* nor cifar-10-python\.tar\.gz"):
        cifar10(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    "arguments",
    [
        "card,step_bf16",
        pytest.param("", marks=[pytest.mark.slow, pytest.mark.timeout(1000)]),
    ],
)
def test_the_program_runs_on_the_digits(arguments: str, tmp_path: Path) -> None:
    command = [*PROGRAM, "--small", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    command += ["--data", str(tmp_path), "--budget", "900", *(["--only", arguments] if arguments else [])]
    done = subprocess.run(command, cwd=report.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    measured = {row.what for _, row in rows_of(tmp_path / "out" / "rows.jsonl")}
    wanted = {"GEMM peak, bf16", "train, ours, bf16"}
    if not arguments:
        wanted |= {
            "images decoded",
            "train.py's step, eager",
            "optimizer steps",
            "fused Adam",
            "accuracy on the test split",
            "samples, frechet_classifier",
            "untrained net, recall",
            "Heun, eager",
        }
        assert {"grid.png", "neighbors.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
        assert any(what.startswith("bits/dim, 4 test images") for what in measured)
    assert wanted <= measured
    # The output ends with the table.
    assert done.stdout.strip().endswith("s") and "targets met" in done.stdout[-200:]
    assert len(list((tmp_path / "out").iterdir())) <= 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nonsense"], "unknown stage nonsense"),
        (["--only", "speedrun", "--data", "nowhere"], "nowhere holds neither cifar10_train_jpeg.tar.xz and"),
        (["--only", "card", "--out", "pyproject.toml"], "--out pyproject.toml is a file: give a folder"),
    ],
)
def test_wrong_arguments_end_the_program_with_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(report.ROOT)
    monkeypatch.setattr(sys, "argv", ["gpu_proof", *arguments])
    with pytest.raises(SystemExit):
        program.main()
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_without_a_gpu_the_program_says_what_to_type(tmp_path: Path) -> None:
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(PROGRAM, cwd=report.ROOT, env=hidden, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "try the program itself with --small" in done.stderr.splitlines()[-1]
