"""Labels left out in training, for classifier-free guidance (Ho and Salimans 2022)."""

from __future__ import annotations

import torch

from ...errors import UserError
from ...noise import Address
from ..score_model import Condition


class LabelDropout:
    """Replaces the label ``cond["labels"]`` of a sample by "no label".

    Args:
        probability: of replacing it.
        null_label: the label that means "no label"; the nets use ``num_classes``.

    Raises:
        UserError: a probability without a null label.
    """

    def __init__(self, probability: float = 0.0, null_label: int | None = None) -> None:
        if probability and null_label is None:
            raise UserError("objective.label_dropout needs objective.null_label, the net's number of classes")
        self.probability = probability
        self.null_label = null_label

    def __call__(self, cond: Condition, address: Address) -> Condition:
        """``cond`` with the labels that remain at ``address``."""
        if not self.probability or cond is None or "labels" not in cond or self.null_label is None:
            return cond
        dropped = address.uniform("label-dropout") < self.probability
        return {**cond, "labels": torch.where(dropped, self.null_label, cond["labels"])}
