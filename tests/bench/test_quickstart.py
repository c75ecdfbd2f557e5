import json
from pathlib import Path

from bench.quickstart import collect


def test_times_and_scores_of_a_run(tmp_path: Path) -> None:
    start = {"hardware": {"processor": "abacus"}, "versions": {"torch": "0.1"}, "step": 7, "seconds": 90.0}
    entry = {"task": "scores", "label": "x", "subject": {}, "values": {"fid": 1.5}, "intervals": {"fid": [1.0, 2.0]}}
    files = {
        "run.json": {"starts": [{**start, "seconds": 1.0}, start]},
        "samples/a/metrics.json": {"results": [{**entry, "conditions": {"reference_samples": 5}}]},
        "samples/a/manifest.json": {"num_samples": 3, "nfe": {"mean": 9.0}, "seconds": 2.0},
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    found = collect(tmp_path)
    assert found["training"] == {"steps": 7, "minutes": 1.5}
    assert found["sampling"] == {"samples": 3, "evaluations": 9.0, "seconds": 2.0}
    assert (found["values"], found["intervals"], found["reference"]) == ({"fid": 1.5}, {"fid": [1.0, 2.0]}, 5)
