"""Check a configuration before data, devices or network are used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ...cli.instantiate import check_settings, instantiate, needs_data, plain
from ...cli.setting_types import check_whole
from ...config.annotations import shortened
from ...errors import UserError
from ...image_shape import configured_shape
from ...metrics import FeatureExtractor, MetricSuite
from ...noise import check_seed
from ...runtime.precision import check_float32_precision

_log = logging.getLogger(__name__)

# Precisions that would round weights, optimizer and averages at every step.
_HALF_WEIGHTS = ("16-true", "bf16-true")


def check_run(cfg: DictConfig) -> None:
    """Raise UserError, or an error that ``messages`` turns into one line, for a training run that cannot succeed."""
    for name, seed in {"seed": cfg.seed, **{f"seed.{part}": seed for part, seed in cfg.seeds.items()}}.items():
        # Generators of initial weights accept no larger seeds.
        check_seed(seed, name, limit=2**32)
    missing = sorted(_missing(OmegaConf.to_container(cfg, resolve=False)))
    if missing:
        raise UserError(f"{missing[0]} is missing: type {missing[0]}=<value>")
    for section in ("callbacks", "ema", "logger"):
        for name, node in (cfg.get(section) or {}).items():
            if node is not None and not OmegaConf.is_dict(node):
                raise UserError(
                    f"{section}.{name}={shortened(node)}: change its settings one by one, or give null to leave it out"
                )
    probe = _without_data(cfg)
    for group in probe:
        if not OmegaConf.is_interpolation(probe, str(group)):
            check_settings(probe[group], str(group))
    check_float32_precision(cfg.float32_matmul_precision)
    _check_trainer(cfg.trainer, cfg.datamodule)
    check_classes(cfg, cfg.datamodule.get("num_classes"))
    check_model(cfg)
    _check_optimizer(cfg)
    for average in (cfg.get("ema") or {}).values():
        instantiate(average)
    _check_callbacks(cfg)


def shorten_warm_up(cfg: DictConfig) -> None:
    """Shorten a warm-up that is longer than the training to a tenth of the training, and log it."""
    steps, total = (cfg.get("scheduler") or {}).get("steps"), cfg.trainer.get("max_steps")
    if isinstance(steps, int) and isinstance(total, int) and 0 < total <= steps:
        cfg.scheduler.steps = total // 10
        _log.info("scheduler.steps=%d is no shorter than trainer.max_steps=%d: set to %d", steps, total, total // 10)


def _missing(node: Any, name: str = "") -> list[str]:
    """Full keys of required values that are missing; nothing is resolved, because unused groups may refer to missing
    nodes.
    """
    if isinstance(node, dict):
        return [found for key, value in node.items() for found in _missing(value, f"{name}.{key}".lstrip("."))]
    return [name] if node == "???" else []


def _without_data(cfg: DictConfig) -> DictConfig:
    """A copy of ``cfg`` with placeholders for values that depend on the data."""
    probe = cfg.copy()
    if needs_data(probe):
        probe.sde.prior_mean = 0.0
    if probe.datamodule.get("num_classes", 1) is None:
        # Nets and objectives read their number of classes there.
        probe.datamodule.num_classes = 1
    return probe


def check_model(cfg: DictConfig) -> None:
    """Build model, objective and sampler without memory; the objective gets the model, the sampler gets its SDE."""
    probe = _without_data(cfg)
    with torch.device("meta"):
        model = instantiate(probe.model)
    model.check()
    if (shape := configured_shape(plain(probe.datamodule))) is not None:
        model.check_labels(shape)
    objective = instantiate(probe.objective)
    objective.check(model)
    if probe.module.compile and not objective.compilable:
        raise UserError(
            f"module.compile={str(probe.module.compile).lower()}, but torch.compile cannot trace the loss of "
            f"{type(objective).__name__}: set module.compile=false; net.compile=true still compiles the net"
        )
    sde = instantiate(probe.sde)
    # A classifier has no sampler.
    for sampler in (instantiate(probe.get(name)) for name in ("sampler", "preview")):
        if sampler is not None:
            sampler.check(sde)


def check_classes(cfg: DictConfig, data_classes: int | None) -> None:
    """Raise UserError if net, objective and data do not agree on classes.

    Args:
        cfg: configuration of the run.
        data_classes: number of classes of the data, 0 without labels; None if unknown.
    """
    net_classes = (cfg.get("net") or {}).get("num_classes")
    dropout = (cfg.get("objective") or {}).get("label_dropout")
    if dropout and cfg.get("net") is not None and not net_classes and data_classes is not None:
        raise UserError(
            f"objective.label_dropout={dropout}, but the net takes no classes: add "
            "net.num_classes=${datamodule.num_classes}, or set objective.label_dropout=0"
        )
    if not isinstance(net_classes, int) or data_classes is None:
        return
    if data_classes == 0 and net_classes > 0:
        raise UserError(
            f"net.num_classes={net_classes}, but the data have no labels: "
            "set net.num_classes=null, or give data with labels"
        )
    if 0 <= net_classes < data_classes:
        raise UserError(
            f"net.num_classes={net_classes}, but the data have {data_classes} classes: "
            f"give at least {data_classes}, or null for a net without classes"
        )


def _check_optimizer(cfg: DictConfig) -> None:
    try:
        optimizer = instantiate(cfg.optimizer)([nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer: {error}") from error
    if cfg.get("scheduler") is not None:
        try:
            instantiate(cfg.scheduler)(optimizer)
        except (TypeError, ValueError) as error:
            raise UserError(f"scheduler: {error}") from error


def _check_callbacks(cfg: DictConfig) -> None:
    for name, node in (cfg.get("callbacks") or {}).items():
        if node is None or "_target_" not in node:
            continue
        if "suite" not in node:
            instantiate(node)
            continue
        # An extractor may have to be downloaded; the metrics themselves are cheap.
        others = {name: _NoExtractor() for name in node.suite.get("other_extractors") or {}}
        suite = MetricSuite(_NoExtractor(), instantiate(node.suite.metrics), others)
        rest = {key: value for key, value in plain(node).items() if key != "suite"}
        # Passed to the partial and not to Hydra, which would convert it to a configuration node.
        instantiate(rest, _partial_=True)(suite=suite)
        needed = suite.min_samples
        if node.num_samples < needed:
            raise UserError(
                f"callbacks.{name}.num_samples={node.num_samples}, but these metrics need at least {needed}: raise it, "
                f"or leave callbacks.{name} out"
            )


class _NoExtractor(FeatureExtractor):
    num_features = 1
    fingerprint = "none"

    def features(self, images: Tensor) -> Tensor:
        # Replaces an extractor that may have to be downloaded; no score is computed while settings are checked.
        raise AssertionError("settings are checked without scoring anything")


def _check_trainer(trainer: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    accumulate, batch = trainer["accumulate_grad_batches"], data["global_batch_size"]
    nodes = trainer["num_nodes"]
    check_whole("trainer.accumulate_grad_batches", accumulate, least=1)
    check_whole("datamodule.global_batch_size", batch, least=1)
    check_whole("trainer.num_nodes", nodes, least=1)
    precision = str(trainer.get("precision"))
    if precision in _HALF_WEIGHTS:
        raise UserError(
            f"trainer.precision={precision} rounds the weights themselves, so small updates have no effect: use "
            f"{precision.replace('true', 'mixed')}"
        )
    max_steps = trainer["max_steps"]
    if not isinstance(max_steps, int) or max_steps == 0 or max_steps < -1:
        raise UserError(f"trainer.max_steps={max_steps!r}: give a number of optimizer steps, or -1 for no limit")
    processes = _check_devices(trainer) * nodes
    if batch % (processes * accumulate):
        raise UserError(
            f"datamodule.global_batch_size={batch} cannot be divided over {processes} process(es) times {accumulate} "
            f"accumulated micro-batch(es): choose a multiple of {processes * accumulate}"
        )


def _check_devices(trainer: Mapping[str, Any]) -> int:
    """Number of processes on a node; 1 if only the machine can tell."""
    accelerator, devices = trainer["accelerator"], trainer["devices"]
    if accelerator in ("gpu", "cuda"):
        available = torch.cuda.device_count()
        wanted = devices if isinstance(devices, int) else 1
        if available < max(wanted, 1):
            raise UserError(
                f"trainer.accelerator={accelerator} with trainer.devices={devices}, but this machine has "
                f"{available} GPUs: choose fewer devices, or trainer=cpu"
            )
    if isinstance(devices, int) and not isinstance(devices, bool):
        if devices < -1 or devices == 0:
            raise UserError(f"trainer.devices={devices}: give at least 1, or -1 for all")
        return max(devices, 1)
    return 1
