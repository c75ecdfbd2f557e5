"""Evaluations compared with the same values computed here; resumed and repeated evaluations."""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from src.checkpoint import read_checkpoint, restore_model
from src.cli.instantiate import instantiate
from src.errors import UserError
from src.metrics import PixelFeatures
from src.noise import Address
from src.sampling.generation import Generation
from src.sinks.record import Record
from src.tasks.evaluate.environment import Work
from src.tasks.evaluate.task import Evaluation
from tests.tasks.evaluation_example import ckpt, digits, distance, evaluate, samples


def test_the_distance_and_its_conditions_are_recorded(
    first: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (entry,) = evaluate(ckpt(first), f"output_dir={tmp_path}/out")
    assert entry.values["frechet_digits"] == pytest.approx(distance(samples(first, 12)), rel=1e-3)
    known = {"samples": 12, "reference": "digits all", "reference_samples": 1797, "quantization": "round", "nfe": 3.0}
    assert known.items() <= entry.conditions.items()
    assert {"resize", "extractor", "sampler", "seed", "weights", "precision"} <= entry.conditions.keys()
    stored = json.loads((tmp_path / "out" / "metrics.json").read_text())["results"][0]
    assert stored["values"] == entry.values and stored["conditions"] == entry.conditions
    shown = caplog.text
    for word in ("samples 12", "digits all", "Heun 2 steps", "seed 0", "weights ema", "round", "nfe 3"):
        assert word in shown
    assert not (tmp_path / "out" / "samples").exists(), "samples must be deleted after scoring"


def test_finished_results_are_reused_and_other_settings_refused(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [ckpt(first), f"output_dir={tmp_path}/out"]
    before = evaluate(*arguments)
    with monkeypatch.context() as patch:
        patch.setattr(Generation, "batches", lambda *_, **__: pytest.fail("sampled again"))
        assert evaluate(*arguments) == before
        with pytest.raises(UserError, match="num_samples is 12 in the folder and 13 now"):
            evaluate(*arguments, "num_samples=13")
        with pytest.raises(UserError, match=r"sampler.grid.steps is 2 in the folder and 4 now"):
            evaluate(*arguments, "++sampler.grid.steps=4")
    both = evaluate(*arguments, "weights=[ema,raw]")
    assert both[0] == before[0] and both[1].values != before[0].values


def test_an_interrupted_evaluation_resumes_after_the_last_batch(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    real = Generation.batches

    def recorded(self, indices, stop: bool = False, **settings):  # type: ignore[no-untyped-def]
        for batch in real(self, indices, **settings):
            made.extend(batch.index.tolist())
            yield batch
            if stop:
                raise KeyboardInterrupt

    arguments = [ckpt(first), f"output_dir={tmp_path}/out"]
    with monkeypatch.context() as patch:
        patch.setattr(Generation, "batches", lambda *a, **k: recorded(*a, stop=True, **k))
        with pytest.raises(KeyboardInterrupt):
            evaluate(*arguments)
    assert made == [0, 1, 2, 3, 4]
    made.clear()
    monkeypatch.setattr(Generation, "batches", recorded)
    (entry,) = evaluate(*arguments)
    assert made == [5, 6, 7, 8, 9, 10, 11]
    assert entry.values["frechet_digits"] == pytest.approx(distance(samples(first, 12)), rel=1e-3)


def test_samples_are_kept_until_their_result_is_written(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [ckpt(first), f"output_dir={tmp_path}/2024", "num_samples=4", "limit=3"]
    for job in (["score=true"], ["score=false", "loss=true"]):
        with monkeypatch.context() as patch:
            patch.setattr(Record, "add", lambda *_: (_ for _ in ()).throw(UserError("no room")))
            with pytest.raises(UserError, match="no room"):
                evaluate(*arguments, *job)
        kept = [path for path in (tmp_path / "2024").rglob("*.npz") if re.match("samples|values", path.name)]
        assert kept, "the computed samples must be kept"
        evaluate(*arguments, *job)
        assert not any(path.exists() for path in kept)


def test_a_checkpoint_replaced_while_reading_is_refused(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "best_fid.ckpt"
    shutil.copy(first, path)
    prepare = Evaluation.prepare

    def replaced(evaluation: Evaluation) -> dict[int, Work]:
        torch.save({**read_checkpoint(first), "global_step": 11}, path)
        return prepare(evaluation)

    monkeypatch.setattr(Evaluation, "prepare", replaced)
    with pytest.raises(UserError, match=r"best_fid\.ckpt changed while it was read"):
        evaluate(f"ckpt_path={path}", f"output_dir={tmp_path}/out")


def test_loss_is_the_validation_loss(first: Path, tmp_path: Path) -> None:
    (entry,) = evaluate(ckpt(first), f"output_dir={tmp_path}/out", "loss=true", "score=false", "batch_size=100")
    checkpoint = read_checkpoint(first)
    model, config = restore_model(checkpoint), checkpoint["config"]
    x = digits("test").float() / 255
    address = Address(config["seed"] + 1, 0, torch.arange(len(x)))
    labels = {"labels": torch.zeros(len(x), dtype=torch.int64)}
    with torch.no_grad():
        losses = instantiate(config["objective"])(model, x, address, labels, train=False)
    assert entry.values["loss"] == pytest.approx(float(losses.double().mean()), rel=1e-5)
    assert entry.values["standard_error"] == pytest.approx(float(losses.double().std()) / math.sqrt(297), rel=1e-5)
    assert entry.conditions["split"] == "test" and entry.conditions["samples"] == 297


def test_bits_per_dim_does_not_depend_on_the_batch_size(first: Path, tmp_path: Path) -> None:
    common = [ckpt(first), "score=false", "bits_per_dim=true", "limit=5", "split=train"]
    common += ["likelihood.likelihood.rtol=1e-2", "likelihood.likelihood.atol=1e-2"]
    (entry,) = evaluate(*common, f"output_dir={tmp_path}/a", "batch_size=2")
    (other,) = evaluate(*common, f"output_dir={tmp_path}/b", "batch_size=5")
    with np.load(tmp_path / "a" / entry.about["values"]) as a, np.load(tmp_path / "b" / other.about["values"]) as b:
        assert a["index"].tolist() == list(range(5))
        np.testing.assert_allclose(a["bits_per_dim"], b["bits_per_dim"], atol=1e-3)
        bits, errors = a["bits_per_dim"], a["standard_error"]
    assert entry.values["bits_per_dim"] == pytest.approx(bits.mean())
    assert entry.values["standard_error"] == pytest.approx(bits.std(ddof=1) / math.sqrt(5))
    assert entry.values["trace_standard_error"] == pytest.approx(math.sqrt((errors**2).sum()) / 5)
    assert entry.conditions["divergence"] == "hutchinson, 1 rademacher"
    # Dequantization noise depends on the index only: the first image alone has the same value.
    checkpoint = read_checkpoint(first)
    measure = instantiate(
        {
            "_target_": "src.sampling.ode.bits_per_dim.BitsPerDim",
            "likelihood": {"_target_": "src.sampling.Likelihood", "rtol": 1e-2, "atol": 1e-2},
        }
    )
    x = digits("train")[:1].float() / 255
    alone = measure(restore_model(checkpoint), x, Address(0, 0, torch.arange(1)))
    assert float(alone) == pytest.approx(bits[0], abs=1e-3)


def test_every_selects_checkpoints_by_step(run: Path, tmp_path: Path) -> None:
    entries = evaluate(f"ckpt_path={run}", "every=10", f"output_dir={tmp_path}/out", "num_samples=4")
    assert [entry.about["step"] for entry in entries] == [10, 20]
    assert [entry.label for entry in entries] == ["digits step 10", "digits step 20"]
    assert entries[0].values != entries[1].values
    with pytest.raises(UserError, match=r"multiple of 7 steps .* there are 10, 20, 25"):
        evaluate(f"ckpt_path={run}", "every=7")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "ckpt_path"),
        (["ckpt_path=last", "mode=paretto"], "mode=paretto: choose one of evaluate, pareto"),
        (["ckpt_path=CKPT", "metrics=[fid]"], "there is no metric fid; choose from frechet"),
        (["ckpt_path=CKPT", "weights=ema:slow"], "no average 'slow'"),
        (["ckpt_path=CKPT", "ema_length=0.1"], "train with ema=posthoc"),
        (["ckpt_path=CKPT", "num_samples=1"], "need at least 2"),
        (["ckpt_path=CKPT", "mode=pareto", "samplers=[hoin]"], "there is no sampler hoin, did you mean heun?"),
        (["ckpt_path=CKPT", "score=false"], "nothing to do"),
        (["images=nowhere"], "images=nowhere does not exist"),
        (["images=2024"], "images=2024 does not exist"),
        (["ckpt_path=nowhere", "precision=16"], "precision=16: choose one of 32-true"),
        (["ckpt_path=nowhere", "weights=[ema,1]"], "weights=1 is unknown: choose ema"),
    ],
)
def test_invalid_settings_give_one_line_before_devices_start(
    arguments: list[str], message: str, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.tasks.devices.Fabric", lambda **_: pytest.fail("too late"))
    filled = [argument.replace("ckpt_path=CKPT", ckpt(first)) for argument in arguments]
    with pytest.raises(UserError) as error:
        evaluate(*filled, f"output_dir={tmp_path}/out")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_split_lists_the_splits(first: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no split 'val': choose from train, test, all"):
        evaluate(ckpt(first), "loss=true", "split=val", "score=false", f"output_dir={tmp_path}/out")


def test_kept_samples_can_be_scored_again(first: Path, tmp_path: Path) -> None:
    (entry,) = evaluate(ckpt(first), f"output_dir={tmp_path}/out", "keep_samples=true")
    (folder,) = (tmp_path / "out" / "samples").iterdir()
    (again,) = evaluate(f"images='{folder}'", f"output_dir={tmp_path}/again")
    assert again.values == pytest.approx(entry.values, rel=1e-6)
    for name in ("samples", "reference", "quantization", "sampler", "nfe", "seed", "weights"):
        assert again.conditions[name] == entry.conditions[name]


def test_ema_length_builds_averages_of_any_length(first: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(first)
    raw = {name.removeprefix("model.net."): value for name, value in checkpoint["state_dict"].items()}
    averages = {name: {key: raw[key] for key in checkpoint["ema"]["default"]} for name in ("default", "long")}
    averages["long"] = checkpoint["ema"]["default"]
    lengths = {name: {"sigma_rel": sigma} for name, sigma in (("default", 0.05), ("long", 0.1))}
    path = tmp_path / "run" / "checkpoints" / "power.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({**checkpoint, "ema": averages, "config": {**checkpoint["config"], "ema": lengths}}, path)
    common = [ckpt(path), f"output_dir={tmp_path}/out"]
    kept = evaluate(*common, "weights=[ema,ema:long]")
    built = evaluate(*common, "ema_length=[0.05,0.1,0.08]")
    assert [entry.conditions["weights"] for entry in built] == [f"ema_length={s}" for s in ("0.05", "0.1", "0.08")]
    for one, other in zip(kept, built, strict=False):
        assert other.values["frechet_digits"] == pytest.approx(one.values["frechet_digits"], rel=1e-3)
    assert built[2].values["frechet_digits"] not in [entry.values["frechet_digits"] for entry in built[:2]]
    assert "built from 2 snapshots" in built[2].notes[0]


def test_images_of_other_programs_are_scored(run: Path, tmp_path: Path) -> None:
    test_images = digits("test")
    np.savez(tmp_path / "edm.npz", arr_0=test_images.movedim(1, -1).numpy())
    named = ["datamodule=digits", "metric=digits", f"metric.cache_dir={run}/statistics", "metrics=[frechet]"]
    (entry,) = evaluate(f"images={tmp_path}/edm.npz", *named, f"output_dir={tmp_path}/out")
    assert entry.values["frechet_digits"] == pytest.approx(distance(test_images), rel=1e-4)
    assert entry.conditions["quantization"] == "unknown" and entry.conditions["samples"] == 297
    # The pixel extractor takes the image shape from the datamodule group.
    pixel = ["metric=pixel", f"metric.cache_dir={run}/statistics"]
    (entry,) = evaluate(f"images={tmp_path}/edm.npz", "datamodule=digits", *pixel, f"output_dir={tmp_path}/pixel")
    expected = distance(test_images, PixelFeatures([1, 8, 8]))
    assert entry.values["frechet_pixel"] == pytest.approx(expected, rel=1e-4)
    with pytest.raises(UserError, match=r"metric refers to datamodule\.channels, which is missing: choose it with"):
        evaluate(f"images={tmp_path}/edm.npz", *pixel, f"output_dir={tmp_path}/lacking")
    with pytest.raises(UserError, match="metric="):
        evaluate(f"images={tmp_path}/edm.npz", f"output_dir={tmp_path}/out")
