"""The model card: YAML metadata for the Hub with scores as evaluation results, and a page for readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...checkpoint.find import run_of
from ...checkpoint.read import checkpoint_hash
from ...io.results import TRAINING_FILE, is_finite, recorded_results
from ...io.untrusted import read_json

CARD = "README.md"
PICTURE = "samples.png"

_LIBRARY = "score-sde"
_TASK = "unconditional-image-generation"
_SETTINGS = ("net", "sde", "parametrization", "objective", "sampler", "optimizer", "ema")


@dataclass(frozen=True)
class Card:
    """Facts on a card besides the configuration.

    Attributes:
        results: results of the weights, as ``recorded_results`` returns them.
        picture: PNG of samples, or None.
        start: how training was started: an entry of ``run.json``; empty if unknown.
        license: license of the weights, an identifier of the Hub such as ``apache-2.0``; None for no entry.
    """

    results: Sequence[Mapping[str, Any]] = ()
    picture: Path | None = None
    start: Mapping[str, Any] = field(default_factory=dict)
    license: str | None = None

    def text(self, content: Mapping[str, Any]) -> str:
        """Return the card of a model.

        Args:
            content: content of ``config.json``.
        """
        metadata = yaml.safe_dump(self._metadata(content), sort_keys=False, allow_unicode=True)
        return f"---\n{metadata}---\n\n" + "\n\n".join(self._page(content)) + "\n"

    def _metadata(self, content: Mapping[str, Any]) -> dict[str, Any]:
        config = content["config"]
        kinds = {_kind(config.get("sde")), _kind(config.get("net"))} - {""}
        found = {
            "library_name": _LIBRARY,
            "license": self.license,
            "pipeline_tag": _TASK if _is_image(config) else None,
            "tags": ["diffusion", "score-based", *sorted(kind.lower() for kind in kinds)],
        }
        index = {"name": _name(config), "results": [self._evaluation(config, result) for result in self._scored()]}
        known = {key: value for key, value in found.items() if value is not None}
        return {**known, "model-index": [index]} if index["results"] else known

    def _scored(self) -> list[Mapping[str, Any]]:
        return [result for result in self.results if any(True for _ in _numbers(result))]

    def _evaluation(self, config: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
        """One entry of ``results`` in the Hub's ``model-index``."""
        data = _data(config)
        return {
            "task": {"type": _TASK if _is_image(config) else "other"},
            "dataset": {"type": data.lower(), "name": data},
            "metrics": [
                {"type": name, "name": name, "value": value, "args": _args(result, name)}
                for name, value in _numbers(result)
            ],
        }

    def _page(self, content: Mapping[str, Any]) -> Iterator[str]:
        config = content["config"]
        name, steps = _code(_name(config)), f"{content['global_step']:,}"
        yield f"# {name}"
        if self.picture is not None:
            yield f"![Samples]({PICTURE})"
        yield (
            f"A score-based generative model of {_code(_data(config))}, trained for {steps} steps with "
            f"`score-sde`. Weights: {_code(content['weights'])}."
        )
        yield (
            "```python\nfrom score_sde import load\n\n"
            'model = load("path/to/this/folder")  # or "organization/name" on the Hub\n'
            "images = model.sample(16, seed=0)\n```"
        )
        if scored := self._scored():
            yield "## Scores"
            yield from _score_tables(scored)
        yield "## Training"
        rows = [(part, text) for part in _SETTINGS if (text := _described(config.get(part)))]
        rows += [(key, str(self.start[key])) for key in ("command", "commit", "started") if self.start.get(key)]
        yield "\n".join(["| setting | value |", "|---|---|", *(f"| {key} | {_code(value)} |" for key, value in rows)])
        yield (
            "`config.json` holds the whole configuration. The weights are safetensors and the configuration is plain "
            "data: loading runs no code from this folder."
        )


def results_of(run: Path, digest: str, step: int, weights: str) -> list[dict[str, Any]]:
    """Results in a run folder that belong to a checkpoint: the last of each protocol; training scores if there are no
    others.

    Args:
        run: the run's folder.
        digest: SHA-256 of the checkpoint.
        step: step of the checkpoint; scores during training belong to the first average at a step.
        weights: which weights, such as ``ema``.
    """
    found: dict[Any, dict[str, Any]] = {}
    in_training: dict[Any, dict[str, Any]] = {}
    for path, result in recorded_results(run):
        subject, facts = result["subject"], result.get("protocol", {}).get("facts", {})
        key = result["task"], result.get("protocol", {}).get("text")
        recorded = subject.get("weights") or facts.get("weights") or result.get("settings", {}).get("weights")
        if path.name == TRAINING_FILE and subject.get("step") == step and weights == "ema":
            in_training[key] = result
        elif subject.get("checkpoint") == digest and recorded == weights and result["task"] != "compare":
            found[key] = result
    return list((found or in_training).values())


def _numbers(result: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in result["values"].items():
        if is_finite(value):
            yield str(name), float(value)


def _args(result: Mapping[str, Any], name: str) -> dict[str, Any]:
    interval, protocol = result.get("intervals", {}).get(name), result.get("protocol", {}).get("text")
    found = {"interval_95": interval, "protocol": protocol}
    return {key: value for key, value in found.items() if value is not None}


def _score_tables(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for result in results:
        rows = ["| score | value | 95 % interval |", "|---|---|---|"]
        for name, value in _numbers(result):
            ends = result.get("intervals", {}).get(name)
            interval = "" if not ends else f"{ends[0]:.4g} to {ends[1]:.4g}"
            rows.append(f"| {_code(name)} | {value:.4g} | {interval} |")
        yield "Protocol: " + _code(result.get("protocol", {}).get("text") or result["label"])
        yield "\n".join(rows)


def _code(text: object) -> str:
    """Escape text so that Markdown shows it unchanged, on one line and inside a table."""
    return "`" + " ".join(str(text).split()).replace("`", "'").replace("|", "/") + "`"


def _name(config: Mapping[str, Any]) -> str:
    return str(config.get("name") or _data(config))


def _data(config: Mapping[str, Any]) -> str:
    data = config.get("datamodule") or {}
    named = data.get("dataset") or (Path(str(data["path"])).name if data.get("path") else None)
    return str(named or _kind(data).removesuffix("DataModule").lower() or "unknown data")


def _is_image(config: Mapping[str, Any]) -> bool:
    return "channels" in (config.get("datamodule") or {})


def _kind(node: Any) -> str:
    return str(node.get("_target_", "")).rpartition(".")[2] if isinstance(node, Mapping) else ""


def _described(node: Any) -> str:
    """A node on one line: its class and its plain settings."""
    if not isinstance(node, Mapping):
        return ""
    plain = [f"{k}={v}" for k, v in node.items() if not str(k).startswith("_") and not isinstance(v, Mapping | list)]
    return f"{_kind(node)} {', '.join(plain)}".strip()


def card_of(path: Path, step: int, weights: str, license: str | None = None) -> Card:
    """Return the card of a checkpoint, with the scores, the last picture and the start command of its run.

    Args:
        path: the checkpoint.
        step: its step.
        weights: the weights on the Hub: ``ema``, ``ema:<name>`` or ``raw``.
        license: see ``Card``.
    """
    run = run_of(path)
    if run is None:
        return Card(license=license)
    pictures = sorted((run / "samples").glob("step*.png"))
    try:
        start = dict(read_json(run / "run.json")["starts"][-1])
    except (ValueError, KeyError, IndexError, TypeError):
        # A run of an older version.
        start = {}
    results = results_of(run, checkpoint_hash(path), step, weights)
    return Card(results, pictures[-1] if pictures else None, start, license)
