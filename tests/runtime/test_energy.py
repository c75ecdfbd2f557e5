"""Energy from counters of the hardware: sums, wraps, and counters that cannot be read."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from src.runtime import energy
from src.runtime.energy import Counter, EnergyMeter, processor_counters
from src.tasks.report.folder import read_folders
from src.tasks.report.tables import runs
from src.tasks.train.history import RunHistory
from tests.tasks.evaluation_example import evaluate, make_run
from tests.tasks.example import load, sample

RANGE = 262_143_328_850


def package(powercap: Path, name: str, microjoules: int) -> Path:
    """A counter as Linux shows it."""
    folder = powercap / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return folder


def test_packages_are_summed_without_their_parts_and_over_a_wrap(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", RANGE - 2_000_000)
    package(tmp_path, "intel-rapl:1", 5_000_000)
    package(tmp_path, "intel-rapl:0:0", 1)
    package(tmp_path, "intel-rapl-mmio:0", 1)
    (tmp_path / "dtpm").mkdir()
    meter = EnergyMeter(processor_counters(tmp_path))
    # The counter goes up to its range and starts at zero again.
    package(tmp_path, "intel-rapl:0", 1_000_000)
    meter.read()
    package(tmp_path, "intel-rapl:0", 4_000_000)
    package(tmp_path, "intel-rapl:1", 9_000_000)
    package(tmp_path, "intel-rapl:0:0", 10**9)
    assert meter.stop() == {"processors": pytest.approx(6 + 4, abs=0.1)}


@pytest.mark.parametrize("content", ["", "many\n"])
def test_a_kind_with_an_unreadable_counter_is_not_known(content: str, tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 1_000_000)
    package(tmp_path, "intel-rapl:1", 1_000_000)
    gpu = [1.0]
    meter = EnergyMeter([*processor_counters(tmp_path), Counter("gpus", "gpu", lambda: gpu[0], 2.0**54)])
    gpu[0] = 31.5
    (tmp_path / "intel-rapl:1/energy_uj").write_text(content)
    assert meter.stop() == {"gpus": 30.5}


def test_no_counters_are_no_energy_and_no_thread(tmp_path: Path) -> None:
    assert processor_counters(tmp_path / "absent") == []
    folder = package(tmp_path, "intel-rapl:0", 1)
    (folder / "energy_uj").unlink()
    assert EnergyMeter(processor_counters(tmp_path)).stop() == {}


def test_gpus_are_read_by_their_identity_and_refusals_are_errors() -> None:
    class Library:
        """NVML with one GPU that has a counter and one that has none."""

        def nvmlDeviceGetHandleByUUID(self, name: bytes, handle: Any) -> int:
            handle._obj.value = {b"GPU-a": 1, b"GPU-b": 2}[name]
            return 0

        def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, found: Any) -> int:
            found._obj.value = 1500
            return 0 if handle.value == 1 else 3

    assert energy._millijoules(Library(), "GPU-a") == 1.5
    with pytest.raises(OSError, match="NVML error 3"):
        energy._millijoules(Library(), "GPU-b")


def test_the_record_of_a_run_holds_the_energy_of_each_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "powercap", "intel-rapl:0", 0)
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "powercap")
    history = RunHistory(tmp_path, [], None)
    package(tmp_path / "powercap", "intel-rapl:0", 7_200_000_000)
    history.end("finished", 3)
    (start,) = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert start["energy"] == {"processors": 7200.0}


def test_sampling_and_evaluation_record_energy_and_the_report_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counters() -> list[Counter]:
        reading = count(start=0.0, step=3600.0)
        return [Counter("processors", "fake", lambda: next(reading), 2.0**54)]

    monkeypatch.setattr(energy, "processor_counters", counters)
    make_run(tmp_path / "run")
    common = (f"ckpt_path={tmp_path}/run", f"output_dir={tmp_path}/run/samples/eight", "accelerator=cpu", "devices=1")
    for number, joules in ((4, 3600.0), (8, 7200.0), (8, 7200.0)):
        sample(*common, f"num_samples={number}", "score=false")
        assert load(tmp_path / "run/samples/eight/manifest.json")["energy"] == {"processors": joules}
    where = f"output_dir={tmp_path}/run/evaluation/own"
    for _ in range(2):
        (result,) = evaluate(f"ckpt_path={tmp_path}/run", "num_samples=8", where)
        assert result.about["energy"] == {"processors": 3600.0}
    (tmp_path / "run/run.json").write_text("{}")
    shown = {row[0]: row[1] for row in runs(read_folders([tmp_path / "run"])).rows}
    assert shown["sampling eight"].endswith("of device time, processors 2 Wh")
    assert shown["energy of own"] == "processors 1 Wh"
