"""Plan a call of evaluate.py: check everything and plan the work before any process starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ...checkpoint import checkpoint_hash
from ...checkpoint.find import run_of
from ...checkpoint.weights import parse_weights
from ...cli.setting_types import check_whole, listed
from ...data_range import check_quantize
from ...distributed import agreed, failing_together
from ...errors import UserError
from ...io.hashing import settings_hash
from ...noise import check_seed
from ..devices import check_precision
from ..image_source import open_images
from . import pareto
from .compare.groups import find_groups
from .compare.jobs import comparison_jobs
from .doctor.job import DoctorJob
from .environment import EvaluationJob, ScoringSetups
from .jobs.images import ImagesJob
from .jobs.scores import ScoresJob
from .jobs.splits import BitsPerDimJob, LossJob
from .subjects import Subject, find_checkpoints, subjects

MODES = ("evaluate", "pareto", "compare", "doctor")
_IN_THE_NAME = (
    *("mode", "num_samples", "seed", "labels", "quantize", "precision", "float32_matmul_precision"),
    *("metrics", "memorization", "spectrum", "split", "limit", "sampler", "datamodule", "metric", "likelihood"),
)


@dataclass(frozen=True)
class EvaluationRequest:
    """A checked command line, and the checkpoints it names.

    Attributes:
        cfg: the composed configuration of ``conf/evaluate.yaml``.
        paths: the checkpoints; empty if images are scored.
        digests: SHA-256 of each.
        groups: name and number of trainings of each group, for mode=compare; ``paths`` holds one after the other.
    """

    cfg: DictConfig
    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    groups: tuple[tuple[str, int], ...] = ()

    @property
    def folder(self) -> Path:
        """The output folder: the one asked for, or one derived from the settings, inside the run if all checkpoints
        belong to one.
        """
        cfg = self.cfg
        if cfg.output_dir is not None:
            return Path(str(cfg.output_dir))
        runs = {run_of(path) for path in self.paths}
        run = next(iter(runs)) if len(runs) == 1 else None
        raw: Any = OmegaConf.to_container(cfg, resolve=False)
        settings = {name: raw.get(name) for name in _IN_THE_NAME}
        if cfg.mode == "pareto":
            settings["batch_size"] = cfg.batch_size
        if cfg.mode == "compare":
            settings |= {"groups": raw["groups"], "draws": cfg.draws}
        if cfg.mode == "doctor":
            settings |= {"images": str(cfg.images), "reference": cfg.reference, "weights": raw["weights"]}
        return (run or Path(cfg.paths.log_dir)) / "evaluation" / f"{cfg.mode}-{settings_hash(settings)}"


@dataclass(frozen=True)
class EvaluationPlan:
    """Return the units of work: read configurations and build objects, but load no weights and no data and use no
    devices.
    """

    request: EvaluationRequest
    jobs: tuple[EvaluationJob, ...]


def check_evaluation(cfg: DictConfig) -> EvaluationRequest:
    """Check everything that needs no device, and find the checkpoints.

    Raises:
        UserError: a value is not allowed, there is nothing to do, or there is no checkpoint.
    """
    if cfg.mode not in MODES:
        raise UserError(f"mode={cfg.mode}: choose one of {', '.join(MODES)}")
    if cfg.mode != "doctor" and (cfg.reference is not None or cfg.claimed is not None):
        raise UserError("reference and claimed belong to mode=doctor: leave them out, or add mode=doctor")
    if (cfg.mode == "compare") != (cfg.groups is not None):
        raise UserError("mode=compare and groups=<folders of runs> belong together: give both or neither")
    if cfg.groups is None and (cfg.ckpt_path is None) == (cfg.images is None):
        raise UserError("give either ckpt_path=<a checkpoint, a run folder, last, ...> or images=<files>")
    check_quantize(cfg.quantize)
    check_seed(cfg.seed)
    check_precision(cfg.precision, cfg.float32_matmul_precision)
    for name in ("num_samples", "batch_size", "limit", "every", "draws"):
        if cfg[name] is not None:
            check_whole(name, cfg[name], least=1)
    if cfg.mode == "compare":
        return _check_comparison(cfg)
    if cfg.mode == "doctor":
        return _check_doctor(cfg)
    if cfg.images is not None:
        if cfg.mode == "pareto" or cfg.bits_per_dim or cfg.loss:
            raise UserError(
                "images=... allows no sampler, loss or likelihood: leave these settings out, or give ckpt_path instead"
            )
        open_images(str(cfg.images))
        return EvaluationRequest(cfg, (), ())
    if not (cfg.score or cfg.bits_per_dim or cfg.loss):
        raise UserError("nothing to do: set score=true, bits_per_dim=true or loss=true")
    if cfg.ema_length is None:
        for choice in listed(cfg.weights):
            parse_weights(str(choice))
    paths = tuple(find_checkpoints(cfg))
    return EvaluationRequest(cfg, paths, tuple(map(checkpoint_hash, paths)))


def _check_comparison(cfg: DictConfig) -> EvaluationRequest:
    """Find the trainings of ``groups``."""
    if cfg.ckpt_path is not None or cfg.images is not None or cfg.every is not None:
        raise UserError("mode=compare takes groups=<folders of runs>: leave out ckpt_path, images and every")
    if cfg.bits_per_dim or cfg.loss or not cfg.score:
        raise UserError("mode=compare compares scores of samples: leave out bits_per_dim, loss and score=false")
    if len(listed(cfg.weights if cfg.ema_length is None else cfg.ema_length)) > 1:
        raise UserError(f"mode=compare takes one choice of weights, not {listed(cfg.weights)}: name one")
    check_seed(cfg.seed + cfg.draws - 1, "seed + draws - 1")
    groups = find_groups(cfg.groups)
    paths = [path for group in groups for path in group.paths]
    digests = list(map(checkpoint_hash, paths))
    for i, digest in enumerate(digests):
        if digest in digests[:i]:
            raise UserError(f"{paths[digests.index(digest)]} and {paths[i]} are the same training: name it once")
    return EvaluationRequest(cfg, tuple(paths), tuple(digests), tuple((g.name, len(g.paths)) for g in groups))


def _check_doctor(cfg: DictConfig) -> EvaluationRequest:
    """Find the images to examine; the reference is found when the work is planned."""
    if cfg.images is None or cfg.ckpt_path is not None:
        raise UserError("mode=doctor takes images=<a folder, an npz file or a run>, not ckpt_path")
    if cfg.bits_per_dim or cfg.loss or not cfg.score or cfg.memorization:
        raise UserError("mode=doctor examines a score: leave out bits_per_dim, loss, memorization and score=false")
    if len(listed(cfg.weights)) > 1 or cfg.ema_length is not None:
        raise UserError("mode=doctor takes one choice of weights, and no ema_length")
    claimed = cfg.claimed
    if claimed is not None and (isinstance(claimed, bool) or not isinstance(claimed, int | float) or claimed < 0):
        raise UserError(f"claimed={claimed}: give the score that was expected, for example 2.38")
    return EvaluationRequest(cfg, (), ())


def plan_evaluation(request: EvaluationRequest) -> EvaluationPlan:
    """Build all units of work.

    Raises:
        UserError: a checkpoint cannot be read, or the settings do not fit it.
    """
    cfg, setups = request.cfg, ScoringSetups()
    if cfg.mode == "doctor":
        return EvaluationPlan(request, (DoctorJob(cfg),))
    if cfg.images is not None:
        return EvaluationPlan(request, (ImagesJob(cfg, setups),))
    chosen = subjects(request.paths, request.digests, cfg.weights, cfg.ema_length, cfg.trained_as)
    if request.groups:
        return EvaluationPlan(request, tuple(comparison_jobs(cfg, request.groups, chosen, setups)))
    jobs = [job for subject in chosen for job in _jobs(cfg, subject, setups)]
    return EvaluationPlan(request, tuple(jobs))


def agreed_evaluation(plan: EvaluationPlan) -> EvaluationPlan:
    """Return the plan of the files that the first process found, even if training replaces them meanwhile; all
    processes call it.

    Raises:
        UserError: on every process, if one of them cannot use these files.
    """
    (paths, digests), same = agreed((plan.request.paths, plan.request.digests))
    if same:
        return plan
    with failing_together():
        return plan_evaluation(replace(plan.request, paths=paths, digests=digests))


def _jobs(cfg: DictConfig, subject: Subject, setups: ScoringSetups) -> list[EvaluationJob]:
    if cfg.mode == "pareto":
        return [
            ScoresJob(cfg, subject, setups, choice.node, choice.point)
            for choice in pareto.choices(cfg.samplers, cfg.steps, subject.config)
        ]
    jobs = list[EvaluationJob]()
    if cfg.score:
        jobs.append(ScoresJob(cfg, subject, setups))
    if cfg.loss:
        jobs.append(LossJob(cfg, subject))
    if cfg.bits_per_dim:
        jobs.append(BitsPerDimJob(cfg, subject))
    return jobs
