"""``mode=doctor``: it finds a known fault in images and reports how much of the distance the fault explains."""

from __future__ import annotations

import json
import logging
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.doctor_matrix.data import pool
from bench.doctor_matrix.faults import FAULTS, Trial, faults_of
from src.errors import UserError
from src.metrics import PixelFeatures, frechet_distance, statistics_of
from src.sinks.record import Record
from src.tasks.evaluate.doctor.changes import (
    RULES,
    add_half,
    changes,
    jpeg,
    mirror,
    resize,
    soften,
    stretch,
    swap_channels,
)
from src.tasks.evaluate.doctor.evidence.base import Evidence
from src.tasks.evaluate.doctor.examination import Examination, Examiner, Finding
from src.tasks.evaluate.doctor.sources import of_tensor
from src.tasks.evaluate.doctor.verdict import closest, named, sentences
from tests.tasks.evaluation_example import evaluate, make_run

QUICK = (
    "none",
    "channels swapped",
    "JPEG quality 75",
    "half size and back, box",
    "classes 9 to 1",
)
SLOW = [fault for fault in faults_of("patches") if fault not in QUICK]


def check(fault: str, seed: int) -> None:
    # Half a level and mirrored halves are the smallest of these faults.
    samples = 1200 if fault in ("truncated", "half of them mirrored") else 400
    trial = Trial.of("patches", seed, samples, reference=800)
    found = trial.examined(fault)
    assert named(found) in FAULTS[fault], sentences(found, "frechet_pixel")


@pytest.mark.parametrize("fault", QUICK)
def test_the_doctor_names_the_fault(fault: str) -> None:
    check(fault, seed=100)


@pytest.mark.slow
@pytest.mark.parametrize("fault", SLOW)
def test_the_doctor_names_every_other_fault(fault: str) -> None:
    check(fault, seed=100)


def test_each_fault_of_the_matrix_is_planted_and_no_other() -> None:
    for name in ("digits", "patches"):
        trial, made = Trial.of(name, 0, 60, 80), pool(name)
        clean = trial.images(made, torch.arange(200), "none")
        same = {"none", "classes 9 to 1", "another split", "an eighth of the samples"}
        for fault in faults_of(name):
            images = trial.images(made, torch.arange(200), fault)
            assert images.dtype == torch.uint8
            if fault not in same:
                assert images.shape == clean.shape and not torch.equal(images, clean), fault
        share = trial.images(made, torch.arange(200), "classes 9 to 1")
        assert len(share) >= 40


def random_images(count: int, seed: int = 0, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, 8, 8), generator=generator, dtype=torch.uint8)


INDEX = torch.arange(20)


def test_each_change_alters_images_as_named() -> None:
    x = random_images(20)
    assert torch.equal(swap_channels(x, INDEX)[:, 0], x[:, 2])
    assert torch.equal(mirror(x, INDEX)[..., 0], x[..., -1])
    shrunk = stretch(x, INDEX, -255, 255)
    assert (stretch(shrunk, INDEX, 127.5, 255).int() - x.int()).abs().max() <= 1
    flat = torch.full((20, 3, 8, 8), 77, dtype=torch.uint8)
    halves = [resize(x, INDEX, rule) for rule in RULES]
    for rule, half in zip(RULES, halves, strict=True):
        assert torch.equal(resize(flat, INDEX, rule), flat) and not torch.equal(half, x)
    assert all(not torch.equal(a, b) for a, b in combinations(halves, 2))
    assert torch.equal(soften(flat, INDEX, 0.1), flat)
    soft, sharp = (soften(x, INDEX, share).float().var() for share in (0.1, -0.1))
    assert soft < x.float().var() < sharp
    errors = [(jpeg(x, INDEX, quality).float() - x).square().mean() for quality in (95, 75, 50)]
    assert errors[0] < errors[1] < errors[2]
    gray = random_images(2, channels=1)
    assert jpeg(gray, INDEX[:2], 95).shape == gray.shape
    for sign in (1, -1):
        assert float((add_half(flat, INDEX, sign).float() - flat).mean()) == pytest.approx(sign / 2, abs=0.03)
    assert "channels" not in changes(1) and "jpeg" not in changes(2)


