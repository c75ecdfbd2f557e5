"""Averages of the net's weights, kept beside the raw ones on the same device.

Only the net is averaged: not the module around it, no optimizer, no metric. A checkpoint holds the raw weights in
``state_dict`` and the averages under ``ema`` as {name: {parameter: tensor}}; validation, test and every callback that
samples use the first average through ``averaged_weights``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from ..checkpoint.averages.functions import Average
from ..errors import UserError

Named = dict[str, Tensor]


class EMA(Callback):
    """Updates averages after every optimizer step that changed the weights.

    Args:
        averages: how each is formed, by name; the first one is used for validation and sampling.

    Raises:
        UserError: when there is nothing to average, or a checkpoint holds other averages than the configuration.
    """

    def __init__(self, averages: Mapping[str, Average]) -> None:
        if not averages:
            raise UserError("callbacks.ema.averages is empty: name at least one average or leave the callback out")
        self.averages = dict(averages)
        self._updates = 0
        self._shadows: dict[str, Named] = {}
        self._raw: list[Tensor] | None = None
        self._lists: tuple[list[Tensor], dict[str, list[Tensor]]] | None = None
        self._steps_seen = 0
        # The module whose last step the averages have not followed yet.
        self._behind: LightningModule | None = None

    @property
    def shadows(self) -> dict[str, Named]:
        """The averages by name, each {parameter: tensor}, up to the last step."""
        self._catch_up()
        return self._shadows

    @shadows.setter
    def shadows(self, shadows: dict[str, Named]) -> None:
        self._shadows = shadows
        self._lists = None

    @property
    def updates(self) -> int:
        """How many steps the averages followed: all that changed the weights."""
        self._catch_up()
        return self._updates

    @updates.setter
    def updates(self, updates: int) -> None:
        self._updates = updates

    @staticmethod
    def net(pl_module: LightningModule) -> nn.Module:
        """The module whose weights are averaged."""
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
        # Inside an accumulation window no step was taken.
        if trainer.global_step != self._steps_seen:
            self._steps_seen = trainer.global_step
            self._behind = pl_module

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        # Just before the weights change again: whether the last step changed them is known by now without waiting
        # for the device.
        self._catch_up()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._catch_up()

    def _catch_up(self) -> None:
        """Follow the last step, unless it was skipped."""
        module, self._behind = self._behind, None
        if module is not None and not getattr(module, "step_skipped", False):
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
        """The first average stands in for the raw weights inside."""
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
            raise RuntimeError("a checkpoint was saved while the averages stood in for the raw weights")
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
                raise UserError(f"the average {name} in the checkpoint belongs to another net", shared=True)
            # float32 whatever the precision of the net: the increments are smaller than bfloat16 resolves.
            # A shadow that is there already keeps its storage.
            self.shadows[name] = {
                key: _like(source[key], parameter, clone=source is parameters) for key, parameter in parameters.items()
            }
        # A strategy may have replaced the parameters since the last time.
        self._lists = None
        self._steps_seen = trainer.global_step

    def _in_order(self, net: nn.Module) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
        """The parameters of ``net``, and the shadows of each average in the same order.

        They are looked up once after each ``_begin``: a walk over the modules of a net at every step takes longer
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
        # Before the averages stand in for the weights that they have still to follow.
        self._catch_up()
        parameters, shadows = self._in_order(self.net(pl_module))
        self._raw = [parameter.detach().clone() for parameter in parameters]
        # The parameters keep their storage: compiled graphs and optimizers hold on to it.
        torch._foreach_copy_(parameters, shadows[next(iter(self.averages))])

    @torch.no_grad()
    def _restore(self, pl_module: LightningModule) -> None:
        if self._raw is None:
            return
        parameters, _ = self._in_order(self.net(pl_module))
        torch._foreach_copy_(parameters, self._raw)
        self._raw = None


def _like(source: Tensor, parameter: Tensor, clone: bool) -> Tensor:
    """``source`` with the device and the strides of ``parameter``, in float32 at least.

    Averages from a file have the strides of the net that wrote it; operations on lists of tensors need equal strides
    to be one kernel.
    """
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    alike = (source.device, source.dtype, source.stride()) == (parameter.device, dtype, parameter.stride())
    if alike and not clone:
        return source.detach()
    return torch.empty_like(parameter, dtype=dtype, requires_grad=False).copy_(source)


def ema_of(trainer: Trainer) -> EMA | None:
    """The callback that keeps averages in this run, if there is one."""
    # Lightning sets its callbacks from outside the class.
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, EMA)), None)


@contextmanager
def averaged_weights(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Evaluation mode with averaged weights, if any are kept; training mode and raw weights come back after."""
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
