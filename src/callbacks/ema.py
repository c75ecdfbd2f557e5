"""Exponential moving averages (EMA) of the net's weights, on the same device as the weights.

Only the net is averaged: no optimizer state, no metrics. A checkpoint holds the raw weights in ``state_dict`` and the
averages under ``ema`` as {name: {parameter: tensor}}. Validation, test and every sampling callback use the first
average through ``averaged_weights``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from ..checkpoint.averages.functions import Average
from ..errors import UserError


class SkipsSteps(Protocol):
    """Attribute that a module must have if its weights are averaged."""

    @property
    def step_skipped(self) -> object:
        """Whether the last step left the weights unchanged, as a truth value; read one step later."""
        ...


class EMA(Callback):
    """Update averages after every optimizer step that changed the weights.

    Args:
        averages: how to form each average, by name; the first one is used for validation and sampling.

    Raises:
        UserError: there is nothing to average, or a checkpoint contains other averages than the configuration.
    """

    def __init__(self, averages: Mapping[str, Average]) -> None:
        if not averages:
            raise UserError("callbacks.ema.averages is empty: name at least one average or leave the callback out")
        self.averages = dict(averages)
        self._updates = 0
        self._shadows: dict[str, dict[str, Tensor]] = {}
        self._raw: list[Tensor] | None = None
        self._lists: tuple[list[Tensor], dict[str, list[Tensor]]] | None = None
        self._steps_seen = 0
        # Module whose last step is not in the averages yet.
        self._behind: LightningModule | None = None

    @property
    def shadows(self) -> dict[str, dict[str, Tensor]]:
        """Averages by name, each as {parameter: tensor}, including the last step."""
        self._catch_up()
        return self._shadows

    @shadows.setter
    def shadows(self, shadows: dict[str, dict[str, Tensor]]) -> None:
        self._shadows = shadows
        self._lists = None

    @property
    def updates(self) -> int:
        """Number of steps that changed the weights and were added to the averages."""
        self._catch_up()
        return self._updates

    @updates.setter
    def updates(self, updates: int) -> None:
        self._updates = updates

    @staticmethod
    def net(pl_module: LightningModule) -> nn.Module:
        """Module whose weights are averaged."""
        return pl_module.get_submodule("model.net")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module)
        self._swap(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore(pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module)
        self._swap(pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # No optimizer step is taken inside an accumulation window.
        if trainer.global_step != self._steps_seen:
            self._steps_seen = trainer.global_step
            self._behind = pl_module

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        # Update just before the weights change again: by now it is known, without waiting for the device, whether the
        # last step changed them.
        self._catch_up()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._catch_up()

    def _catch_up(self) -> None:
        """Add the last step to the averages, unless it was skipped."""
        module, self._behind = self._behind, None
        if module is not None and not cast(SkipsSteps, module).step_skipped:
            self.update(self.net(module))

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move every average toward the weights of ``net``."""
        self.updates += 1
        parameters, shadows = self._in_order(net)
        for name, average in self.averages.items():
            torch._foreach_lerp_(shadows[name], parameters, average.rate(self.updates))

    @contextmanager
    def applied(self, pl_module: LightningModule) -> Iterator[None]:
        """Replace the raw weights by the first average inside the context."""
        inside = self._raw is not None
        if not inside:
            self._swap(pl_module)
        try:
            yield
        finally:
            if not inside:
                self._restore(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._raw is not None:
            raise RuntimeError("a checkpoint was saved while the averages replaced the raw weights")
        checkpoint["ema"] = {name: dict(shadow) for name, shadow in self.shadows.items()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("ema", {})
        if set(saved) != set(self.averages):
            raise UserError(
                f"{trainer.ckpt_path} holds the averages {sorted(saved)}, but the configuration names "
                f"{sorted(self.averages)}: resume with the averages the run was started with",
                shared=True,
            )
        self.shadows = {name: dict(shadow) for name, shadow in saved.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates = state_dict["updates"]

    @torch.no_grad()
    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        parameters = dict(self.net(pl_module).named_parameters())
        for name in self.averages:
            source = self.shadows.get(name, parameters)
            if source is not parameters and set(source) != set(parameters):
                raise UserError(f"the average {name} in the checkpoint does not fit this net", shared=True)
            # Use at least float32, whatever the precision of the net: increments are below the resolution of bfloat16.
            self.shadows[name] = {
                key: _like(source[key], parameter, clone=source is parameters) for key, parameter in parameters.items()
            }
        # A strategy may have replaced the parameters since the last call.
        self._lists = None
        self._steps_seen = trainer.global_step

    def _in_order(self, net: nn.Module) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
        """Return the parameters of ``net``, and the averages in the same order.

        They are looked up once after each ``_begin``: walking over the modules of the net at every step takes longer
        than the arithmetic on a GPU.
        """
        if self._lists is None:
            parameters = dict(net.named_parameters())
            self._lists = (
                list(parameters.values()),
                {name: [shadow[key] for key in parameters] for name, shadow in self.shadows.items()},
            )
        return self._lists

    @torch.no_grad()
    def _swap(self, pl_module: LightningModule) -> None:
        # Update first: these weights are not in the averages yet.
        self._catch_up()
        parameters, shadows = self._in_order(self.net(pl_module))
        self._raw = [parameter.detach().clone() for parameter in parameters]
        # Parameters keep their storage: compiled graphs and optimizers refer to it.
        torch._foreach_copy_(parameters, shadows[next(iter(self.averages))])

    @torch.no_grad()
    def _restore(self, pl_module: LightningModule) -> None:
        if self._raw is None:
            return
        parameters, _ = self._in_order(self.net(pl_module))
        torch._foreach_copy_(parameters, self._raw)
        self._raw = None


def _like(source: Tensor, parameter: Tensor, clone: bool) -> Tensor:
    """Copy ``source`` to the device and strides of ``parameter``, in at least float32.

    Averages from a file have the strides of the net that wrote them. Fused operations on lists of tensors require equal
    strides.
    """
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    alike = (source.device, source.dtype, source.stride()) == (parameter.device, dtype, parameter.stride())
    if alike and not clone:
        return source.detach()
    return torch.empty_like(parameter, dtype=dtype, requires_grad=False).copy_(source)


def ema_of(trainer: Trainer) -> EMA | None:
    """Return the EMA callback of this run, or None."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined] # set from outside its class
    return next((callback for callback in callbacks if isinstance(callback, EMA)), None)


@contextmanager
def averaged_weights(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Use evaluation mode and averaged weights, if there are any, inside the context; restore both afterwards."""
    ema = ema_of(trainer)
    training = pl_module.training
    pl_module.eval()
    try:
        if ema is None:
            yield
        else:
            with ema.applied(pl_module):
                yield
    finally:
        pl_module.train(training)
