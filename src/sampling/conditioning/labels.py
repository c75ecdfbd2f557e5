"""The class of each sample, a function of (seed, index)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from ...noise import uniform
from ...runtime.precision import widest_float

RULES = ("cycle", "random", "none")


class ClassLabels:
    """Class labels of samples.

    Args:
        labels: one class for all samples; a list, repeated; ``cycle`` through all classes; ``random`` with equal
            probabilities; ``none`` for samples without a class.
        num_classes: K; the index K means "no label".
        seed: seed of ``random``.

    Raises:
        UserError: a class that does not exist, or an unknown rule.
    """

    def __init__(self, labels: int | Sequence[int] | str, num_classes: int, seed: int) -> None:
        if isinstance(labels, str) and labels not in RULES:
            raise UserError(f"labels={labels}: give a class, a list of classes, or one of {', '.join(RULES)}")
        if isinstance(labels, str):
            choices = [num_classes] if labels == "none" else list(range(num_classes))
        else:
            choices = [labels] if isinstance(labels, int | float) else list(labels)
            wrong = [label for label in choices if not isinstance(label, int) or not 0 <= label < num_classes]
            if wrong or not choices:
                raise UserError(f"labels={labels}: the net has the classes 0 to {num_classes - 1}")
        self.random = labels == "random"
        self.choices = torch.tensor(choices)
        self.seed = seed

    @property
    def period(self) -> int | None:
        """Period of the classes in samples; None for random classes."""
        return None if self.random else len(self.choices)

    def of(self, index: Tensor) -> Tensor:
        """Labels (B,) int64 of the samples ``index`` (B,) int64, on its device."""
        choices = self.choices.to(index.device)
        if not self.random:
            return choices[index % len(choices)]
        # A float32 uniform can round to 1, which belongs to the last class.
        return (
            (uniform(self.seed, "labels", 0, index, dtype=widest_float(index.device)) * len(choices))
            .long()
            .clamp(max=len(choices) - 1)
        )

    def __call__(self, index: Tensor) -> dict[str, Tensor]:
        """The condition of the samples ``index`` (B,) int64."""
        return {"labels": self.of(index)}


def class_numbers(labels: Any, names: Sequence[str] | None) -> Any:
    """Replace class names by their numbers.

    Args:
        labels: see ``class_condition``, or a name or a list of names and numbers.
        names: names of the classes in the order of their numbers; None or empty if unknown.

    Raises:
        UserError: no class has this name.
    """
    if isinstance(labels, list | tuple):
        return [class_numbers(label, names) for label in labels]
    if not isinstance(labels, str) or labels in RULES:
        return labels
    if not names or labels not in names:
        known = f"the classes are {', '.join(names)}" if names else "the checkpoint names no classes, give numbers"
        raise UserError(f"labels={labels}: {known}, or one of {', '.join(RULES)}")
    return list(names).index(labels)


def class_condition(
    labels: int | Sequence[int] | str | None, num_classes: int | None, seed: int = 0
) -> ClassLabels | None:
    """Return the labels of samples of a net with ``num_classes``; None for a net without classes.

    Args:
        labels: see ``ClassLabels``; None cycles through the classes, if there are any.
        num_classes: classes of the net, None or 0 if it has none.
        seed: seed of random labels.

    Raises:
        UserError: labels for a net without classes, or see ``ClassLabels``.
    """
    if num_classes:
        return ClassLabels("cycle" if labels is None else labels, num_classes, seed)
    if labels is not None:
        raise UserError(f"labels={labels}, but the net was trained without classes: leave labels out")
    return None
