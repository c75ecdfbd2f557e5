import json
import sys
from pathlib import Path

import pytest

from bench.scores import main, rows


def write(folder: Path, *labels: str) -> Path:
    entry = {"task": "scores", "subject": {}, "values": {"fid": 1.5}, "intervals": {"fid": [1.0, 2.0]}}
    conditions = {"nfe": 9.0, "samples": 4}
    folder.mkdir()
    content = {"results": [{**entry, "label": label, "conditions": conditions} for label in labels]}
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


def test_rows_have_given_names_or_those_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scores.json"
    several = write(tmp_path / "several", "digits step 1200 heun 9", "digits step 1200 heun 18")
    monkeypatch.setattr(sys, "argv", ["scores", str(file), str(several)])
    main()
    monkeypatch.setattr(sys, "argv", ["scores", str(file), f"a=b c={write(tmp_path / 'one', '/tmp/x')}"])
    main()
    found = json.loads(file.read_text())
    assert list(found) == ["digits heun 9", "digits heun 18", "a=b c"]
    assert rows(write(tmp_path / "twice", "x", "x"), "y").keys() == {"y"}
    assert found["a=b c"] == {
        "evaluations": 9.0,
        "samples": 4,
        "values": {"fid": 1.5},
        "intervals": {"fid": [1.0, 2.0]},
    }