def test_scores_and_gains_match_their_definition() -> None:
    x, reference = random_images(300) // 2, random_images(400, 1)
    features = PixelFeatures((3, 8, 8))
    found = Examiner(features, of_tensor(x), {"all": of_tensor(reference)}, "all").run()

    def distance(images: Tensor) -> float:
        return frechet_distance(*(statistics_of(features(y), features.fingerprint) for y in (reference, images)))

    assert found.value == pytest.approx(distance(x))
    swapped = next(f for f in found.findings if f.family == "channels")
    assert swapped.value == pytest.approx(distance(x.flip(1)))
    assert swapped.gain == pytest.approx(found.value - swapped.value)
    assert [text for text in found.skipped if "class" in text]


def finding(family: str, value: float, of: float = 10.0, error: float = 0.1) -> Finding:
    return Finding(family, f"{family} changed", value, value - 0.5, value + 0.5, of - value, error)


def test_traces_decide_where_scores_cannot() -> None:
    samples = Finding("samples", "infinitely many samples", 1.0, 0, 2, 9.0, 0.1)
    certain, weak = Evidence("jpeg", "a dip", 9.0), Evidence("resize", "a pattern", 20.0, certain=False)

    def verdict(*findings: Finding, bias: float, evidence: list[Evidence] | None) -> str:
        return named(Examination(10.0, 9.0, 11.0, bias, 0.1, [samples, *findings], evidence=evidence))

    assert verdict(bias=9.5, evidence=[certain, weak]) == "jpeg"
    assert verdict(bias=9.5, evidence=[weak]) == verdict(bias=1.0, evidence=[weak]) == "resize"
    assert verdict(bias=9.5, evidence=[]) == "samples" and verdict(bias=1.0, evidence=[]) == "none"
    # A large gain is more than a trace; JPEG without its trace is not believed, unless traces were not searched.
    assert verdict(finding("range", 2.0), bias=1.0, evidence=[certain, weak]) == "range"
    assert verdict(finding("jpeg", 2.0), bias=1.0, evidence=[]) == "none"
    assert verdict(finding("jpeg", 2.0), bias=1.0, evidence=None) == "jpeg"
    # Other settings of the net are generated, not imitated: a smaller gain is enough.
    assert verdict(finding("denoise", 7.0), bias=1.0, evidence=None) == "denoise"
    generated = Examination(10.0, 9.0, 11.0, 1.0, 0.1, [samples, finding("denoise", 7.0)])
    assert sentences(generated, "fid")[0].startswith("the last denoising step explains fid")
    assert verdict(finding("resize", 7.0), bias=1.0, evidence=None) == "none"


def test_verdicts_without_a_claimed_score() -> None:
    found = Examination(
        10.0, 9.0, 11.0, 1.0, 0.1, [finding("jpeg", 4.0), finding("resize", 7.0), finding("range", 12.0)]
    )
    assert named(found) == "jpeg" and "67 % of what the number of samples leaves" in sentences(found, "fid")[0]
    assert named(Examination(10.0, 9.0, 11.0, 1.0, 0.1, [finding("jpeg", 4.0, error=3.0)])) == "none"
    samples = Finding("samples", "infinitely many samples", 1.0, 0, 2, 9.0, 0.1)
    assert named(Examination(10.0, 9.0, 11.0, 9.0, 0.1, [samples, finding("jpeg", 9.9)])) == "samples"


def test_verdicts_with_a_claimed_score() -> None:
    found = Examination(10.0, 9.0, 11.0, 1.0, 0.1, [finding("jpeg", 4.0), finding("resize", 7.0)])
    assert named(found, 6.8) == "resize"
    assert "resizing explains the gap of 3.2 to the claimed 6.8" in sentences(found, "fid", 6.8)[0]
    assert closest(found, 2.0) is None
    assert "no single suspicion explains the gap of 8 to the claimed 2: closest is" in sentences(found, "fid", 2.0)[0]
    assert "there is no gap" in sentences(found, "fid", 9.5)[0]


def written(folder: Path, images: Tensor) -> Path:
    folder.mkdir()
    for i, image in enumerate(images):
        array = image.permute(1, 2, 0).numpy()
        Image.fromarray(array if len(image) == 3 else array[..., 0]).save(folder / f"{i:04d}.png")
    return folder


