"""The sampled model: the score of a checkpoint, with guidance if it is asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from ...checkpoint import checkpoint_hash, find_checkpoint, restore_classifier, restore_model
from ...config.location import program_command
from ...errors import UserError
from ...sampling.conditioning.guidance import Guidance, IntervalGuidance
from ...sde import ScoreModel
from ...sde.noisy_classifier import NoisyClassifier
from .. import checkpoint_config
from ..checkpoint_file import open_unchanged
from .picture_mask import with_picture_masks

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GuidedModel:
    """The sampled model and what it depends on.

    Attributes:
        model: the score.
        classes: number of classes it can be asked for; None or 0 for none.
        settings: all settings of the guidance, as plain containers; empty without guidance.
        operator: the linear operator of an inverse problem, or None.
        noise_std: standard deviation of the measurement's noise.
        modules: all modules with weights.
        classifier: the file of the classifier or guide and its SHA-256; None without one.
    """

    model: ScoreModel | Guidance
    classes: int | None
    settings: dict[str, Any] = field(default_factory=dict)
    operator: Any = None
    noise_std: float = 0.0
    modules: tuple[nn.Module, ...] = ()
    classifier: tuple[Path, str] | None = None

    def to(self, device: torch.device) -> None:
        """Move all weights to ``device``."""
        for module in self.modules:
            module.to(device)


def guide(
    model: ScoreModel, config: Mapping[str, Any], cfg: DictConfig, classifier: tuple[Path, str] | None = None
) -> GuidedModel:
    """Return the model with the ``guidance`` and ``operator`` of the command line.

    Args:
        model: model of the checkpoint.
        config: the configuration in the checkpoint.
        cfg: configuration of the command line.
        classifier: file and SHA-256 of the classifier or guide; None to find it.

    Raises:
        UserError: the guidance does not fit the model.
    """
    classes = model.num_classes
    chosen, operator = cfg.get("guidance"), cfg.get("operator")
    if chosen is None:
        if operator is not None:
            raise UserError("operator=... needs guidance: add guidance=pseudo_inverse or guidance=dps")
        return GuidedModel(model, classes, modules=(model,))
    if "operator" in chosen and operator is None:
        raise UserError("this guidance needs an operator: add one, for example operator=super_resolution")
    node = checkpoint_config.node(config, "guidance", chosen, operator=operator)
    settings = dict(node)
    extra: dict[str, nn.Module] = {}
    interval = node.pop("interval", None)
    if interval is not None and not isinstance(interval, list):
        raise UserError(f"guidance.interval={interval}: give two noise levels, for example [0.2,2]")
    if interval is None:
        # Omitted when unset, so that folders of older samples, which lack the setting, keep their names.
        settings.pop("interval", None)
    if "path" in node:
        classifier = classifier or _model_file(node.pop("path"), cfg)
        node.pop("path", None)
        settings["path"] = classifier[1]
        extra["guide"] = _guide(*classifier, model)
    if "classifier_path" in node:
        if cfg.labels == "none":
            raise UserError("classifier guidance needs classes, but labels=none: give classes, or leave guidance out")
        asked = node.pop("classifier_path")
        classifier = classifier or _classifier_file(asked, cfg)
        settings["classifier_path"] = classifier[1]
        extra["classifier"] = built = _classifier(*classifier, model)
        classes = built.num_classes
    if "null_label" in node:
        _check_label_dropout(classes, config)
    guided: Guidance = checkpoint_config.build("guidance", with_picture_masks(node))(model, **extra)
    operator, noise_std, modules = guided.operator, guided.noise_std, (model, *extra.values())
    if interval is not None:
        guided = IntervalGuidance(guided, interval)
    return GuidedModel(guided, classes, {"guidance": settings}, operator, noise_std, modules, classifier)


def _classifier_file(path: str | None, cfg: DictConfig) -> tuple[Path, str]:
    if path is None:
        raise UserError(
            "guidance.classifier_path is missing: give the checkpoint or the run folder of a classifier, from "
            f"{program_command('train')} experiment=digits_classifier for example"
        )
    found = find_checkpoint(path, cfg.paths.log_dir)
    return found, checkpoint_hash(found)


def _model_file(path: str | None, cfg: DictConfig) -> tuple[Path, str]:
    if path is None:
        raise UserError("guidance.path is missing: give an earlier checkpoint of the run, or that of a smaller net")
    found = find_checkpoint(path, cfg.paths.log_dir)
    return found, checkpoint_hash(found)


def _guide(path: Path, digest: str, model: ScoreModel) -> ScoreModel:
    guide = restore_model(open_unchanged(path, digest))
    _check_same_process(f"the guide of {path}", guide, model)
    return guide


def _classifier(path: Path, digest: str, model: ScoreModel) -> NoisyClassifier:
    classifier = restore_classifier(open_unchanged(path, digest))
    _check_same_process(f"the classifier of {path}", classifier, model)
    return classifier


def _check_same_process(what: str, other: ScoreModel | NoisyClassifier, model: ScoreModel) -> None:
    # The classifier must see the same noise at the same time.
    times = torch.linspace(0, 1, 9, dtype=torch.float64)[1:]
    theirs, ours = (torch.cat([sde.alpha(times * sde.T), sde.sigma(times * sde.T)]) for sde in (other.sde, model.sde))
    same = other.sde.T == model.sde.T and torch.allclose(theirs, ours)
    if not same or other.data_range != model.data_range:
        raise UserError(
            f"{what} was trained on {other.sde} and {other.data_range} data, the score on "
            f"{model.sde} and {model.data_range} data: they must be the same"
        )


def _check_label_dropout(classes: int | None, config: Mapping[str, Any]) -> None:
    if not classes:
        raise UserError("this guidance needs classes, but the net was trained without classes: leave guidance out")
    if config.get("objective", {}).get("label_dropout", 1.0) == 0:
        _log.warning("the net was trained without label dropout: its output without a label is arbitrary")
