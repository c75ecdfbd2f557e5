"""JSON and YAML: documents of other programs, values of wrong types, unbounded nesting."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.reliability.hostile.files.kinds import Kinds, Make

DOCUMENTS, MANIFEST, METRICS, INDEX, SONG = map(Kinds, ("json", "manifest", "metrics", "dataset.json", "song"))
CURVES, STARTS, YAML = map(Kinds, ("metrics.csv", "run.json", "yaml"))

_TEXTS = {
    "a list": "[]",
    "a number": "7",
    "null": "null",
    "plain text": "these are no settings",
    "half of an object": '{"settings": {',
    "nested 100,000 times": "[" * 100_000,
    "objects nested 100,000 times": '{"a":' * 100_000,
    "a number of 5,000 digits": '{"num_samples": ' + "9" * 5000 + "}",
    "bytes that are not text": b"\xff\xfe{}\x00",
    "the manifest of a browser": '{"manifest_version": 3, "name": "Extension", "version": "1.0", "action": {}}',
}
for name, text in _TEXTS.items():
    DOCUMENTS.add(
        name,
        lambda good, bad, text=text: bad.write_bytes(text if isinstance(text, bytes) else text.encode()),
        harmless=True,
    )


def _changed(change: Callable[[Any], None]) -> Make:
    def make(good: Path, bad: Path) -> None:
        content = json.loads(good.read_text())
        change(content)
        bad.write_text(json.dumps(content))

    return make


def _updates(kinds: Kinds, changes: Mapping[str, Mapping[str, Any]]) -> None:
    for name, change in changes.items():
        kinds.add(name, _changed(lambda content, change=change: content.update(change)))


_updates(
    MANIFEST,
    {
        "settings that are a list": {"settings": []},
        "settings that are null": {"settings": None},
        "a negative number of samples": {"num_samples": -5},
        "a number of samples that is a string": {"num_samples": "many"},
        "10^18 samples": {"num_samples": 10**18},
        "an infinite number of samples": {"num_samples": float("inf")},
        "an unknown status": {"status": "wonderful"},
        "invalid samples that are a number": {"invalid": 5},
        "invalid samples that are strings": {"invalid": ["a", None]},
        "invalid samples that do not exist": {"invalid": [10**30, -1]},
        "an NFE that is a list": {"nfe": [1]},
        "a time that is a string": {"seconds": "long"},
        "an environment variable in the settings": {"settings": {"checkpoint": "${oc.env:SECRET_OF_THE_TEST}"}},
    },
)


def _results(change: Callable[[dict[str, Any]], None]) -> Make:
    return _changed(lambda content: [change(result) for result in content["results"]][:0])


METRICS.add("results that are a number", _changed(lambda content: content.update(results=5)))
METRICS.add("results that are null", _changed(lambda content: content.update(results=[None])))
METRICS.add("values that are strings", _results(lambda result: result.update(values={"fid": "good"})), harmless=True)
METRICS.add("values that are a list", _results(lambda result: result.update(values=[1])))
METRICS.add("intervals with one end", _results(lambda result: result.update(intervals={"frechet_pixel": [1]})), True)
METRICS.add("settings that are a list", _results(lambda result: result.update(settings=[])))
METRICS.add("a subject that is a string", _results(lambda result: result.update(subject="x")))
METRICS.add("an unknown key", _results(lambda result: result.update(key=1)))
METRICS.add("a label of two lines", _results(lambda result: result.update(label="a\nerror: b")), harmless=True)

_NAMES = [f"{i}.png" for i in range(40)]
for name, labels in {
    "labels that are numbers": 7,
    "labels without file names": [1, 2, 3],
    "entries of three values": [[name, 0, 1] for name in _NAMES],
    "negative classes": [[name, -1] for name in _NAMES],
    "classes of 2^70": [[name, 2**70] for name in _NAMES],
    "classes of 2^40": [[name, 2**40] for name in _NAMES],
    "classes that are strings": [[name, "cat"] for name in _NAMES],
    "classes that are lists": [[name, [0]] for name in _NAMES],
    "fractional classes": [[name, 0.5] for name in _NAMES],
    "infinite classes": [[name, float("inf")] for name in _NAMES],
    "classes for other files": [["../../etc/passwd", 0]],
}.items():
    INDEX.add(name, lambda good, bad, labels=labels: bad.write_text(json.dumps({"labels": labels})))

_BILLION_LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
for name, text in {
    "YAML that runs a program": "!!python/object/apply:os.system ['touch evil']",
    "YAML whose aliases double 40 times": _BILLION_LAUGHS + "model: *a39\n",
    "YAML that contains itself": "model: &m {name: ncsnpp, nf: *m}\n",
    "YAML with tabs": "model:\n\t- a\n",
    "two YAML documents": "a: 1\n---\nb: 2\n",
}.items():
    YAML.add(name, lambda good, bad, text=text: bad.write_text(text))
for name, section, change in (
    ("a batch size that contains an override", "training", {"batch_size": "8,hydra.run.dir=evil"}),
    ("a batch size that reads the environment", "training", {"batch_size": "${oc.env:SECRET_OF_THE_TEST}"}),
    ("a batch size of two lines", "training", {"batch_size": "8\nname=evil"}),
    ("an image of 10^9 pixels", "data", {"image_size": 10**9}),
    ("an image of negative pixels", "data", {"image_size": -16}),
    ("an image size that is a string", "data", {"image_size": "large"}),
    ("10^9 features", "model", {"nf": 10**9}),
    ("features that are null", "model", {"nf": None}),
    ("levels that are a number", "model", {"ch_mult": 2}),
    ("ten million blocks", "model", {"num_res_blocks": 10**7}),
    ("dropout that is a string", "model", {"dropout": "much"}),
    ("a kernel of strings", "model", {"fir_kernel": ["a"]}),
    ("a noise level of NaN", "model", {"sigma_max": float("nan")}),
    ("an infinite noise level", "model", {"sigma_max": float("inf")}),
    ("10^18 steps", "model", {"num_scales": 10**18}),
    ("a section that is a list", "model", None),
):
    # The command overrides the number of steps.
    is_unused = name == "10^18 steps"
    SONG.add(
        name,
        _changed(
            lambda content, section=section, change=change: content.update(
                {section: [] if change is None else content[section] | change}
            )
        ),
        is_unused,
    )

_COLUMNS = "step,epoch,time,train/loss\n"
for name, table in {
    "no columns": "\n\n\n",
    "columns without a step": "epoch,loss\n1,2\n",
    "a column twice": "step,step,step\n1,2,3\n",
    "rows that are longer than the columns": f"{_COLUMNS}1,2,3,4,5,6,7\n",
    "rows that are shorter": f"{_COLUMNS}1\n2\n",
    "steps that are strings": f"{_COLUMNS}one,0,1,2\ntwo,0,1,2\n",
    "steps that are not finite": f"{_COLUMNS}nan,0,1,2\ninf,0,1,2\n",
    "times that are strings": f"{_COLUMNS}1,0,long,2\n",
    "values of 5,000 digits": f"{_COLUMNS}1,0,1,{'9' * 5000}\n",
    "a cell of 10 MB": f"{_COLUMNS}1,0,1,{'a' * 10_000_000}\n",
    "an open quote": f'{_COLUMNS}1,0,1,"2\n' + "3,0,1,2\n" * 100_000,
    "a program of a page in a column": "step,<script>document.title='evil'</script>\n1,2\n",
    "100,000 columns": "step," + ",".join(map(str, range(100_000))) + "\n" + "1," * 100_000 + "1\n",
    "zero bytes": f"{_COLUMNS}1,0,1,\0\n",
}.items():
    CURVES.add(name, lambda good, bad, table=table: bad.write_text(table), harmless=True)

for name, starts in {
    "starts that are a string": "once",
    "starts that are numbers": [1, 2],
    "no starts": [],
    "values that are null": [dict.fromkeys(("started", "ended", "command", "commit", "step", "seconds", "versions"))],
    "values that are lists": [
        {key: [] for key in ("started", "ended", "command", "commit", "step", "seconds", "versions")}
    ],
    "hardware and versions that are strings": [{"hardware": "fast", "versions": "new"}],
    "infinite seconds": [{"seconds": float("inf"), "step": 10**30}],
    "NaN seconds": [{"seconds": float("nan"), "step": -1}],
    "a command with an open quote": [{"command": "train.py 'a", "overrides": 7}],
}.items():
    STARTS.add(name, _changed(lambda content, starts=starts: content.update(starts=starts)), harmless=True)

KINDS = [*DOCUMENTS.all, *MANIFEST.all, *METRICS.all, *INDEX.all, *SONG.all, *CURVES.all, *STARTS.all, *YAML.all]
