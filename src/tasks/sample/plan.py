"""Plan a call of sample.py: check and build everything before any process starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ...checkpoint import checkpoint_hash, find_checkpoint, restore_model
from ...checkpoint.find import run_of
from ...checkpoint.weights import parse_weights
from ...cli.setting_types import check_whole, listed
from ...data_range import check_quantize
from ...distributed import agreed, failing_together
from ...errors import UserError
from ...io.hashing import settings_hash
from ...metrics import MetricSuite
from ...noise import check_seed
from ...sampling import Sampler
from ...sampling.conditioning.labels import ClassLabels, class_condition, class_numbers
from ...sampling.generation import Generation
from ...sampling.starts import Start
from ...sinks.store import SampleStore, check_format
from ...stored_values import StoredValues, values_of
from .. import checkpoint_config, scoring
from ..checkpoint_file import open_unchanged
from ..devices import check_precision
from .constraints import Constraint, constraint_of, needs_given
from .given import Given, open_given
from .guidance import GuidedModel, guide
from .starts import num_samples, start_of


@dataclass(frozen=True)
class SamplingRequest:
    """A checked command line, and the files it names.

    Attributes:
        cfg: the composed configuration of ``conf/sample.yaml``.
        count: requested number of samples.
        path: the checkpoint.
        digest: SHA-256 of the checkpoint.
        classifier: file and SHA-256 of the classifier of guidance; None until one is found.
    """

    cfg: DictConfig
    count: int
    path: Path
    digest: str
    classifier: tuple[Path, str] | None = None


@dataclass(frozen=True)
class SamplingPlan:
    """Everything that the samples depend on, built.

    Attributes:
        request: the checked command line.
        trained: the configuration inside the checkpoint.
        settings: all settings that distinguish these samples from others, as plain containers.
        guided: the model, with guidance if it is asked for.
        sampler: the sampler, from the start to the data.
        shape: (*d) of a sample.
        data_range: data range of the model.
        values: bit depth and range of the data.
        classes: the class of each sample; None for a model without classes.
        given: the data that samples are generated from, or None.
        constraint: the constraint on the samples, or None.
        start: where samples start.
        suite: the metrics; None if no scores are asked for.
        datamodule: the data that scores compare with; None without scores.
    """

    request: SamplingRequest
    trained: Mapping[str, Any]
    settings: Mapping[str, Any]
    guided: GuidedModel
    sampler: Sampler
    shape: tuple[int, ...]
    data_range: str
    values: StoredValues
    classes: ClassLabels | None
    given: Given | None
    constraint: Constraint | None
    start: Start
    suite: MetricSuite | None
    datamodule: Any

    @property
    def cfg(self) -> DictConfig:
        """The configuration of the command line."""
        return self.request.cfg

    @property
    def compares(self) -> bool:
        """Whether samples belong to given data; samples along an interpolation do not."""
        return self.given is not None and self.cfg.interpolate is None

    def condition(self, index: Tensor) -> dict[str, Tensor] | None:
        """The condition that the model gets for samples ``index`` (B,): classes and measurements."""
        classes = {} if self.classes is None else self.classes(index)
        measured = {} if self.constraint is None else self.constraint.condition(index)
        return {**classes, **measured} or None

    def generation(self, device: torch.device, autocast: Any) -> Generation:
        """The pipeline, with the model on ``device``."""
        self.guided.to(device)
        return Generation(
            self.guided.model,
            self.sampler,
            self.shape,
            self.cfg.seed,
            self.cfg.batch_size,
            self.data_range,
            self.cfg.quantize,
            conditioning=self.condition,
            constraint=None if self.constraint is None else self.constraint.control,
            start=self.start,
            device=device,
            autocast=autocast,
            values=self.values,
        )

    def store(self) -> SampleStore:
        """The folder asked for, or one derived from the settings, inside the run."""
        cfg, request = self.cfg, self.request
        about = {
            "ckpt_path": str(request.path),
            "sample": OmegaConf.to_container(cfg),
            "trained_with": dict(self.trained),
        }
        if cfg.output_dir is not None:
            folder = Path(str(cfg.output_dir))
        else:
            home = run_of(request.path) or Path(cfg.paths.log_dir)
            digest = settings_hash([dict(self.settings), cfg.format, cfg.raw])
            folder = home / "samples" / f"{request.path.stem}-{self._words()}-seed{cfg.seed}-{digest}"
        store = SampleStore(folder, self.settings, request.count, self.shape, cfg.format, cfg.raw, about, self.values)
        # A folder of an older version has another name.
        return (
            store if cfg.output_dir is not None else store.find_continuation(f"{request.path.stem}-*seed{cfg.seed}-*")
        )

    def _words(self) -> str:
        """A readable folder name: the sampler, its steps, and other requested settings."""
        sampler = self.settings["sampler"]
        grid = sampler.get("grid") or {}
        words = [str(sampler["_target_"]).rpartition(".")[2].lower()]
        if "steps" in grid:
            words.append(f"{grid['steps']}steps")
        nodes = (self.cfg.get(name) for name in ("control", "guidance", "operator"))
        words += [str(node["_target_"]).rpartition(".")[2].lower() for node in nodes if node and "_target_" in node]
        words += [name for name in ("encode", "interpolate") if self.cfg[name]]
        if self.cfg.labels is not None and self.classes is not None:
            words.append(f"labels-{self.cfg.labels}")
        return re.sub(r"[^\w.-]+", "-", "-".join(words)).strip("-")[:120]


def check_sampling(cfg: DictConfig) -> SamplingRequest:
    """Check everything that needs no weights, and find the checkpoint.

    Raises:
        UserError: a value is not allowed, or there is no checkpoint.
    """
    count = num_samples(cfg)
    check_quantize(cfg.quantize)
    check_seed(cfg.seed)
    check_precision(cfg.precision, cfg.float32_matmul_precision)
    check_format(cfg.format)
    parse_weights(str(cfg.weights))
    check_whole("num_samples", count, least=1)
    check_whole("batch_size", cfg.batch_size, least=1)
    if cfg.given_count is not None:
        check_whole("given_count", cfg.given_count, least=1)
    if OmegaConf.is_list(cfg.ckpt_path):
        raise UserError(f"ckpt_path={cfg.ckpt_path}: give one checkpoint")
    if cfg.ckpt_path is None:
        raise UserError("ckpt_path is missing: give a checkpoint, a run folder, `last`, `best`, or a step")
    path = find_checkpoint(cfg.ckpt_path, cfg.paths.log_dir, cfg.name)
    return SamplingRequest(cfg, count, path, checkpoint_hash(path))


def plan_sampling(request: SamplingRequest) -> SamplingPlan:
    """Build the model, its sampler, the start, the constraint, and the metrics if scores are wanted.

    Raises:
        UserError: the settings do not fit the checkpoint.
    """
    cfg, checkpoint = request.cfg, open_unchanged(request.path, request.digest, request.cfg.trained_as)
    trained = dict(checkpoint["config"])

    def node(name: str, **beside: Any) -> dict[str, Any]:
        return checkpoint_config.node(trained, name, cfg.get(name), **beside)

    model = restore_model(checkpoint, str(cfg.weights))
    guided = guide(model, trained, cfg, request.classifier)
    labels: Any = OmegaConf.to_container(cfg.labels) if OmegaConf.is_config(cfg.labels) else cfg.labels
    names = trained.get("datamodule", {}).get("class_names")
    labels = class_numbers(labels, names)
    classes = class_condition(labels, guided.classes, cfg.seed)
    sampler_node, datamodule_node = node("sampler"), checkpoint_config.data_node(trained, cfg.get("datamodule"))
    sampler: Sampler = checkpoint_config.build("sampler", sampler_node)
    sampler.check(model.sde)
    shape = checkpoint_config.sample_shape(datamodule_node)
    given = None
    if needs_given(cfg, guided):
        given = open_given(cfg.given, datamodule_node, shape, model.data_range).first(cfg.given_count)
        given.check(request.count)
    constraint = constraint_of(cfg, given, trained, guided)
    start, start_settings = start_of(cfg, sampler, given)
    suite = datamodule = None
    # Naming metrics asks for scores.
    if cfg.score or cfg.metrics is not None:
        names = None if cfg.metrics is None else list(map(str, listed(cfg.metrics)))
        metric = node("metric", datamodule=datamodule_node)
        suite = checkpoint_config.build("metric", scoring.chosen_metrics(metric, names))
        datamodule = checkpoint_config.build("datamodule", datamodule_node)
        scoring.check_scoring(suite, datamodule, request.count)
    settings = {
        "checkpoint": request.digest,
        "weights": cfg.weights,
        "sampler": sampler_node,
        "seed": cfg.seed,
        "labels": ("cycle" if labels is None else labels) if guided.classes else None,
        "quantize": cfg.quantize,
        "precision": cfg.precision,
        "float32_matmul_precision": cfg.float32_matmul_precision,
        **guided.settings,
        **(constraint.settings if constraint else {}),
        **start_settings,
        # A checkpoint of another program does not name its experiment.
        **({"model": trained["model"]} if "foreign" in checkpoint else {}),
    }
    return SamplingPlan(
        request,
        trained,
        settings,
        guided,
        sampler,
        shape,
        model.data_range,
        values_of(datamodule_node),
        classes,
        given,
        constraint,
        start,
        suite,
        datamodule,
    )


def agreed_sampling(plan: SamplingPlan) -> SamplingPlan:
    """Return the plan of the files that the first process found, even if training replaces them meanwhile; all
    processes call it.

    Raises:
        UserError: on every process, if one of them cannot use these files.
    """
    request = plan.request
    (path, digest, classifier), same = agreed((request.path, request.digest, plan.guided.classifier))
    if same:
        return plan
    with failing_together():
        return plan_sampling(replace(request, path=path, digest=digest, classifier=classifier))