def test_few_images_of_another_kind_are_examined_with_a_caution(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path / "color", random_images(6))
    with caplog.at_level(logging.INFO):
        evaluate(
            "mode=doctor", f"images={tmp_path}/color", "reference=digits", "metric=digits", f"output_dir={tmp_path}"
        )
    assert "has images of 3 channels, read as 1 as in the reference" in caplog.text
    assert "6 images are fewer than the 64 features: do not trust this verdict" in caplog.text


@pytest.mark.parametrize("kind", ["folder", "statistics"])
def test_folders_are_examined_by_the_command(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clean = random_images(120)
    clean[:, 0] //= 3
    folder = written(tmp_path / "images", clean[:60].flip(1))
    if kind == "folder":
        reference = written(tmp_path / "reference", clean[60:])
    else:
        reference = tmp_path / "reference.npz"
        features = PixelFeatures((3, 8, 8))
        statistics_of(features(clean[60:]), features.fingerprint).save(reference)
    settings = [f"images={folder}", f"reference={reference}", "metric=pixel"]
    with caplog.at_level(logging.INFO):
        (result,) = evaluate("mode=doctor", *settings, "claimed=3.0", f"output_dir={tmp_path}/out")
    (kept,) = Record(tmp_path / "out").results
    assert kept.task == "doctor" and kept.values["claimed"] == 3.0
    assert "the order of the channels explains frechet_pixel" in caplog.text
    assert any("not tried" in note for note in kept.notes)
    assert (tmp_path / "out" / "doctor.png").stat().st_size > 5000
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["version"] == 1
    # Another claim reuses the computed values.
    (again,) = evaluate("mode=doctor", *settings, "claimed=4.0", f"output_dir={tmp_path}/out")
    assert again.values == {**result.values, "claimed": 3.0}


def test_samples_of_a_run_are_examined_with_other_weights_and_quantization(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    (result,) = evaluate(
        "mode=doctor", f"images={tmp_path}/run", "num_samples=40", "batch_size=40", f"output_dir={tmp_path}/out"
    )
    names = set(result.values)
    assert {"weights: weights=raw", "denoise: sampler.denoise=false", "quantize: quantize=truncate"} <= names
    # Samples that are compared with the net's own data were not compressed or resized.
    assert not any(name.startswith(("jpeg:", "resize:", "range:")) for name in names)
    for name, settings in (("weights: weights=raw", ["weights=raw"]), ("frechet_digits", [])):
        (expected,) = evaluate(
            f"ckpt_path={tmp_path}/run",
            "num_samples=40",
            "batch_size=40",
            *settings,
            f"output_dir={tmp_path}/{len(settings)}",
        )
        assert result.values[name] == pytest.approx(expected.values["frechet_digits"], rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["mode=doctor"], "images"),
        (["mode=doctor", "images={tmp}/none", "reference=digits", "metric=digits"], "none"),
        (["mode=doctor", "images={tmp}/x.npz", "metric=pixel"], "reference is missing"),
        (["mode=doctor", "images={tmp}/x.npz", "reference=digit", "metric=digits"], "did you mean digits"),
        (["mode=doctor", "images={tmp}/x.npz", "reference=digits"], "metric is missing for"),
        (
            ["mode=doctor", "images={tmp}/x.npz", "reference=digits", "metric=digits"],
            "3 channels in the file, 1 wanted",
        ),
        (["mode=doctor", "images={tmp}/x.npz", "claimed=-1"], "claimed=-1"),
        (["mode=doctor", "images={tmp}/x.npz", "claimed=low"], "claimed=low"),
        (["mode=doctor", "images={tmp}/x.npz", "loss=true"], "leave out"),
        (["images={tmp}/x.npz", "claimed=2"], "belong to mode=doctor"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, settings: list[str], message: str) -> None:
    np.savez(tmp_path / "x.npz", random_images(6).permute(0, 2, 3, 1).numpy())
    with pytest.raises(UserError, match=message):
        evaluate(*(s.replace("{tmp}", str(tmp_path)) for s in settings), f"output_dir={tmp_path}/out")
